#include "drain.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <vector>

#include "units.hpp"

namespace gw::http {

namespace {

constexpr size_t drain_bytes_max = 256 * 1024;
constexpr int drain_ms_max = 1000;

}  // namespace

void drain(int fd) {
  if (fd < 0) return;
  ::shutdown(fd, SHUT_WR);
  std::vector<char> buffer(16 * 1024);
  size_t total = 0;
  for (int64_t deadline = monotonic_ms() + drain_ms_max; total < drain_bytes_max;) {
    int64_t left = deadline - monotonic_ms();
    pollfd wait{fd, POLLIN, 0};
    if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) <= 0) return;
    ssize_t n = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n <= 0) return;
    total += static_cast<size_t>(n);
  }
}

}  // namespace gw::http
