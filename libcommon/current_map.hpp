// The map and the routing as a sender uses them: read again when they change.
#pragma once

#include <memory>
#include <string>

#include "instance_table.hpp"
#include "map_source.hpp"
#include "queue.hpp"
#include "routing_table.hpp"

namespace gw {

/// One thread uses it.
class CurrentMap {
 public:
  /// config: one of them is bad. Without a default map every endpoint is on this machine.
  static Result<std::unique_ptr<CurrentMap>> open(Root& root, const MapSettings& settings);
  InstanceTable& instances() { return instances_; }
  const RoutingTable& routes() const { return routes_; }
  /// Looks whether one of them is another one, or whether it is time to read them again; at most a few times a second. Bad ones do not
  /// replace good ones (an event says so). True: something else may be in them now.
  Result<bool> refresh();

 private:
  CurrentMap(const MapSettings& settings, std::string machine) : settings_(settings), machine_(std::move(machine)) {}
  Result<void> read();
  MapSettings settings_;
  std::string machine_, stamp_, told_;
  InstanceTable instances_;
  RoutingTable routes_;
  int64_t read_at_ms_ = 0, looked_at_ms_ = 0;
};

}  // namespace gw
