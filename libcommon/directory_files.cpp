#include "directory_files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <tuple>

#include "hash.hpp"

namespace gw {

namespace {

bool sendable_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && !name.ends_with(".tmp") && !name.ends_with(".part") && !name.ends_with("~");
}

}  // namespace

bool FileIdentity::same_content_as(const FileIdentity& other) const {
  return inode == other.inode && device == other.device && bytes == other.bytes && modified.tv_sec == other.modified.tv_sec &&
         modified.tv_nsec == other.modified.tv_nsec;
}

FileIdentity identity_of(const struct stat& status) {
  return FileIdentity{status.st_dev, status.st_ino, status.st_size, status.st_ctim, status.st_mtim};
}

// Version 8 of RFC 9562: an id of our own making.
std::string file_message_id(const std::string& name, const FileIdentity& file) {
  std::string text = name + '\0' + std::to_string(file.device) + '/' + std::to_string(file.inode) + '/' + std::to_string(file.bytes) + '/' +
                     std::to_string(file.changed.tv_sec) + '.' + std::to_string(file.changed.tv_nsec);
  Sha256 digest = sha256(text);
  digest[6] = static_cast<unsigned char>((digest[6] & 0x0f) | 0x80);
  digest[8] = static_cast<unsigned char>((digest[8] & 0x3f) | 0x80);
  std::string digits = hex(std::string_view(reinterpret_cast<const char*>(digest.data()), 16));
  for (size_t at : {20u, 16u, 12u, 8u}) digits.insert(at, "-");
  return digits;
}

Result<std::vector<std::string>> sendable_files(int directory, const std::string& path) {
  const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return errno_error("open", path, errno);
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), ::closedir);
  if (!stream) return errno_error("read", path, errno);
  struct Found {
    timespec modified;
    std::string name;
  };
  std::vector<Found> found;
  while (dirent* entry = ::readdir(stream.get())) {
    struct stat status{};
    if (!sendable_name(entry->d_name) || ::fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (S_ISREG(status.st_mode)) found.push_back({status.st_mtim, entry->d_name});
  }
  std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) {
    return std::tie(a.modified.tv_sec, a.modified.tv_nsec, a.name) < std::tie(b.modified.tv_sec, b.modified.tv_nsec, b.name);
  });
  std::vector<std::string> names;
  for (Found& one : found) names.push_back(std::move(one.name));
  return names;
}

// A lease can be had only while nobody has the file open for writing. Where there are none (other owners, some file systems) the
// name alone says whether a file is finished.
bool being_written(int fd) {
  if (::fcntl(fd, F_SETLEASE, F_RDLCK) != 0) return errno == EAGAIN;
  ::fcntl(fd, F_SETLEASE, F_UNLCK);
  return false;
}

}  // namespace gw
