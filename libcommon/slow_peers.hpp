// Ends the connections of those who take too long. The library itself has no limit for a body that drips, and gives the head of
// a second request on a connection as much time as an idle connection has.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace gw::http {

/// The two ends of a connection. The library does not tell its socket: it is found by them.
struct Ends {
  uint32_t peer_ip = 0;  ///< network order
  uint16_t peer_port = 0, own_port = 0;
};
/// -1: there is no such connection. Looks at every descriptor of the process.
int find_socket(const Ends& ends);

/// What a thread of the server waits for, as the watcher sees it. One per thread; written by its thread only.
class Awaited {
 public:
  /// The calling thread's, never freed.
  static Awaited& mine();

  /// A new connection. Its first head has the library's limit.
  void connection();
  /// A request has come, by this connection.
  void request(const Ends& ends);
  /// A body begins, or goes on if it is awaited already.
  void body();
  bool is_body() const { return what_ == What::body; }
  void body_asked(size_t bytes) { asked_ = static_cast<int64_t>(bytes); }
  void body_came(size_t bytes) { came_ += static_cast<int64_t>(bytes); }
  int64_t body_bytes() const { return came_; }
  int64_t since_ms() const { return since_ms_; }
  /// All of the request has come; the answer, which may bring the next one, was not sent. `request_bytes`: its size; 0: not
  /// known. `socket`: the connection's, if the caller knows it.
  void taken(uint64_t request_bytes, int socket = -1);
  /// The request is over, another head may come.
  void head();
  void nothing() { what_ = What::nothing; }

  /// The watcher has ended the connection, or set_overdue() was called.
  bool overdue() const { return overdue_; }
  void set_overdue() { overdue_ = true; }

 private:
  friend class SlowPeers;
  enum class What { nothing, body, head };
  Ends ends() const;
  bool body_too_slow(int64_t now) const;
  bool head_too_slow(int64_t now, int fd);
  void end_if(bool too_slow, What what, int64_t since);

  std::atomic<What> what_{What::nothing};
  std::atomic<int64_t> since_ms_{0};
  std::atomic<int64_t> came_{0}, asked_{0};
  std::atomic<bool> overdue_{false};
  std::atomic<uint32_t> peer_ip_{0}, ports_{0};
  std::atomic<uint64_t> received_{0};  ///< bytes of the connection up to the end of its last request
  bool counted_ = true;                ///< received_ is exact without asking the kernel
  std::atomic<int64_t> head_began_ms_{0};
};

/// The watcher: a thread that looks once a second.
class SlowPeers {
 public:
  void start();
  void stop();

 private:
  void run();
  static void look(int64_t now);
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace gw::http
