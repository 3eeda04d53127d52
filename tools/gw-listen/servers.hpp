// All the sockets of a listener. The library cannot open one more while it runs, so channels that are added get a server of their own.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "http_server.hpp"

namespace gw::listen {

/// One thread uses it, but for what is const.
class Servers {
 public:
  explicit Servers(Server::Handler handler) : handler_(std::move(handler)) {}
  ~Servers();
  Servers(const Servers&) = delete;
  Servers& operator=(const Servers&) = delete;

  /// As Server::start(), for the channels over HTTP.
  Result<void> start(std::vector<Channel>& channels);
  /// Listens where `fresh` asks for more than `before`, and sets the ports of both kinds. If it fails nothing has changed.
  Result<void> add(std::vector<Channel>& fresh, const std::vector<Channel>& before);
  /// Closes the ports that none of the channels needs any more. Requests that are under way are finished.
  void retire(const std::vector<Channel>& channels);
  /// As Server::set_tls().
  void set_tls(const std::vector<Channel>& channels);
  /// As Server::stop(), for all.
  bool stop(int64_t grace_ms);
  /// Requests that are being handled by all servers that still take any.
  unsigned under_way() const;
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

 private:
  struct Socket {
    std::string bind_address;
    uint16_t port;
    bool https;
  };
  struct Running {
    std::unique_ptr<Server> server;
    std::vector<Socket> sockets;
  };
  const Socket* on_port(uint16_t port) const;
  Result<void> start_one(std::vector<Channel>& channels);
  void end_server(size_t i);

  Server::Handler handler_;
  mutable std::mutex mutex_;  // guards changes of running_, and other threads' looks at it
  std::vector<Running> running_;
  std::vector<std::thread> retiring_;
  std::atomic<bool> stopping_{false};
};

}  // namespace gw::listen
