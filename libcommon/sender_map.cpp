#include "sender_map.hpp"

#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "config_watch.hpp"
#include "diag.hpp"
#include "outbox.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr int64_t look_every_ms = 100;
constexpr int64_t traffic_ms = 7ll * 24 * 3600 * 1000, touch_every_ms = 3600 * 1000;
constexpr std::string_view traffic_prefix = "traffic.";
constexpr const char* cannot_update = "Unable to update instance mapping information because the instance mapping file couldn't be read. ";

std::string current_name(const std::string& key) { return key + ".current"; }

std::string files_stamp(const MapSettings& settings) {
  return (is_url(settings.map) ? "" : file_stamp(settings.map)) + "|" + (is_url(settings.routing) ? "" : file_stamp(settings.routing));
}

// Versions of this map whose copies are there, but the current one.
std::vector<std::string> other_copies(const std::vector<std::string>& names, const std::string& key, const std::string& current) {
  std::vector<std::string> found;
  for (const std::string& name : names)
    if (name.starts_with(key + ".") && name.ends_with(".map") && name != key + "." + current + ".map") found.push_back(name);
  return found;
}

std::string version_of_copy(const std::string& name) { return name.substr(17, name.size() - 17 - 4); }

}  // namespace

/// What the senders of this root use, as it stands in the state.
struct SenderMap::Current {
  std::string version;
  int64_t since_ms = 0;
};

namespace {

// "VERSION SINCE SOURCE"
std::optional<MapInUse> parse_current(const std::string& text) {
  const size_t space = text.find(' ');
  if (space == std::string::npos) return std::nullopt;
  MapInUse use;
  use.version = text.substr(0, space);
  std::from_chars(text.data() + space + 1, text.data() + text.size(), use.since_ms);
  return use;
}

}  // namespace

SenderMap::SenderMap(Root& root, const MapSettings& settings, MapState state)
    : root_(root),
      settings_(settings),
      state_(std::move(state)),
      destinations_(root, settings.config, settings.config_given),
      key_(state_key(absolute_source(settings.map))),
      routing_key_(state_key(absolute_source(settings.routing))) {}

Result<std::unique_ptr<SenderMap>> SenderMap::open(Root& root, const MapSettings& settings) {
  GW_TRY_ASSIGN(MapState state, MapState::open(root.path(), true));
  std::unique_ptr<SenderMap> made(new SenderMap(root, settings, std::move(state)));
  made->stamp_ = files_stamp(settings);  // before: what changes while we read is a change
  made->read_at_ms_ = made->looked_at_ms_ = monotonic_ms();
  GW_TRY(made->load_map());
  GW_TRY(made->load_routing());
  made->loaded_ = true;
  return made;
}

// --- the map ------------------------------------------------------------------------------------------------------------------

Result<InstanceTable> SenderMap::read_map() {
  auto text = read_source(settings_.map);
  if (!text && is_missing(text.error()))
    return Error{ExitCode::no_input, ENOENT, "The specified instance mapping file does not exist. " + text.error().text};
  if (!text) return std::move(text).error();
  text_ = *std::move(text);
  return parse_instances(settings_, text_, root_.machine());
}

Result<std::optional<SenderMap::Current>> SenderMap::current() {
  GW_TRY_ASSIGN(const auto text, state_.read(current_name(key_)));
  const auto parsed = text ? parse_current(*text) : std::nullopt;
  if (!parsed) return std::optional<Current>();
  return std::optional(Current{parsed->version, parsed->since_ms});
}

// True: our copy of it is locked, and it is still the current one.
Result<bool> SenderMap::use(const std::string& version) {
  GW_TRY_ASSIGN(auto copy, state_.open_file(copy_name(version)));
  if (!copy) return false;
  while (::flock(copy->get(), LOCK_SH) != 0)
    if (errno != EINTR) return errno_error("lock", copy_name(version), errno);
  struct stat file {};
  if (::fstat(copy->get(), &file) != 0 || file.st_nlink == 0) return false;  // removed meanwhile
  GW_TRY_ASSIGN(const auto now, current());
  if (!now || now->version != version) return false;
  in_use_ = *std::move(copy);  // what we used before is given up here
  return true;
}

void SenderMap::adopt(InstanceTable table) {
  told_map_.clear();
  if (loaded_)
    for (const std::string& line : describe_changes(instances_, table)) event(Level::info, "instance-map", {{"path", settings_.map}, {"text", line}});
  instances_ = std::move(table);
}

