#include "list.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "config_watch.hpp"
#include "diag.hpp"
#include "distribution.hpp"
#include "json.hpp"
#include "table.hpp"
#include "units.hpp"
#include "xml_tree.hpp"

namespace gw::instance_map {

namespace {

constexpr int64_t look_ms = 250;

std::string json_row(const Instance& instance, const std::string& this_machine) {
  JsonObject row;
  row.add("endpoint", instance.endpoint).add("address", instance.address).add("queue", instance.queue);
  row.add("machine", is_this_machine(instance.machine, this_machine) ? this_machine : instance.machine);
  if (!instance.discriminator.empty()) row.add("discriminator", instance.discriminator);
  return row.str() + "\n";
}

void print_table(const InstanceTable& map, const CommonOptions& common) {
  Table table({{"ENDPOINT"}, {"ADDRESS"}}, out, common.color ? Table::Titles::bold : Table::Titles::plain);
  for (const EndpointInstances& endpoint : map.endpoints())
    for (const Instance& instance : endpoint.instances) {
      if (common.json) out(json_row(instance, map.this_machine()));
      else table.row({endpoint.name, instance.address});
    }
  if (!common.json) table.flush();
}

// One change as the original logs it.
void print_changes(const std::string& source, const std::vector<std::string>& lines, const CommonOptions& common) {
  if (lines.empty()) return;
  if (common.json) {
    for (const std::string& line : lines) out(JsonObject().add_time("at", now_ms()).add("map", source).add("change", line).str() + "\n");
    return;
  }
  out("Updating instance mapping table from '" + source + "':\n");
  for (const std::string& line : lines) out(line + "\n");
}

class Follower {
 public:
  Follower(const MapSettings& settings, InstanceTable table, const CommonOptions& common)
      : settings_(settings), common_(common), table_(std::move(table)) {}
  Result<ExitCode> run();

 private:
  bool due();
  void look();
  void refused(const std::string& why);

  const MapSettings& settings_;
  const CommonOptions& common_;
  InstanceTable table_;
  std::string stamp_ = file_stamp(settings_.map), told_;
  int64_t read_at_ms_ = monotonic_ms();
};

bool Follower::due() {
  if (Signals::take_reload() || monotonic_ms() - read_at_ms_ >= settings_.refresh_ms) return true;
  return !is_url(settings_.map) && file_stamp(settings_.map) != stamp_;
}

// The same trouble is told once, not every 30 seconds.
void Follower::refused(const std::string& why) {
  if (why == told_) return;
  told_ = why;
  std::string line = why;
  std::replace(line.begin(), line.end(), '\n', ' ');
  event(Level::error, "instance-map-bad",
        {{"path", settings_.map},
         {"reason", "Unable to update instance mapping information because the instance mapping file couldn't be read. " + line}});
}

void Follower::look() {
  stamp_ = file_stamp(settings_.map);  // before: what changes while we read is a change
  read_at_ms_ = monotonic_ms();
  auto next = load_instances(settings_, table_.this_machine());
  if (!next) return refused(next.error().text);
  told_.clear();
  print_changes(settings_.map, describe_changes(table_, *next), common_);
  table_ = *std::move(next);
}

Result<ExitCode> Follower::run() {
  Signals::install();
  GW_TRY(print_ready("ready"));
  print_changes(settings_.map, describe_changes(InstanceTable(), table_), common_);
  GW_TRY(flush_stdout());
  while (!Signals::stop_requested()) {
    pollfd item{Signals::wake_fd(), POLLIN, 0};
    ::poll(&item, 1, static_cast<int>(std::min(look_ms, settings_.refresh_ms)));
    if (Signals::stop_requested()) break;
    if (due()) look();
    GW_TRY(flush_stdout());
  }
  return ExitCode::ok;
}

// Has the file routes in it? Decided by its root element, whatever is wrong with the rest.
bool looks_like_routing(const std::string& path, const std::string& text) {
  Faults ignored(path, text);
  const std::string root = parse_xml(text, "", ignored).name;
  return root == "routing" || root == "configuration" || root == "UnicastBusConfig" || root == "MessageEndpointMappings";
}

// The lines of the faults alone, each with its place first.
Result<void> check_file(const std::string& path, bool routing, const MapSettings& settings, const std::string& machine) {
  GW_TRY_ASSIGN(const std::string text, read_source(path));
  std::vector<MapWarning> warnings;
  if (routing || looks_like_routing(path, text)) {
    GW_TRY_ASSIGN(const RoutingTable table, RoutingTable::parse(path, text, &warnings));
    // Senders find out when they need it; who asks wants to know now.
    Faults faults(path, text, Faults::Places::columns);
    for (const StrategyRule& rule : table.strategies())
      if (auto strategy = Strategy::parse(rule.name); !strategy) faults.add_at(rule.name_offset, strategy.error().text);
    if (faults.any()) return faults.error();
  } else {
    GW_TRY(InstanceTable::parse(path, text, machine, settings.schema, &warnings));
  }
  for (const MapWarning& warning : warnings)
    event(Level::warn, "unsupported", {{"at", path + ":" + std::to_string(warning.line) + ":" + std::to_string(warning.column)}, {"attribute", warning.attribute}, {"reason", warning.text}});
  return {};
}

// As compilers do: editors find the place.
ExitCode print_faults(const Error& error, const CommonOptions& common) {
  if (error.code != ExitCode::config) {
    print_error(error.text);
    return error.code;
  }
  if (common.json) {
    print_error(error.text);
  } else {
    const std::string text = error.text + "\n";
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, text.data(), text.size());
  }
  return error.code;
}

}  // namespace

