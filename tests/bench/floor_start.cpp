// The floor of a one-shot command: an empty C++ program that writes into a file that is there and syncs it once.
#include <fcntl.h>
#include <unistd.h>

#include <string>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int fd = open(argv[1], O_WRONLY | O_CLOEXEC);
  std::string bytes(1024, 'y');
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) < 0 || fdatasync(fd) != 0) return 1;
  return 0;
}
