// What the instance map wants of a listener: it learns which senders send here by which map, and what comes for an instance that is out of
// service goes on to another one (instance-map(1)).
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "address.hpp"
#include "decommission_state.hpp"
#include "map_senders.hpp"
#include "store_thread.hpp"

namespace gw::listen {

/// Any thread with little stack may call it; what takes long is done by `thread`.
class InstanceNotes {
 public:
  /// All outlive it.
  InstanceNotes(Root& root, StoreThread& thread, const std::string& config_path, bool config_must_exist)
      : thread_(thread), senders_(root.path()), late_(root), destinations_(root, config_path, config_must_exist) {}

  /// Keeps what a message says of its sender. Cheap but for the first time that a sender says something new.
  void note(const std::string& queue, const Headers& headers);
  /// Where a message for `queue` goes instead; nullopt: there. not_now, unavailable: nowhere at the moment. Cheap for queues in service.
  Result<std::optional<Destination>> instead_of(const std::string& queue);
  /// It has arrived there.
  void sent_on(const std::string& id, const std::string& queue, const std::string& to, const std::string& from);

 private:
  StoreThread& thread_;
  SenderNotes senders_;
  std::mutex mutex_;  // of the rest
  LateArrivals late_;
  Destinations destinations_;
};

}  // namespace gw::listen
