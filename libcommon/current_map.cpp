#include "current_map.hpp"

#include "config_watch.hpp"
#include "diag.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr int64_t look_ms = 250;

std::string stamp_of(const MapSettings& settings) {
  return (is_url(settings.map) ? "" : file_stamp(settings.map)) + "|" + (is_url(settings.routing) ? "" : file_stamp(settings.routing));
}

}  // namespace

Result<void> CurrentMap::read() {
  stamp_ = stamp_of(settings_);  // before: what changes while we read is a change
  read_at_ms_ = looked_at_ms_ = monotonic_ms();
  auto instances = load_instances(settings_, machine_);
  if (!instances && instances.error().code == ExitCode::no_input && !settings_.map_given) instances = InstanceTable::nothing(machine_);
  if (!instances) return std::move(instances).error();
  GW_TRY_ASSIGN(routes_, load_routes(settings_));
  instances_ = *std::move(instances);
  return {};
}

Result<std::unique_ptr<CurrentMap>> CurrentMap::open(Root& root, const MapSettings& settings) {
  std::unique_ptr<CurrentMap> made(new CurrentMap(settings, root.machine()));
  GW_TRY(made->read());
  return made;
}

Result<bool> CurrentMap::refresh() {
  const int64_t now = monotonic_ms();
  if (now - looked_at_ms_ < look_ms) return false;
  looked_at_ms_ = now;
  if (now - read_at_ms_ < settings_.refresh_ms && stamp_of(settings_) == stamp_) return false;
  if (auto done = read(); !done) {
    if (done.error().text != told_)
      event(Level::error, "instance-map-bad",
            {{"path", settings_.map},
             {"reason", "Unable to update instance mapping information because the instance mapping file couldn't be read. " + done.error().text}});
    told_ = done.error().text;
    return false;
  }
  told_.clear();
  return true;
}

}  // namespace gw
