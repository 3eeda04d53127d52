// The HTTP server: CivetWeb with the settings and checks that its version needs. civetweb.h stays in server.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "http.hpp"
#include "result.hpp"

namespace gw::listen {

class Server {
 public:
  using Handler = std::function<void(Exchange&)>;
  /// `handler` is called by many threads at once, each with a stack of 100 KB only. It sends exactly one answer, or none if the
  /// connection is to be closed without one.
  explicit Server(Handler handler);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Listens on all addresses of the channels and sets the ports of those that said 0. cannot_create: taken; no_permission.
  Result<void> start(std::vector<Channel>& channels);
  /// Other certificates for the same channels, from the next connection on.
  void set_tls(const std::vector<Channel>& channels);
  /// From now on every answer closes its connection. Waits until no request is being handled, at most `grace_ms`, then ends all
  /// connections. False: some had to be cut.
  bool stop(int64_t grace_ms);
  /// Requests that are being handled.
  unsigned under_way() const { return static_cast<unsigned>(active_.load(std::memory_order_relaxed)); }
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

 private:
  friend struct ServerCallbacks;
  struct Impl;
  static Result<void> init_library(const std::vector<Channel>& channels, Impl& impl);
  Handler handler_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> active_{0};
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::listen
