#include "databus.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <memory>
#include <set>

#include "units.hpp"

namespace gw {

namespace {

constexpr size_t hour_bytes = 13;  // "2026-11-21_11"
constexpr std::string_view part_suffix = ".part";
constexpr std::string_view due_name = "databus.due", open_name = "databus.open";
constexpr size_t copy_bytes = 256 * 1024;

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

/// Opens <root>/databus and what is below it; none is made. nullopt: one of them is not there.
Result<std::optional<UniqueFd>> open_existing(const std::string& root_path, std::initializer_list<std::string_view> below) {
  GW_TRY_ASSIGN(UniqueFd fd, open_root_directory(root_path));
  std::string path = root_path;
  for (std::string_view name : below) {
    path.append("/").append(name);
    auto next = open_directory(fd.get(), std::string(name), path, false);
    if (!next && next.error().sys_errno == ENOENT) return std::optional<UniqueFd>();
    if (!next) return std::move(next).error();
    fd = *std::move(next);
  }
  return std::optional<UniqueFd>(std::move(fd));
}

std::string hour_of(int64_t at_ms) {
  time_t seconds = static_cast<time_t>(at_ms / 1000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char hour[64];
  int n = std::snprintf(hour, sizeof hour, "%04d-%02d-%02d_%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour);
  return std::string(hour, static_cast<size_t>(n));
}

/// As a file name: the slash of the key is a dot.
std::string due_entry(const std::string& key, int64_t expires_at_ms) {
  std::string name = std::to_string(expires_at_ms) + "." + key;
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

std::optional<DueBlob> parse_due_entry(const std::string& name) {
  const size_t dot = name.find('.');
  if (dot == std::string::npos || name.size() <= dot + 1 + hour_bytes) return std::nullopt;
  DueBlob due;
  const auto [end, error] = std::from_chars(name.data(), name.data() + dot, due.expires_at_ms);
  due.key = name.substr(dot + 1);
  due.key[hour_bytes] = '/';
  if (error != std::errc() || end != name.data() + dot || !blob_key_ok(due.key)) return std::nullopt;
  return due;
}

/// Names in a directory, without those that begin with a dot unless `all`.
Result<std::vector<std::string>> names_in(int directory, const std::string& path, bool all = false) {
  int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (copy < 0) return errno_error("read", path, errno);
  std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), ::closedir);
  if (!stream) return errno_error("read", path, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get()))
    if (entry->d_name[0] != '.' || (all && std::string_view(entry->d_name) != "." && std::string_view(entry->d_name) != "..")) names.emplace_back(entry->d_name);
  return names;
}

/// Locks a file of the data bus for its removal; false: somebody holds it, or it is gone.
bool lock_for_removal(const UniqueFd& file) { return file && ::flock(file.get(), LOCK_EX | LOCK_NB) == 0; }

}  // namespace

std::string new_blob_key(int64_t now_ms) { return hour_of(now_ms) + "/" + new_message_id(); }

bool blob_key_ok(std::string_view key) { return fits(key, "0000-00-00_00/xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"); }

std::string blob_path(const std::string& root_path, std::string_view key) { return root_path + "/databus/" + std::string(key); }

std::string_view attachment_name(std::string_view header_name) {
  constexpr std::string_view prefix = header::data_bus_prefix;
  const bool is_one = header_name.size() > prefix.size() && ::strncasecmp(header_name.data(), prefix.data(), prefix.size()) == 0;
  return is_one ? header_name.substr(prefix.size()) : std::string_view();
}

std::vector<Attachment> attachments_of(const Headers& headers, const std::string& root_path) {
  std::vector<Attachment> attachments;
  for (const Headers::Entry& entry : headers.entries()) {
    const std::string_view name = attachment_name(entry.name);
    if (name.empty() || !blob_key_ok(entry.value)) continue;
    Attachment one{std::string(name), entry.value, blob_path(root_path, entry.value), std::nullopt};
    struct stat st{};
    if (::lstat(one.path.c_str(), &st) == 0) one.bytes = static_cast<uint64_t>(st.st_size);
    attachments.push_back(std::move(one));
  }
  return attachments;
}

std::string attachment_file_name(std::string_view name) {
  std::string file;
  auto encode = [&](char c) {
    char text[4];
    std::snprintf(text, sizeof text, "%%%02X", static_cast<unsigned char>(c));
    file += text;
  };
  const bool dots = name == "." || name == "..";
  for (char c : name) {
    if (c == '/' || c == '%' || c == '\0' || dots) encode(c);
    else file += c;
  }
  return file;
}

Result<Body> open_blob(const std::string& root_path, const std::string& key) {
  GW_TRY_ASSIGN(auto hour, open_existing(root_path, {"databus", std::string_view(key).substr(0, hour_bytes)}));
  auto file = std::make_shared<BodyFile>();
  file->path = blob_path(root_path, key);
  if (hour) file->fd = UniqueFd(::openat(hour->get(), key.c_str() + hour_bytes + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!hour || !file->fd) return errno_error("open", file->path, hour ? errno : ENOENT);
  struct stat st{};
  if (::fstat(file->fd.get(), &st) != 0) return errno_error("stat", file->path, errno);
  file->bytes = static_cast<uint64_t>(st.st_size);
  return Body(std::move(file));
}

Result<std::optional<BlobHold>> BlobHold::take(const std::string& root_path, const std::string& key) {
  if (!blob_key_ok(key)) return Error{ExitCode::bug, 0, "'" + key + "' is not a key of the data bus"};
  GW_TRY_ASSIGN(auto hour, open_existing(root_path, {"databus", std::string_view(key).substr(0, hour_bytes)}));
  if (!hour) return std::optional<BlobHold>();
  UniqueFd file(::openat(hour->get(), key.c_str() + hour_bytes + 1, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::optional<BlobHold>();
  if (!file) return errno_error("open", blob_path(root_path, key), errno);
  while (::flock(file.get(), LOCK_SH) != 0)
    if (errno != EINTR) return errno_error("lock", blob_path(root_path, key), errno);
  // It may have been removed before we had the lock. (Links of messages do not count: the name must be there.)
  struct stat opened{}, named{};
  if (::fstat(file.get(), &opened) != 0) return errno_error("stat", blob_path(root_path, key), errno);
  if (::fstatat(hour->get(), key.c_str() + hour_bytes + 1, &named, AT_SYMLINK_NOFOLLOW) != 0 || named.st_ino != opened.st_ino)
    return std::optional<BlobHold>();
  return std::optional<BlobHold>(BlobHold(std::move(file), key));
}

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
    ::flock(file.get(), LOCK_EX | LOCK_NB);  // so that nobody sweeps it; nobody else can have it
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

Result<void> BlobWriter::read_from(int fd, const std::string& name) {
  std::string buffer(copy_bytes, '\0');
  for (;;) {
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", name, errno);
    if (n == 0) return {};
    GW_TRY(write(std::string_view(buffer.data(), static_cast<size_t>(n))));
  }
}

Result<void> BlobWriter::copy_from(int fd, const std::string& name) {
  std::string buffer(copy_bytes, '\0');
  for (off_t at = 0;;) {
    ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", name, errno);
    if (n == 0) return {};
    GW_TRY(write(std::string_view(buffer.data(), static_cast<size_t>(n))));
    at += n;
  }
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

Result<bool> release_blob(const std::string& root_path, const std::string& key) {
  if (!blob_key_ok(key)) return Error{ExitCode::bug, 0, "'" + key + "' is not a key of the data bus"};
  const std::string hour_name = key.substr(0, hour_bytes), name = key.substr(hour_bytes + 1);
  GW_TRY_ASSIGN(auto hour, open_existing(root_path, {"databus", hour_name}));
  if (!hour) return true;
  UniqueFd file(::openat(hour->get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file && errno == ENOENT) return true;
  if (!file) return errno_error("open", blob_path(root_path, key), errno);
  // Whoever links it for a message has the shared lock while doing so.
  if (!lock_for_removal(file)) return false;
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return errno_error("stat", blob_path(root_path, key), errno);
  if (st.st_nlink > 1) return false;
  GW_TRY(remove_blob(root_path, key));
  return true;
}

// --- times to be received -------------------------------------------------------------------------------------------------

Result<void> note_blob_expiry(const std::string& root_path, const std::string& key, int64_t expires_at_ms) {
  const std::string hour_name = hour_of(expires_at_ms), due_path = root_path + "/databus.due", path = due_path + "/" + hour_name;
  GW_TRY_ASSIGN(UniqueFd root, open_root_directory(root_path));
  GW_TRY_ASSIGN(UniqueFd due, open_directory(root.get(), std::string(due_name), due_path, true));
  const std::string entry = due_entry(key, expires_at_ms);
  struct stat st{};
  if (::fstat(root.get(), &st) != 0) return errno_error("open", root_path, errno);
  const mode_t mode = (st.st_mode & S_IRWXG) == S_IRWXG ? 0660 : 0600;
  for (int attempt = 0;; ++attempt) {
    auto hour = open_directory(due.get(), hour_name, path, true);
    const bool again = attempt < 10;  // the sweep removes directories that are empty
    if (!hour && hour.error().sys_errno == ENOENT && again) continue;
    if (!hour) return std::move(hour).error();
    UniqueFd file(::openat(hour->get(), entry.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    if (!file && errno == EEXIST) return {};
    if (!file && errno == ENOENT && again) continue;
    if (!file) return errno_error("create", path + "/" + entry, errno);
    for (int fd : {hour->get(), due.get(), root.get()})
      if (::fsync(fd) != 0) return errno_error("sync the directory of", path, errno);
    return {};
  }
}

void forget_blob_expiry(const std::string& root_path, const std::string& key, int64_t expires_at_ms) {
  const std::string hour_name = hour_of(expires_at_ms);
  auto hour = open_existing(root_path, {due_name, hour_name});
  if (hour && *hour) ::unlinkat((*hour)->get(), due_entry(key, expires_at_ms).c_str(), 0);
}

Result<std::vector<DueBlob>> due_blobs(const std::string& root_path, int64_t now_ms) {
  std::vector<DueBlob> due_now;
  GW_TRY_ASSIGN(auto due, open_existing(root_path, {due_name}));
  if (!due) return due_now;
  const std::string path = root_path + "/databus.due", this_hour = hour_of(now_ms);
  GW_TRY_ASSIGN(auto hours, names_in(due->get(), path));
  for (const std::string& hour_name : hours) {
    if (hour_name > this_hour) continue;
    // Of past hours only empty ones go; a writer that finds its directory gone makes it again.
    if (hour_name < this_hour && ::unlinkat(due->get(), hour_name.c_str(), AT_REMOVEDIR) == 0) continue;
    auto hour = open_directory(due->get(), hour_name, path + "/" + hour_name, false);
    if (!hour) continue;
    GW_TRY_ASSIGN(auto entries, names_in(hour->get(), path + "/" + hour_name));
    for (const std::string& entry : entries)
      if (auto one = parse_due_entry(entry); one && one->expires_at_ms <= now_ms) due_now.push_back(*std::move(one));
  }
  return due_now;
}

// --- what is there ----------------------------------------------------------------------------------------------------------

Result<void> visit_blobs(const std::string& root_path, const std::function<void(const BlobFile&)>& visit) {
  GW_TRY_ASSIGN(auto databus, open_existing(root_path, {"databus"}));
  if (!databus) return {};
  GW_TRY_ASSIGN(auto hours, names_in(databus->get(), root_path + "/databus"));
  for (const std::string& hour_name : hours) {
    auto hour = open_directory(databus->get(), hour_name, blob_path(root_path, hour_name), false);
    if (!hour) continue;
    GW_TRY_ASSIGN(auto names, names_in(hour->get(), blob_path(root_path, hour_name)));
    for (std::string& name : names) {
      BlobFile file;
      struct stat st{};
      if (::fstatat(hour->get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      file.part = name.ends_with(part_suffix);
      if (file.part) name.resize(name.size() - part_suffix.size());
      file.key = hour_name + "/" + name;
      if (!blob_key_ok(file.key)) continue;
      file.links = st.st_nlink;
      file.inode = st.st_ino;
      file.changed_ms = static_cast<int64_t>(st.st_ctim.tv_sec) * 1000 + st.st_ctim.tv_nsec / 1'000'000;
      visit(file);
    }
  }
  return {};
}

Result<void> remove_open_attachments(const std::string& path, int directory) {
  GW_TRY_ASSIGN(auto names, names_in(directory, path, true));
  for (const std::string& name : names)
    if (::unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) return errno_error("remove", path + "/" + name, errno);
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove", path, errno);
  return {};
}

Result<void> sweep_open_attachments(const std::string& root_path) {
  GW_TRY_ASSIGN(auto open, open_existing(root_path, {open_name}));
  if (!open) return {};
  const std::string path = root_path + "/databus.open";
  GW_TRY_ASSIGN(auto names, names_in(open->get(), path));
  std::set<uint64_t> inodes;
  for (const std::string& name : names) {
    UniqueFd directory(::openat(open->get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!lock_for_removal(directory)) continue;
    GW_TRY_ASSIGN(auto files, names_in(directory.get(), path + "/" + name, true));
    for (const std::string& file : files) {
      struct stat st{};
      if (::fstatat(directory.get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_nlink == 2) inodes.insert(st.st_ino);
    }
    GW_TRY(remove_open_attachments(path + "/" + name, directory.get()));
  }
  if (inodes.empty()) return {};
  // Their messages were acked by those who died before they had tidied up.
  std::vector<std::string> keys;
  GW_TRY(visit_blobs(root_path, [&](const BlobFile& file) {
    if (!file.part && file.links == 1 && inodes.count(file.inode)) keys.push_back(file.key);
  }));
  for (const std::string& key : keys) GW_TRY(release_blob(root_path, key));
  return {};
}

Result<bool> abandoned_part(const std::string& root_path, const std::string& key, bool remove) {
  GW_TRY_ASSIGN(auto hour, open_existing(root_path, {"databus", std::string_view(key).substr(0, hour_bytes)}));
  if (!hour) return false;
  const std::string part = key.substr(hour_bytes + 1) + std::string(part_suffix);
  UniqueFd file(::openat(hour->get(), part.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return lock_for_removal(file) && (!remove || ::unlinkat(hour->get(), part.c_str(), 0) == 0);
}

}  // namespace gw
