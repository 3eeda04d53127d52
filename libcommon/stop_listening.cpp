#include "stop_listening.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>

#include "unique_fd.hpp"

namespace gw::http {

namespace {

bool listens_at(int fd, in_addr_t address, uint16_t port) {
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0) return false;
  sockaddr_in own{};
  size = sizeof own;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) != 0 || own.sin_family != AF_INET) return false;
  return own.sin_addr.s_addr == address && ntohs(own.sin_port) == port;
}

int find_listening(in_addr_t address, uint16_t port) {
  std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir("/proc/self/fd"), ::closedir);
  while (const dirent* entry = open ? ::readdir(open.get()) : nullptr) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && listens_at(fd, address, port)) return fd;
  }
  return -1;
}

}  // namespace

bool stop_listening(const std::string& bind_address, uint16_t port) {
  in_addr address{};
  if (::inet_pton(AF_INET, bind_address.c_str(), &address) != 1) return false;
  const int fd = find_listening(address.s_addr, port);
  if (fd < 0) return false;
  // The number must stay taken: the library polls it, and closes it at the end. A thread that is in accept() just now gets an error.
  const UniqueFd silent(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const UniqueFd socket(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!silent || !socket || ::dup3(silent.get(), fd, O_CLOEXEC) < 0) return false;
  // A poll that is under way still holds the socket.
  return ::shutdown(socket.get(), SHUT_RDWR) == 0;
}

}  // namespace gw::http