Result<void> SenderMap::load_map() {
  if (auto table = read_map()) {
    GW_TRY_ASSIGN(const auto known, current());
    bool used = false;
    if (known && known->version == table->version()) {
      GW_TRY_ASSIGN(used, use(known->version));
    }
    if (used) {
      adopt(*std::move(table));
      GW_TRY_ASSIGN(const auto names, state_.names());
      if (other_copies(names, key_, known->version).empty()) return {};
      GW_TRY_ASSIGN(const UniqueFd locked, state_.lock());
      return retire_others();
    }
  }
  GW_TRY_ASSIGN(const UniqueFd locked, state_.lock());
  return load_map_locked();
}

Result<void> SenderMap::load_map_locked() {
  auto table = read_map();  // again: nobody can make an older version the current one now
  GW_TRY_ASSIGN(const auto known, current());
  if (!table) return stay(table.error(), known);
  if (known && known->version != table->version()) {
    GW_TRY_ASSIGN(const auto dropped, dropped_with_traffic(*table, *known));
    if (dropped)
      return stay(Error{ExitCode::config, 0, "endpoint '" + *dropped + "' still gets messages and is not in '" + settings_.map +
                                                 "' any more; with --allow-empty it is taken all the same"},
                  known);
  }
  const std::string version = table->version();
  GW_TRY_ASSIGN(const auto copy, state_.open_file(copy_name(version)));
  if (!copy) GW_TRY(state_.write(copy_name(version), text_));
  if (!known || known->version != version)
    GW_TRY(state_.write(current_name(key_), version + " " + std::to_string(now_ms()) + " " + absolute_source(settings_.map) + "\n"));
  GW_TRY_ASSIGN(const bool used, use(version));
  if (!used) return Error{ExitCode::system, 0, "the copy of the map '" + settings_.map + "' in the root cannot be locked"};
  adopt(*std::move(table));
  return retire_others();
}

// What is there cannot be used: the last good one is.
Result<void> SenderMap::stay(const Error& why, const std::optional<Current>& known) {
  if (loaded_) {
    tell_once(told_map_, "instance-map-bad", settings_.map, cannot_update + why.text);
    return {};
  }
  if (!known) {
    if (is_missing(why) && !settings_.map_given) {
      instances_ = InstanceTable::nothing(root_.machine());  // as in the original: the feature is not used
      return {};
    }
    return Error{ExitCode::config, 0, why.text};
  }
  GW_TRY_ASSIGN(const auto text, state_.read(copy_name(known->version)));
  if (!text) return Error{ExitCode::config, 0, why.text};
  auto table = InstanceTable::parse(settings_.map, *text, root_.machine(), InstanceTable::Schema::loose);
  if (!table) return Error{ExitCode::config, 0, why.text};
  GW_TRY_ASSIGN(const bool used, use(known->version));
  if (!used) return Error{ExitCode::config, 0, why.text};
  tell_once(told_map_, "instance-map-bad", settings_.map, cannot_update + why.text);
  instances_ = *std::move(table);
  return {};
}

// --- endpoints that must not vanish ---------------------------------------------------------------------------------------------

bool SenderMap::waits_in_outbox(const Instance& instance) {
  if (is_this_machine(instance.machine, root_.machine())) return false;
  auto outbox = root_.queue(outbox_of_site("@" + instance.machine));
  if (!outbox) return false;
  bool found = false;
  [[maybe_unused]] auto scanned = outbox->scan([&](const MessageInfo& info) {
    auto message = outbox->read(info.seq);
    found = message && *message && (*message)->second.headers.get(header::destination_queue) == instance.queue;
    return !found;
  });
  return found;
}

bool SenderMap::has_traffic(const std::string& endpoint, const std::vector<Instance>& instances) {
  const int64_t last = state_.changed_ms(std::string(traffic_prefix) + endpoint);
  if (last != 0 && now_ms() - last < traffic_ms) return true;
  return std::any_of(instances.begin(), instances.end(), [&](const Instance& i) { return waits_in_outbox(i); });
}

Result<std::optional<std::string>> SenderMap::dropped_with_traffic(const InstanceTable& next, const Current& known) {
  std::optional<std::string> dropped;
  if (settings_.allow_empty) return dropped;
  GW_TRY_ASSIGN(const auto text, state_.read(copy_name(known.version)));
  if (!text) return dropped;
  auto before = InstanceTable::parse(settings_.map, *text, root_.machine(), InstanceTable::Schema::loose);
  if (!before) return dropped;
  for (const EndpointInstances& endpoint : before->endpoints())
    if (!next.find(endpoint.name) && has_traffic(endpoint.name, endpoint.instances)) return std::optional(endpoint.name);
  return dropped;
}

// --- instances that have left ---------------------------------------------------------------------------------------------------

