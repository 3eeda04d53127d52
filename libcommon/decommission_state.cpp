#include "decommission_state.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "sender_map.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr int64_t believe_ms = 1000;

std::string file_of(const std::string& queue) { return "decommission." + queue; }

// Lines "name value", the value with % and line breaks encoded.
std::string encoded(std::string_view text) {
  std::string line;
  for (const char c : text) {
    if (c == '%') line += "%25";
    else if (c == '\n') line += "%0A";
    else if (c == '\r') line += "%0D";
    else line += c;
  }
  return line;
}

std::string decoded(std::string_view line) {
  std::string text;
  for (size_t at = 0; at < line.size(); ++at) {
    const std::string_view three = line.substr(at, 3);
    const char c = three == "%25" ? '%' : three == "%0A" ? '\n' : three == "%0D" ? '\r' : '\0';
    text += c == '\0' ? line[at] : c;
    if (c != '\0') at += 2;
  }
  return text;
}

int64_t number(std::string_view text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// Calls `visit` with the name of each field, and what reads and writes it.
template <class Visit>
void fields(Decommission& d, Visit visit) {
  visit("queue", d.queue);
  visit("address", d.address);
  visit("endpoint", d.endpoint);
  visit("map", d.map);
  visit("loose", d.loose);
  visit("began", d.began_ms);
  visit("drain-began", d.drain_began_ms);
  for (size_t i = 0; i < decommission_steps; ++i) {
    visit(("done-" + std::to_string(i + 1)).c_str(), d.steps[i].done_ms);
    visit(("proof-" + std::to_string(i + 1)).c_str(), d.steps[i].proof);
  }
  visit("removed-here", d.removed_here);
  visit("text-before", d.text_before);
  visit("hold-noted", d.hold_noted);
  visit("puts-were-on", d.puts_were_on);
  visit("reason-before", d.reason_before);
  visit("moved", d.moved);
  visit("late", d.late);
  visit("last-late", d.last_late_ms);
}

struct Writer {
  std::string text;
  void operator()(const char* name, const std::string& value) { text += std::string(name) + " " + encoded(value) + "\n"; }
  void operator()(const char* name, bool value) { (*this)(name, std::string(value ? "1" : "0")); }
  void operator()(const char* name, int64_t value) { (*this)(name, std::to_string(value)); }
  void operator()(const char* name, uint64_t value) { (*this)(name, std::to_string(value)); }
};

struct Reader {
  const std::map<std::string, std::string>& values;
  const std::string* find(const char* name) const {
    auto found = values.find(name);
    return found == values.end() ? nullptr : &found->second;
  }
  void operator()(const char* name, std::string& value) const {
    if (const std::string* text = find(name)) value = *text;
  }
  void operator()(const char* name, bool& value) const {
    if (const std::string* text = find(name)) value = *text == "1";
  }
  void operator()(const char* name, int64_t& value) const {
    if (const std::string* text = find(name)) value = number(*text);
  }
  void operator()(const char* name, uint64_t& value) const {
    if (const std::string* text = find(name)) value = static_cast<uint64_t>(number(*text));
  }
};

}  // namespace

const char* to_string(DecommissionStep step) {
  constexpr const char* names[decommission_steps] = {"map changed", "senders", "nothing new", "drained", "disabled", "leftovers"};
  return names[static_cast<size_t>(step)];
}

Result<std::optional<Decommission>> read_decommission(const MapState& state, const std::string& queue) {
  GW_TRY_ASSIGN(const auto text, state.read(file_of(queue)));
  if (!text) return std::optional<Decommission>();
  std::map<std::string, std::string> values;
  Decommission d;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    const std::string_view line = std::string_view(*text).substr(at, end - at);
    at = end + 1;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    const std::string name(line.substr(0, space));
    if (name == "ignored") d.ignored.push_back(decoded(line.substr(space + 1)));
    else values[name] = decoded(line.substr(space + 1));
  }
  fields(d, Reader{values});
  if (d.queue != queue) return Error{ExitCode::system, 0, "what is remembered of the decommissioning of '" + queue + "' cannot be read"};
  return std::optional(std::move(d));
}

Result<void> write_decommission(const MapState& state, const Decommission& decommission) {
  Decommission copy = decommission;
  Writer writer;
  fields(copy, [&](const char* name, auto& value) { writer(name, value); });
  for (const std::string& sender : copy.ignored) writer("ignored", sender);
  return state.write(file_of(copy.queue), writer.text);
}

Result<void> remove_decommission(const MapState& state, const std::string& queue) { return state.remove(file_of(queue)); }

Result<std::vector<std::string>> other_instances(const MapState& state, const Decommission& decommission, const std::string& this_machine) {
  MapSettings settings;
  settings.map = decommission.map;
  settings.schema = decommission.loose ? InstanceTable::Schema::loose : InstanceTable::Schema::strict;
  auto table = load_instances(settings, this_machine);
  if (!table) {
    GW_TRY_ASSIGN(const auto text, last_good_map(state, decommission.map));
    if (!text) return std::move(table).error();
    GW_TRY_ASSIGN(table, InstanceTable::parse(decommission.map, *text, this_machine, InstanceTable::Schema::loose));
  }
  std::vector<std::string> addresses;
  if (const std::vector<Instance>* instances = table->find(decommission.endpoint))
    for (const Instance& instance : *instances)
      if (instance.address != decommission.address) addresses.push_back(instance.address);
  return addresses;
}

bool LateArrivals::may_be_closed(const std::string& queue) const {
  return ::access((root_.path() + "/instance-map/" + file_of(queue)).c_str(), F_OK) == 0;
}

Result<LateArrivals::Known*> LateArrivals::known(const std::string& queue) {
  Known& known = known_[queue];
  const int64_t now = monotonic_ms();
  const bool fresh = known.read_ms != 0 && now - known.read_ms < believe_ms && known.decommission;  // of the map alone
  auto state = MapState::open(root_.path(), false);
  if (!state && state.error().code != ExitCode::no_input) return std::move(state).error();
  known.decommission.reset();
  if (state) {
    GW_TRY_ASSIGN(known.decommission, read_decommission(*state, queue));
  }
  // From just before its puts are held.
  if (known.decommission && !known.decommission->hold_noted) known.decommission.reset();
  if (fresh && known.decommission) return &known;
  if (known.decommission) {
    GW_TRY_ASSIGN(known.addresses, other_instances(*state, *known.decommission, root_.machine()));
  }
  known.read_ms = now;
  return &known;
}

Result<std::optional<Address>> LateArrivals::address(const std::string& queue) {
  GW_TRY_ASSIGN(Known* const found, known(queue));
  if (!found->decommission) return std::optional<Address>();
  if (found->addresses.empty())
    return Error{ExitCode::unavailable, 0, "'" + found->decommission->address + "' is out of service, and the map has no other instance of '" +
                                               found->decommission->endpoint + "'"};
  GW_TRY_ASSIGN(Address address, parse_address(found->addresses[found->next++ % found->addresses.size()]));
  return std::optional(std::move(address));
}

Result<void> LateArrivals::arrived(const std::string& queue) {
  GW_TRY_ASSIGN(const MapState state, MapState::open(root_.path(), true));
  GW_TRY_ASSIGN(const UniqueFd locked, state.lock());
  GW_TRY_ASSIGN(auto decommission, read_decommission(state, queue));
  if (!decommission) return {};
  ++decommission->late;
  decommission->last_late_ms = now_ms();
  return write_decommission(state, *decommission);
}

}  // namespace gw
