#include "senders.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "config_watch.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "sender_map.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::instance_map {

namespace {

constexpr int64_t look_ms = 200;

struct Row {
  KnownSender sender;
  bool current = false;
};

// Is the queue one of the endpoint's? One that is not in the map any more has its name, with a discriminator or without.
bool belongs(const std::string& queue, const std::string& endpoint, const InstanceTable& table) {
  if (queue == endpoint || queue.starts_with(endpoint + "-")) return true;
  const std::vector<Instance>* instances = table.find(endpoint);
  return instances && std::any_of(instances->begin(), instances->end(), [&](const Instance& i) { return i.queue == queue; });
}

class View {
 public:
  View(const MapSettings& settings, std::string endpoint, MapState state, std::string machine)
      : settings_(settings), endpoint_(std::move(endpoint)), state_(std::move(state)), machine_(std::move(machine)) {}
  Result<std::vector<Row>> rows();

 private:
  Result<void> read_map();
  const MapSettings& settings_;
  std::string endpoint_;
  MapState state_;
  std::string machine_, stamp_;
  InstanceTable table_;
  bool read_ = false;
  int64_t read_at_ms_ = 0;
};

Result<void> View::read_map() {
  const std::string stamp = file_stamp(settings_.map);
  if (read_ && stamp == stamp_ && monotonic_ms() - read_at_ms_ < (is_url(settings_.map) ? settings_.refresh_ms : map_refresh_max_ms)) return {};
  auto table = load_instances(settings_, machine_);
  if (!table && is_missing(table.error()) && !settings_.map_given) table = InstanceTable::nothing(machine_);
  if (!table) return std::move(table).error();
  table_ = *std::move(table);
  stamp_ = stamp;
  read_at_ms_ = monotonic_ms();
  read_ = true;
  return {};
}

// One for each sender: of several queues the one that knows least.
Result<std::vector<Row>> View::rows() {
  GW_TRY(read_map());
  GW_TRY_ASSIGN(const auto known, read_senders(state_));
  GW_TRY_ASSIGN(const auto use, map_in_use(state_, settings_.map));
  std::map<std::string, Row> by_name;
  for (KnownSender sender : known) {
    if (!endpoint_.empty() && (sender.of_this_root ? sender.target != endpoint_ : !belongs(sender.target, endpoint_, table_))) continue;
    if (sender.of_this_root && use) {
      sender.map_version = use->older.empty() ? use->version : use->older;
      sender.since_ms = use->older.empty() ? std::max(use->since_ms, sender.since_ms) : sender.since_ms;
    }
    Row row{sender, sender.map_version == table_.version()};
    auto [there, is_new] = by_name.emplace(sender.sender, row);
    if (!is_new && (there->second.current || sender.of_this_root)) there->second = row;
  }
  std::vector<Row> rows;
  for (auto& [name, row] : by_name) rows.push_back(std::move(row));
  return rows;
}

void print(const std::vector<Row>& rows, const CommonOptions& common) {
  Table table({{"SENDER"}, {"MACHINE"}, {"MAP-VERSION"}, {"CURRENT"}, {"SINCE"}}, out, common.color ? Table::Titles::bold : Table::Titles::plain);
  for (const Row& row : rows) {
    const KnownSender& s = row.sender;
    if (common.json) {
      JsonObject object;
      object.add("sender", s.sender).add("machine", s.machine);
      if (!s.map_version.empty()) object.add("map_version", s.map_version);
      out(object.add("current", row.current).add_time("since_at", s.since_ms).str() + "\n");
    } else {
      table.row({s.sender, s.machine, s.map_version.empty() ? "-" : s.map_version, row.current ? "yes" : "no", format_rfc3339(s.since_ms)});
    }
  }
  if (!common.json) table.flush();
}

}  // namespace

Result<ExitCode> senders(const SendersOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  if (!options.endpoint.empty()) GW_TRY(check_queue_name(options.endpoint));
  int64_t timeout_ms = INT64_MAX / 2;
  if (!options.timeout.empty()) {
    const auto timeout = parse_duration_ms(options.timeout);
    if (!timeout) return Error{ExitCode::usage, 0, "--timeout '" + options.timeout + "': expected a duration like 30s"};
    if (!options.wait) return Error{ExitCode::usage, 0, "--timeout goes with --wait"};
    timeout_ms = *timeout;
  }
  GW_TRY_ASSIGN(const auto root, open_root(common, false));
  GW_TRY_ASSIGN(MapState state, MapState::open(root->path(), true));
  View view(settings, options.endpoint, std::move(state), root->machine());
  const int64_t deadline = monotonic_ms() + timeout_ms;
  for (;;) {
    GW_TRY_ASSIGN(const auto rows, view.rows());
    const bool all = std::all_of(rows.begin(), rows.end(), [](const Row& row) { return row.current; });
    const int64_t left = deadline - monotonic_ms();
    if (all || !options.wait || left <= 0) {
      print(rows, common);
      return all || !options.wait ? ExitCode::ok : ExitCode::not_now;
    }
    ::usleep(static_cast<useconds_t>(std::min(left, look_ms) * 1000));
  }
}

}  // namespace gw::instance_map
