#include "map_state.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "state_files.hpp"

namespace gw {

namespace {

Result<std::string> read_all(int fd, const std::string& shown) {
  std::string text;
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", shown, errno);
    if (n == 0) return text;
    text.append(block, static_cast<size_t>(n));
  }
}


}  // namespace

Result<MapState> MapState::open(const std::string& root_path, bool create) {
  const std::string path = root_path + "/instance-map";
  bool for_group = false;
  const bool known = ::access(path.c_str(), F_OK) == 0;
  GW_TRY_ASSIGN(UniqueFd dir, open_state_directory(root_path, "instance-map", create, &for_group));
  if (!known) {
    const UniqueFd parent(::open(root_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent || ::fsync(parent.get()) != 0) return errno_error("sync", root_path, errno);
  }
  return MapState(std::move(dir), path, for_group);
}

Result<UniqueFd> MapState::create(const std::string& name, int flags) const {
  UniqueFd file(::openat(dir_.get(), name.c_str(), flags | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno_error("create", shown(name), errno);
  // Another member of the group has made it: then it has its mode.
  if (shared_ && ::fchmod(file.get(), 0660) != 0 && errno != EPERM) return errno_error("change the mode of", shown(name), errno);
  return file;
}

Result<UniqueFd> MapState::lock() const {
  GW_TRY_ASSIGN(UniqueFd file, create("lock", O_RDWR));
  while (::flock(file.get(), LOCK_EX) != 0)
    if (errno != EINTR) return errno_error("lock", shown("lock"), errno);
  return file;
}

Result<std::optional<UniqueFd>> MapState::open_file(const std::string& name) const {
  UniqueFd file(::openat(dir_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file) return std::optional(std::move(file));
  if (errno == ENOENT) return std::optional<UniqueFd>();
  return errno_error("open", shown(name), errno);
}

Result<std::optional<std::string>> MapState::read(const std::string& name) const {
  GW_TRY_ASSIGN(const auto file, open_file(name));
  if (!file) return std::optional<std::string>();
  GW_TRY_ASSIGN(std::string text, read_all(file->get(), shown(name)));
  return std::optional(std::move(text));
}

Result<void> MapState::write(const std::string& name, std::string_view text) const {
  const std::string fresh = "." + name + "." + std::to_string(::getpid());
  GW_TRY_ASSIGN(const UniqueFd file, create(fresh, O_WRONLY | O_TRUNC));
  const bool written = write_all(file.get(), text, shown(name)) && ::fsync(file.get()) == 0 &&
                       ::renameat(dir_.get(), fresh.c_str(), dir_.get(), name.c_str()) == 0 && ::fsync(dir_.get()) == 0;
  if (written) return {};
  Error error = errno_error("write", shown(name), errno);
  ::unlinkat(dir_.get(), fresh.c_str(), 0);
  return error;
}

Result<void> MapState::remove(const std::string& name) const {
  if (::unlinkat(dir_.get(), name.c_str(), 0) != 0 && errno != ENOENT) return errno_error("remove", shown(name), errno);
  if (::fsync(dir_.get()) != 0) return errno_error("sync", path_, errno);
  return {};
}

Result<std::vector<std::string>> MapState::names() const {
  const int copy = ::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(copy < 0 ? nullptr : ::fdopendir(copy), [](DIR* d) { return d ? ::closedir(d) : 0; });
  if (!dir) return errno_error("read", path_, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get()))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  std::sort(names.begin(), names.end());
  return names;
}

int64_t MapState::changed_ms(const std::string& name) const {
  struct stat file {};
  if (::fstatat(dir_.get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  return static_cast<int64_t>(file.st_mtim.tv_sec) * 1000 + file.st_mtim.tv_nsec / 1'000'000;
}

Result<void> MapState::touch(const std::string& name) const {
  const bool is_new = changed_ms(name) == 0;
  GW_TRY_ASSIGN(const UniqueFd file, create(name, O_WRONLY));
  if (::futimens(file.get(), nullptr) != 0) return errno_error("touch", shown(name), errno);
  if (is_new && ::fsync(dir_.get()) != 0) return errno_error("sync", path_, errno);
  return {};
}

std::string state_key(std::string_view text) {
  uint64_t sum = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(sum));
  return hex;
}

}  // namespace gw
