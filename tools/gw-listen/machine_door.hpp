// What comes in from other machines (gw-listen --machine): into which queues, and where its ids are remembered.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "address.hpp"
#include "data_bus.hpp"
#include "dedup_store.hpp"
#include "queue.hpp"
#include "store_thread.hpp"

namespace gw::listen {

/// The name of the store of a machine's transfers.
std::string machine_store(std::string_view machine);

/// Is a queue among those that are let in? Names and shell patterns; without any, every queue but the outboxes, which would send a message
/// on to where this machine may go and its sender may not.
bool queue_allowed(const std::vector<std::string>& allowed, const std::string& queue);

/// All functions: any thread with little stack.
class MachineDoor {
 public:
  /// Opens or makes the store. `root`, `thread` outlive it.
  static Result<std::unique_ptr<MachineDoor>> open(Root& root, std::string name, std::vector<std::string> allowed, StoreThread& thread,
                                                   std::function<void(const Error&)> on_doubt);

  const std::string& name() const { return name_; }
  const std::string& store() const { return store_name_; }
  DataBus& data_bus() { return *data_bus_; }
  /// nullopt, and an event that says why: it is not allowed, or there is none.
  std::optional<Queue> open(const std::string& queue);

 private:
  MachineDoor(Root& root, std::string name, std::vector<std::string> allowed, StoreThread& thread)
      : root_(root), name_(std::move(name)), store_name_(machine_store(name_)), allowed_(std::move(allowed)), thread_(thread) {}
  Result<Queue> find(const std::string& queue);

  Root& root_;
  std::string name_, store_name_;
  std::vector<std::string> allowed_;
  StoreThread& thread_;
  std::unique_ptr<DedupStore> store_;
  std::optional<DataBus> data_bus_;
  std::mutex mutex_;
  std::map<std::string, Queue> queues_;  ///< kept open
};

}  // namespace gw::listen
