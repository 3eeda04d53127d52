// What machines ask: /metrics, /healthz, and /trace?id=ID (what happened to a message here), on an address of its own that no message comes in by.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "dedup_store.hpp"
#include "listen_address.hpp"
#include "receive.hpp"
#include "store_thread.hpp"

namespace gw::listen {

class Admin {
 public:
  struct Context {
    std::string endpoint;
    Root* root = nullptr;
    const ReceivedCounts* counts = nullptr;
    std::function<bool()> stopping;
  };
  explicit Admin(Context context);

  /// cannot_create: the address is taken. Says where it listens as an event.
  Result<void> start(ListenAddress address);
  /// Ends all connections.
  void stop();

 private:
  Answer answer(const Exchange& exchange);
  std::string metrics();
  Answer trace(std::string_view id);
  std::optional<uint64_t> dedup_rows();

  Context context_;
  Server server_;
  StoreThread store_thread_;  // those of the server have little stack
  std::unique_ptr<DedupStore> store_;
  std::mutex mutex_;  // guards what follows
  std::optional<uint64_t> rows_;
  int64_t count_again_ms_ = 0;
};

}  // namespace gw::listen
