// The map and the routing as a sender uses them: read again when they change, the last good ones kept in the root, and every instance
// that leaves the map told that nothing more comes.
//
// All senders of a root share what they know. A version of the map is in use as long as some process has its copy in the root locked
// (shared). Whoever finds a copy that nobody uses any more and that is not the current version sends the control messages of the
// instances that are gone since then, and removes it: so the control message comes behind the last message of the last process.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "address.hpp"
#include "map_senders.hpp"
#include "map_source.hpp"
#include "map_state.hpp"
#include "queue.hpp"

namespace gw {

/// One thread uses it.
class SenderMap {
 public:
  /// config: there is no map that can be used, and no last good one. Without a default map every endpoint is on this machine. What is
  /// bad but has a last good one is an event.
  static Result<std::unique_ptr<SenderMap>> open(Root& root, const MapSettings& settings);
  SenderMap(const SenderMap&) = delete;

  InstanceTable& instances() { return instances_; }
  const RoutingTable& routes() const { return routes_; }
  /// Before each batch: looks whether a file is another one (some times a second) or whether it is time to read them again. Bad ones do
  /// not replace good ones; an event says so. True: something else may be in them now. Destroying it or a change ends the use of the old map, so
  /// commit what was chosen by it before.
  Result<bool> refresh();
  /// Before a message for an instance of `endpoint` is put: says in its headers which map sends it, and keeps that this endpoint gets messages, and whose.
  /// Costs something once for each endpoint.
  Result<void> stamp(const std::string& endpoint, Headers& headers);

 private:
  SenderMap(Root& root, const MapSettings& settings, MapState state);
  struct Current;
  Result<void> load_map();
  Result<void> load_map_locked();
  Result<void> load_routing();
  Result<InstanceTable> read_map();
  Result<std::optional<Current>> current();
  Result<bool> use(const std::string& version);
  void adopt(InstanceTable table);
  Result<void> stay(const Error& why, const std::optional<Current>& known);
  std::string copy_name(const std::string& version) const { return key_ + "." + version + ".map"; }
  Result<std::optional<std::string>> dropped_with_traffic(const InstanceTable& next, const Current& known);
  bool has_traffic(const std::string& endpoint, const std::vector<Instance>& instances);
  bool waits_in_outbox(const Instance& instance);
  Result<void> retire_others();
  Result<void> retire(const std::string& name);
  Result<void> tell_left(const Instance& instance, const std::vector<KnownSender>& senders);
  Result<void> note_traffic(const std::string& endpoint, const Headers& headers);
  void tell_once(std::string& told, const char* name, const std::string& path, const std::string& why);

  Root& root_;
  MapSettings settings_;
  MapState state_;
  Destinations destinations_;
  std::string key_, routing_key_;  // of the files in the state
  InstanceTable instances_;
  RoutingTable routes_;
  bool loaded_ = false;
  UniqueFd in_use_;                // our copy of the map, locked
  std::string text_;               // that was read last
  std::string stamp_, told_map_, told_routing_;
  std::set<std::string> noted_;    // endpoint and sender
  struct {
    std::string endpoint, origin, sender;  // origin: the endpoint that sends
    int64_t noted_at_ms = 0;
  } last_;                         // of the message before
  std::map<std::string, int64_t> touched_ms_;
  int64_t read_at_ms_ = 0, looked_at_ms_ = 0;
};

/// For whoever commits what others have put aside (a handler sends by a map; its messages leave later): before a message with these headers
/// is put into `queue`. If its map is still used it stays so until `uses` goes; else, and if its instance has left the map since, the
/// result is the control message to put behind it.
Result<std::optional<Message>> told_again(Root& root, const std::string& queue, const Headers& headers, std::vector<UniqueFd>& uses);

/// For the senders of this root: the version that is used, and whether somebody still uses another one. nullopt: no map was used yet.
struct MapInUse {
  std::string version, older;  ///< older: "" if nobody uses one
  int64_t since_ms = 0;
};
Result<std::optional<MapInUse>> map_in_use(const MapState& state, const std::string& map);

/// The last good text of this map; nullopt: none was used yet.
Result<std::optional<std::string>> last_good_map(const MapState& state, const std::string& map);

}  // namespace gw