Result<ExitCode> list(const ListOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(InstanceTable table, load_instances(settings, machine_name(common.root)));
  if (options.follow) return Follower(settings, std::move(table), common).run();
  print_table(table, common);
  return ExitCode::ok;
}

Result<ExitCode> validate(const ValidateOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  const std::string machine = machine_name(common.root);
  struct File {
    std::string path;
    bool routing, needed;
  };
  std::vector<File> files{{options.file, false, true}};
  if (options.file.empty())
    files = {{settings.map, false, settings.map_given || !settings.routing_given}, {settings.routing, true, settings.routing_given}};
  ExitCode code = ExitCode::ok;
  for (const File& file : files) {
    auto checked = check_file(file.path, file.routing, settings, machine);
    if (checked || (!file.needed && checked.error().code == ExitCode::no_input)) continue;
    const ExitCode this_one = print_faults(checked.error(), common);
    if (code == ExitCode::ok || this_one == ExitCode::config) code = this_one;
  }
  return code;
}

Result<ExitCode> resolve(const ResolveOptions& options, const CommonOptions& common) {
  if (options.type.empty()) return Error{ExitCode::usage, 0, "--type is required"};
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(const RoutingTable routes, load_routes(settings));
  const Route* route = routes.find(options.type);
  if (!route) return routes.no_route(options.type);
  const std::string machine = machine_name(common.root);
  if (!route->address.empty()) {
    const size_t at = route->address.find('@');
    Instance instance;
    instance.endpoint = route->endpoint;
    instance.queue = route->address.substr(0, at);
    instance.machine = at == std::string::npos ? "" : route->address.substr(at + 1);
    instance.address = instance.queue + "@" + (is_this_machine(instance.machine, machine) ? machine : instance.machine);
    out(common.json ? json_row(instance, machine) : instance.address + "\n");
    return ExitCode::ok;
  }
  auto map = load_instances(settings, machine);
  // Without a map every endpoint is on this machine, as in the original.
  if (!map && map.error().code == ExitCode::no_input && !settings.map_given) map = InstanceTable::nothing(machine);
  if (!map) return std::move(map).error();
  for (const Instance& instance : map->instances(route->endpoint)) out(common.json ? json_row(instance, machine) : instance.address + "\n");
  return ExitCode::ok;
}

}  // namespace gw::instance_map
