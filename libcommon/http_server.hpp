// The HTTP server: CivetWeb with the settings and checks that its version needs. civetweb.h stays in server.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "http.hpp"
#include "http_tls.hpp"
#include "result.hpp"

namespace gw::http {

/// One address to listen on.
struct Listening {
  std::string bind_address;  ///< IPv4
  uint16_t port = 0;         ///< 0: any; set to the real one once the server runs
  bool https = false;
  std::string name;          ///< what errors call it
  std::shared_ptr<const TlsContext> tls;
};

struct ServerOptions {
  unsigned connections = connections_max;
  std::string methods = "GET, HEAD, POST";  ///< told to who uses another one that the library does not know
};

class Server {
 public:
  using Handler = std::function<void(Exchange&)>;
  /// `handler` is called by many threads at once, each with a stack of 100 KB only. It sends exactly one answer, or none if the
  /// connection is to be closed without one.
  explicit Server(Handler handler, ServerOptions options = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Listens on all addresses (several may be the same one) and sets the ports of those that said 0. cannot_create: taken; no_permission.
  Result<void> start(std::vector<Listening>& sockets);
  /// Other certificates for the same addresses, from the next connection on.
  void set_tls(const std::vector<Listening>& sockets);
  /// From now on every answer closes its connection. Waits until no request is being handled, at most `grace_ms`, then ends all
  /// connections. False: some had to be cut.
  bool stop(int64_t grace_ms);
  /// Requests that are being handled.
  unsigned under_way() const { return static_cast<unsigned>(active_.load(std::memory_order_relaxed)); }
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

 private:
  friend struct ServerCallbacks;
  friend class ConnectionAnswer;
  void finished() { active_.fetch_sub(1, std::memory_order_acq_rel); }
  struct Impl;
  static Result<void> init_library(const std::vector<Listening>& sockets, Impl& impl);
  Handler handler_;
  ServerOptions options_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> active_{0};
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::http