// With the state's lock held.
Result<void> SenderMap::retire_others() {
  GW_TRY_ASSIGN(const auto names, state_.names());
  for (const std::string& name : other_copies(names, key_, instances_.version())) {
    GW_TRY_ASSIGN(const auto copy, state_.open_file(name));
    if (!copy || ::flock(copy->get(), LOCK_EX | LOCK_NB) != 0) continue;  // in use: the last one who uses it does this
    auto retired = retire(name);
    // Later, by whoever comes next; messages go on meanwhile.
    if (!retired) event(Level::warn, "instance-not-told", {{"path", settings_.map}, {"reason", retired.error().text}});
  }
  return {};
}

Result<void> SenderMap::retire(const std::string& name) {
  GW_TRY_ASSIGN(const auto text, state_.read(name));
  GW_TRY_ASSIGN(const auto senders, read_senders(state_));
  auto before = InstanceTable::parse(settings_.map, text.value_or("<endpoints/>"), root_.machine(), InstanceTable::Schema::loose);
  if (before) {
    for (const EndpointInstances& endpoint : before->endpoints()) {
      // Also where an endpoint is that is not in the map any more.
      const std::vector<Instance>& now = instances_.instances(endpoint.name);
      for (const Instance& instance : endpoint.instances) {
        auto same = [&](const Instance& i) { return same_address(i.address, instance.address); };
        if (std::none_of(now.begin(), now.end(), same)) GW_TRY(tell_left(instance, senders));
      }
    }
  }
  return state_.remove(name);
}

// One control message for each name under which this root has sent to the endpoint. Not held inside a handler: it is not the handler's.
Result<void> SenderMap::tell_left(const Instance& instance, const std::vector<KnownSender>& senders) {
  auto destination = destinations_.find(instance.address);
  if (!destination) {
    event(Level::warn, "instance-not-told", {{"address", instance.address}, {"reason", destination.error().text}});
    return {};
  }
  std::set<std::string> names;
  for (const KnownSender& sender : senders)
    if (sender.of_this_root && sender.target == instance.endpoint) names.insert(sender.sender);
  if (names.empty()) names.insert(root_.machine());
  Transaction transaction;
  for (const std::string& name : names) put_to(transaction, *destination, map_version_message(name, root_.machine(), instances_.version()));
  auto committed = root_.commit(std::move(transaction));
  if (!committed) return std::move(committed).error();
  return {};
}

// --- routing, looking again -----------------------------------------------------------------------------------------------------

Result<void> SenderMap::load_routing() {
  const std::string kept = routing_key_ + ".routing";
  auto text = read_source(settings_.routing);
  GW_TRY_ASSIGN(const auto last, state_.read(kept));
  auto table = text ? parse_routes(settings_, *text) : Result<RoutingTable>(text.error());
  if (table) {
    if (!last || *last != *text) GW_TRY(state_.write(kept, *text));
    told_routing_.clear();
    routes_ = *std::move(table);
    return {};
  }
  if (!loaded_ && !last && is_missing(table.error()) && !settings_.routing_given) {
    routes_.set_path(settings_.routing, false);
    return {};
  }
  if (loaded_ && !last) return {};  // there was none, and there is none
  if (!last) return Error{is_missing(table.error()) ? ExitCode::config : table.error().code, 0, table.error().text};
  tell_once(told_routing_, "routing-bad", settings_.routing, table.error().text);
  if (loaded_) return {};
  GW_TRY_ASSIGN(routes_, RoutingTable::parse(settings_.routing, *last));
  return {};
}

void SenderMap::tell_once(std::string& told, const char* name, const std::string& path, const std::string& why) {
  if (told == why) return;
  told = why;
  std::string line = why;  // one line
  std::replace(line.begin(), line.end(), '\n', ' ');
  event(Level::error, name, {{"path", path}, {"reason", line}});
}

Result<bool> SenderMap::refresh() {
  const int64_t now = monotonic_ms();
  if (now - looked_at_ms_ < look_every_ms) return false;
  looked_at_ms_ = now;
  const std::string stamp = files_stamp(settings_);
  if (stamp == stamp_ && now - read_at_ms_ < settings_.refresh_ms) return false;
  stamp_ = stamp;
  read_at_ms_ = now;
  GW_TRY(load_map());
  GW_TRY(load_routing());
  return true;
}

