#include "databus.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "message.hpp"

namespace gw {

namespace {

constexpr size_t hour_bytes = 13;  // "2026-11-21_11"
constexpr std::string_view part_suffix = ".part";

bool fits(std::string_view text, std::string_view form) {
  auto same = [](char c, char f) {
    bool digit = c >= '0' && c <= '9';
    if (f == '0') return digit;
    if (f == 'x') return digit || (c >= 'a' && c <= 'f');
    return c == f;
  };
  return text.size() == form.size() && std::equal(text.begin(), text.end(), form.begin(), same);
}

/// Opens the directory `name` in `parent`, and makes it if that is asked for. `path` is for messages.
Result<UniqueFd> open_directory(int parent, const std::string& name, const std::string& path, bool make) {
  struct stat st{};
  if (::fstat(parent, &st) != 0) return errno_error("open", path, errno);
  const mode_t mode = (st.st_mode & S_IRWXG) == S_IRWXG ? 02770 : 0700;
  bool made = make && ::mkdirat(parent, name.c_str(), mode) == 0;
  if (make && !made && errno != EEXIST) return errno_error("create", path, errno);
  UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno_error("open", path, errno);
  if (made && ::fchmod(fd.get(), mode) != 0) return errno_error("change mode of", path, errno);
  return fd;
}

Result<UniqueFd> open_root_directory(const std::string& root_path) {
  UniqueFd fd(::open(root_path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno_error("open", root_path, errno);
  return fd;
}

}  // namespace

std::string new_blob_key(int64_t now_ms) {
  time_t seconds = static_cast<time_t>(now_ms / 1000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char hour[64];
  int n = std::snprintf(hour, sizeof hour, "%04d-%02d-%02d_%02d/", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour);
  return std::string(hour, static_cast<size_t>(n)) + new_message_id();
}

bool blob_key_ok(std::string_view key) { return fits(key, "0000-00-00_00/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"); }

std::string blob_path(const std::string& root_path, std::string_view key) { return root_path + "/databus/" + std::string(key); }

Result<BlobWriter> BlobWriter::create(const std::string& root_path, const std::string& key) {
  if (!blob_key_ok(key)) return Error{ExitCode::bug, 0, "'" + key + "' is not a key of the data bus"};
  const std::string hour_name = key.substr(0, hour_bytes), name = key.substr(hour_bytes + 1), path = blob_path(root_path, key);
  const std::string part = name + std::string(part_suffix);
  GW_TRY_ASSIGN(UniqueFd root, open_root_directory(root_path));
  GW_TRY_ASSIGN(UniqueFd databus, open_directory(root.get(), "databus", root_path + "/databus", true));
  struct stat st{};
  if (::fstat(root.get(), &st) != 0) return errno_error("open", root_path, errno);
  const mode_t mode = (st.st_mode & S_IRWXG) == S_IRWXG ? 0660 : 0600;
  // Somebody may remove the directory because it is empty, between our two steps.
  for (int attempt = 0;; ++attempt) {
    auto hour = open_directory(databus.get(), hour_name, blob_path(root_path, hour_name), true);
    if (!hour && !(hour.error().sys_errno == ENOENT && attempt < 10)) return std::move(hour).error();
    if (!hour) continue;
    UniqueFd file(::openat(hour->get(), part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file && errno == ENOENT && attempt < 10) continue;
    if (!file) return errno_error("create", path, errno);
    BlobWriter writer(std::move(root), std::move(databus), *std::move(hour), std::move(file), name, path);
    if (::fchmod(writer.file_.get(), mode) != 0) return errno_error("change mode of", path, errno);
    return writer;
  }
}

BlobWriter::~BlobWriter() {
  if (file_) ::unlinkat(hour_.get(), (name_ + std::string(part_suffix)).c_str(), 0);
}

Result<void> BlobWriter::write(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(file_.get(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("write", path_, errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<void> BlobWriter::finish() {
  if (::fsync(file_.get()) != 0) return errno_error("sync", path_, errno);
  const std::string part = name_ + std::string(part_suffix);
  if (::renameat(hour_.get(), part.c_str(), hour_.get(), name_.c_str()) != 0) return errno_error("rename", path_, errno);
  file_.reset();
  // Who made the directories may not have synced them yet.
  for (int fd : {hour_.get(), databus_.get(), root_.get()})
    if (::fsync(fd) != 0) return errno_error("sync the directory of", path_, errno);
  return {};
}

Result<void> remove_blob(const std::string& root_path, const std::string& key) {
  if (!blob_key_ok(key)) return Error{ExitCode::bug, 0, "'" + key + "' is not a key of the data bus"};
  const std::string hour_name = key.substr(0, hour_bytes), name = key.substr(hour_bytes + 1);
  auto absent = [](const Error& error) { return error.sys_errno == ENOENT; };
  GW_TRY_ASSIGN(UniqueFd root, open_root_directory(root_path));
  auto databus = open_directory(root.get(), "databus", root_path + "/databus", false);
  if (!databus && absent(databus.error())) return {};
  if (!databus) return std::move(databus).error();
  auto hour = open_directory(databus->get(), hour_name, blob_path(root_path, hour_name), false);
  if (!hour && absent(hour.error())) return {};
  if (!hour) return std::move(hour).error();
  for (const std::string& file : {name, name + std::string(part_suffix)})
    if (::unlinkat(hour->get(), file.c_str(), 0) != 0 && errno != ENOENT) return errno_error("remove", blob_path(root_path, key), errno);
  ::unlinkat(databus->get(), hour_name.c_str(), AT_REMOVEDIR);  // fails while it holds others
  return {};
}

}  // namespace gw
