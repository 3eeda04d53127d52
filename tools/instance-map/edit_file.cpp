#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "edit.hpp"
#include "unique_fd.hpp"
#include "xml_tree.hpp"

namespace gw::instance_map {

namespace {

constexpr size_t edited_bytes_max = 64u << 20;

Error cannot(const char* verb, const std::string& path, int error_number) {
  Error error = errno_error(verb, path, error_number);
  error.text += "; nothing was changed";
  return error;
}

Result<void> write_all(const UniqueFd& fd, const std::string& path, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return cannot("write", path, errno);
    at += static_cast<size_t>(n);
  }
  return {};
}

// A file beside it that takes its place; whoever reads sees the one or the other.
Result<void> replace(const std::string& path, const struct stat& like, const std::string& text) {
  const std::filesystem::path target(path);
  std::string name = (target.parent_path() / ("." + target.filename().string() + ".XXXXXX")).string();
  UniqueFd file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) return cannot("create a file beside", path, errno);
  auto fill = [&]() -> Result<void> {
    GW_TRY(write_all(file, name, text));
    struct stat own {};
    if (::fstat(file.get(), &own) != 0) return cannot("look at", name, errno);
    if ((own.st_uid != like.st_uid || own.st_gid != like.st_gid) && ::fchown(file.get(), like.st_uid, like.st_gid) != 0)
      return cannot("keep the owner of", path, errno);
    if (::fchmod(file.get(), like.st_mode & 07777) != 0) return cannot("keep the mode of", path, errno);
    if (::fsync(file.get()) != 0) return cannot("sync", name, errno);
    if (::rename(name.c_str(), path.c_str()) != 0) return cannot("replace", path, errno);
    return {};
  };
  auto filled = fill();
  if (!filled) ::unlink(name.c_str());
  if (!filled) return filled;
  const UniqueFd dir(::open(target.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0) {
    Error error = errno_error("sync the directory of", path, errno);
    error.code = ExitCode::io_error;
    return error;
  }
  return {};
}

// The file, locked against others that change it; again if it was replaced while we waited.
Result<UniqueFd> open_locked(const std::string& path, struct stat& info) {
  for (;;) {
    UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (!file) return errno_error("open", path, errno);
    while (::flock(file.get(), LOCK_EX) != 0)
      if (errno != EINTR) return errno_error("lock", path, errno);
    struct stat now {};
    if (::fstat(file.get(), &info) != 0) return errno_error("look at", path, errno);
    if (::stat(path.c_str(), &now) == 0 && now.st_dev == info.st_dev && now.st_ino == info.st_ino) return file;
  }
}

}  // namespace

Result<bool> edit_file(const std::string& path, const ChangeText& change) {
  std::error_code error;
  const std::string target = std::filesystem::canonical(path, error).string();
  if (error) return errno_error("open", path, error.value());
  struct stat info {};
  GW_TRY_ASSIGN(const UniqueFd locked, open_locked(target, info));
  GW_TRY_ASSIGN(std::string text, read_xml_file(target, edited_bytes_max));
  // The reader takes the byte order mark off.
  const bool mark = static_cast<size_t>(info.st_size) == text.size() + 3;
  GW_TRY_ASSIGN(auto next, change(text));
  if (!next || *next == text) return false;
  GW_TRY(replace(target, info, (mark ? "\xef\xbb\xbf" : "") + *next));
  return true;
}

}  // namespace gw::instance_map