// Of a stream all messages have the same endpoint and sender: for those it costs two headers.
Result<void> SenderMap::stamp(const std::string& endpoint, Headers& headers) {
  const std::string_view origin = headers.get(header::originating_endpoint);
  const bool known = !last_.sender.empty() && last_.endpoint == endpoint && last_.origin == origin && looked_at_ms_ - last_.noted_at_ms < touch_every_ms;
  if (!known) GW_TRY(note_traffic(endpoint, headers));
  if (in_use_) {  // else there is no map
    headers.set(header::map_version, instances_.version());
    headers.set(header::map_sender, last_.sender);
  }
  return {};
}

Result<void> SenderMap::note_traffic(const std::string& endpoint, const Headers& headers) {
  const std::string sender = sender_of(headers, root_.machine());
  auto [touched, is_new] = touched_ms_.emplace(endpoint, looked_at_ms_);
  if (is_new || looked_at_ms_ - touched->second > touch_every_ms) {
    touched->second = looked_at_ms_;
    const std::string traffic = std::string(traffic_prefix) + endpoint;
    const int64_t last = state_.changed_ms(traffic), wall = now_ms();
    if (last == 0 || last > wall || wall - last > touch_every_ms) GW_TRY(state_.touch(traffic));
  }
  if (noted_.insert(endpoint + "\n" + sender).second) {
    KnownSender known;
    known.of_this_root = true;
    known.target = endpoint;
    known.sender = sender;
    known.machine = root_.machine();
    known.since_ms = now_ms();
    GW_TRY(record_sender(state_, std::move(known)));
  }
  last_ = {endpoint, std::string(headers.get(header::originating_endpoint)), sender, looked_at_ms_};
  return {};
}

// --- what was put aside -----------------------------------------------------------------------------------------------------------

namespace {

// The copy of that version, locked as one that is used; nullopt: nobody uses it, or it is being retired.
std::optional<UniqueFd> use_copy(const MapState& state, const std::vector<std::string>& names, const std::string& version) {
  for (const std::string& name : names) {
    if (!name.ends_with("." + version + ".map")) continue;
    auto copy = state.open_file(name);
    struct stat file {};
    if (copy && *copy && ::flock((*copy)->get(), LOCK_SH | LOCK_NB) == 0 && ::fstat((*copy)->get(), &file) == 0 && file.st_nlink > 0) return *std::move(copy);
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<Message>> told_again(Root& root, const std::string& queue, const Headers& headers, std::vector<UniqueFd>& uses) {
  const std::string version(headers.get(header::map_version));
  std::optional<Message> none;
  if (version.empty() || is_map_version_message(headers)) return none;
  auto state = MapState::open(root.path(), false);
  if (!state) return none;
  GW_TRY_ASSIGN(const auto names, state->names());
  if (auto copy = use_copy(*state, names, version)) {
    uses.push_back(*std::move(copy));
    return none;
  }
  const auto machine = site_of_outbox(queue);
  const std::string remote(headers.get(header::destination_queue));
  const std::string address = machine && machine->starts_with('@') && !remote.empty() ? remote + *machine : queue + "@" + root.machine();
  std::string now;
  for (const std::string& name : names) {
    if (!name.ends_with(".current")) continue;
    GW_TRY_ASSIGN(const auto text, state->read(name));
    const auto use = text ? parse_current(*text) : std::nullopt;
    if (!use) continue;
    GW_TRY_ASSIGN(const auto map, state->read(name.substr(0, name.size() - 7) + use->version + ".map"));
    auto table = map ? InstanceTable::parse(name, *map, root.machine(), InstanceTable::Schema::loose) : Result<InstanceTable>(Error{});
    if (table && table->find_address(address)) return none;
    now = use->version;
  }
  if (now.empty()) return none;
  Message message = map_version_message(headers.get(header::map_sender), root.machine(), now);
  if (!remote.empty()) {
    message.headers.set(header::destination_queue, remote);
    message.headers.set(header::transfer_id, new_message_id());
  }
  return std::optional(std::move(message));
}

// --- for those who look -----------------------------------------------------------------------------------------------------------

Result<std::optional<MapInUse>> map_in_use(const MapState& state, const std::string& map) {
  const std::string key = state_key(absolute_source(map));
  GW_TRY_ASSIGN(const auto text, state.read(current_name(key)));
  auto use = text ? parse_current(*text) : std::nullopt;
  if (!use) return use;
  GW_TRY_ASSIGN(const auto names, state.names());
  for (const std::string& name : other_copies(names, key, use->version)) use->older = version_of_copy(name);
  return use;
}

Result<std::optional<std::string>> last_good_map(const MapState& state, const std::string& map) {
  GW_TRY_ASSIGN(const auto use, map_in_use(state, map));
  if (!use) return std::optional<std::string>();
  return state.read(state_key(absolute_source(map)) + "." + use->version + ".map");
}

}  // namespace gw
