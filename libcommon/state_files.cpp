#include "state_files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace gw {

Result<void> write_all(int fd, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("write", what, errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

ExclusiveFlock::ExclusiveFlock(int fd) : fd_(fd) {
  while (::flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
  }
}

ExclusiveFlock::~ExclusiveFlock() { ::flock(fd_, LOCK_UN); }

Result<UniqueFd> open_state_directory(const std::string& root_path, const std::string& name, bool create, bool* for_group) {
  const std::string path = root_path + "/" + name;
  struct stat root {};
  if (::stat(root_path.c_str(), &root) != 0) return errno_error("stat", root_path, errno);
  const bool made = create && ::mkdir(path.c_str(), 0700) == 0;
  if (create && !made && errno != EEXIST) return errno_error("create", path, errno);
  UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) return errno_error("open", path, errno);
  if (made && ::fchmod(dir.get(), root.st_mode & 07777) != 0) return errno_error("change the mode of", path, errno);
  if (for_group) *for_group = (root.st_mode & 0020) != 0;
  return dir;
}

Result<UniqueFd> open_state_file(const std::string& root_path, const std::string& directory, const std::string& name) {
  bool for_group = false;
  GW_TRY_ASSIGN(const UniqueFd dir, open_state_directory(root_path, directory, true, &for_group));
  const std::string path = root_path + "/" + directory + "/" + name;
  UniqueFd file(::openat(dir.get(), name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return errno_error("open", path, errno);
  if (for_group) ::fchmod(file.get(), 0660);  // fails for a colleague's file, which has it
  return file;
}

}  // namespace gw
