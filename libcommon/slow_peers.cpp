#include "slow_peers.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <linux/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "http.hpp"
#include "units.hpp"

namespace gw::http {

namespace {

struct All {
  std::mutex mutex;
  std::vector<Awaited*> threads;
};
All& all() {
  static auto* instance = new All;
  return *instance;
}

bool same(const Ends& a, const Ends& b) {
  return a.peer_ip == b.peer_ip && a.peer_port == b.peer_port && a.own_port == b.own_port;
}
uint64_t key_of(const Ends& ends) { return uint64_t{ends.peer_ip} << 32 | uint64_t{ends.peer_port} << 16 | ends.own_port; }

/// Calls `visit` with the ends of each connection of the process until it returns false.
template <class Visit>
void for_each_socket(const Visit& visit) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/proc/self/fd"), &::closedir);
  if (!dir) return;
  while (const dirent* entry = ::readdir(dir.get())) {
    int fd = std::atoi(entry->d_name);
    sockaddr_in peer{}, own{};
    socklen_t size = sizeof peer;
    if (fd <= 2 || ::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0 || peer.sin_family != AF_INET) continue;
    size = sizeof own;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) != 0) continue;
    if (!visit(Ends{peer.sin_addr.s_addr, ntohs(peer.sin_port), ntohs(own.sin_port)}, fd)) return;
  }
}

struct Traffic {
  uint64_t received = 0;  // bytes, since the connection began
  int64_t silent_ms = 0;  // since the last of them
};
std::optional<Traffic> traffic(int fd) {
  tcp_info tcp{};
  socklen_t size = sizeof tcp;
  if (fd < 0 || ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) != 0) return std::nullopt;
  return Traffic{tcp.tcpi_bytes_received, tcp.tcpi_last_data_recv};
}

}  // namespace

int find_socket(const Ends& ends) {
  int found = -1;
  for_each_socket([&](const Ends& other, int fd) {
    if (same(ends, other)) found = fd;
    return found < 0;
  });
  return found;
}

// --- what a thread waits for ---------------------------------------------------------------------------------------------

Awaited& Awaited::mine() {
  thread_local Awaited* mine = [] {
    auto* fresh = new Awaited;
    std::lock_guard<std::mutex> one(all().mutex);
    all().threads.push_back(fresh);
    return fresh;
  }();
  return *mine;
}

void Awaited::connection() {
  what_ = What::nothing;
  received_ = 0;
  counted_ = true;
  overdue_ = false;
}

void Awaited::request(const Ends& ends) {
  what_ = What::nothing;
  peer_ip_ = ends.peer_ip;
  ports_ = static_cast<uint32_t>(ends.peer_port) << 16 | ends.own_port;
}

Ends Awaited::ends() const {
  uint32_t ports = ports_;
  return Ends{peer_ip_, static_cast<uint16_t>(ports >> 16), static_cast<uint16_t>(ports & 0xffff)};
}

void Awaited::body() {
  if (is_body()) return;
  came_ = 0;
  asked_ = 0;
  overdue_ = false;
  since_ms_ = monotonic_ms();
  what_ = What::body;
}

void Awaited::taken(uint64_t request_bytes, int socket) {
  counted_ = counted_ && request_bytes > 0;
  if (counted_) {
    received_ += request_bytes;
    return;
  }
  // Chunks and TLS add bytes of their own. The search is paid by chunks only.
  auto now = traffic(socket >= 0 ? socket : find_socket(ends()));
  received_ = now ? now->received : UINT64_MAX;
}

void Awaited::head() {
  overdue_ = false;
  head_began_ms_ = 0;
  since_ms_ = monotonic_ms();
  what_ = What::head;
}

// --- the watcher ---------------------------------------------------------------------------------------------------------

bool Awaited::body_too_slow(int64_t now) const {
  if (now - since_ms_ < slow_body_after_ms) return false;
  // What is asked for and not complete may have arrived but for one byte.
  return (came_ + asked_) * 1000 < body_bytes_per_second_min * (now - since_ms_);
}

/// Idle is allowed for longer than a head: it begins with the first byte after the last request.
bool Awaited::head_too_slow(int64_t now, int fd) {
  if (head_began_ms_ == 0) {
    auto seen = traffic(fd);
    if (!seen || seen->received <= received_) return false;
    head_began_ms_ = std::max<int64_t>(since_ms_, now - seen->silent_ms);
  }
  return now - head_began_ms_ >= head_timeout_ms;
}

void Awaited::end_if(bool too_slow, What what, int64_t since) {
  if (!too_slow) return;
  int fd = find_socket(ends());
  if (fd < 0 || what_ != what || since_ms_ != since) return;
  overdue_ = true;
  ::shutdown(fd, SHUT_RD);
}

void SlowPeers::look(int64_t now) {
  std::vector<Awaited*> threads;
  {
    std::lock_guard<std::mutex> one(all().mutex);
    threads = all().threads;
  }
  std::vector<std::pair<Awaited*, int64_t>> heads;
  for (Awaited* thread : threads) {
    const Awaited::What what = thread->what_;
    const int64_t since = thread->since_ms_;
    if (thread->overdue_) continue;
    if (what == Awaited::What::body) thread->end_if(thread->body_too_slow(now), what, since);
    if (what == Awaited::What::head) heads.emplace_back(thread, since);
  }
  if (heads.empty()) return;
  std::unordered_map<uint64_t, int> sockets;
  for_each_socket([&](const Ends& ends, int fd) { return sockets.emplace(key_of(ends), fd), true; });
  for (auto& [thread, since] : heads) {
    auto found = sockets.find(key_of(thread->ends()));
    if (found != sockets.end()) thread->end_if(thread->head_too_slow(now, found->second), Awaited::What::head, since);
  }
}

void SlowPeers::start() {
  thread_ = std::thread([this] { run(); });
}

void SlowPeers::stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> one(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void SlowPeers::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_) {
    wake_.wait_for(lock, std::chrono::seconds(1));
    if (stop_) return;
    look(monotonic_ms());
  }
}

}  // namespace gw::http
