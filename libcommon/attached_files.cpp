#include "attached_files.hpp"

#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "diag.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr nlink_t links_max = 50'000;  // of the 65,000 that ext4 has room for
constexpr size_t file_name_bytes_max = 255;

Error usage_error(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

bool key_ok(std::string_view key) {
  return !key.empty() && attachment_file_name(key).size() <= file_name_bytes_max && message_id_ok(key);
}

}  // namespace

Result<AttachedFiles> AttachedFiles::open(const std::vector<std::string>& words) {
  AttachedFiles attached;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals + 1 == word.size()) return usage_error("--attach: '" + word + "' is not KEY=FILE");
    File file;
    file.name = word.substr(0, equals);
    file.path = word.substr(equals + 1);
    if (!key_ok(file.name)) return usage_error("--attach: '" + word + "': the key is empty, too long, or has control bytes");
    auto same = [&](const File& other) { return ::strcasecmp(other.name.c_str(), file.name.c_str()) == 0; };
    if (std::any_of(attached.files_.begin(), attached.files_.end(), same)) return usage_error("--attach: the key '" + file.name + "' comes twice");
    file.input = UniqueFd(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.input) return errno_error("open", file.path, errno);
    struct stat st {};
    if (::fstat(file.input.get(), &st) != 0) return errno_error("stat", file.path, errno);
    if (S_ISDIR(st.st_mode)) return Error{ExitCode::no_input, EISDIR, "'" + file.path + "' is a directory: --attach takes a file"};
    attached.files_.push_back(std::move(file));
  }
  return attached;
}

/// `from`: a blob that is copied; -1: the file itself.
Result<void> AttachedFiles::store_one(File& file, int from) {
  std::string key = new_blob_key(now_ms());
  if (expires_at_ms_) GW_TRY(note_blob_expiry(root_path_, key, expires_at_ms_));
  GW_TRY_ASSIGN(BlobWriter writer, BlobWriter::create(root_path_, key));
  GW_TRY(from < 0 ? writer.read_from(file.input.get(), file.path) : writer.copy_from(from, file.path));
  GW_TRY(writer.finish());
  GW_TRY_ASSIGN(auto hold, BlobHold::take(root_path_, key));
  if (!hold) return Error{ExitCode::system, 0, "'" + blob_path(root_path_, key) + "' has been removed by somebody"};
  if (file.hold) earlier_.emplace_back(std::exchange(file.key, ""), std::move(file.hold));
  file.key = std::move(key);
  file.hold = std::move(*hold);
  return {};
}

Result<void> AttachedFiles::store(Root& root, std::optional<int64_t> ttl_ms) {
  if (files_.empty()) return {};
  root_path_ = root.path();
  if (ttl_ms) expires_at_ms_ = now_ms() + *ttl_ms;
  uint64_t bytes = 0;
  for (const File& file : files_) {
    struct stat st {};
    if (::fstat(file.input.get(), &st) == 0 && S_ISREG(st.st_mode)) bytes += static_cast<uint64_t>(st.st_size);
  }
  const uint64_t free = root.free_bytes(), reserve = root.reserve_bytes();
  if (free < reserve || free - reserve < bytes)
    return Error{ExitCode::not_now, ENOSPC, "'" + root_path_ + "' has " + human_size(free) + " free, and the attachments need " + human_size(bytes) +
                                                " beside the reserve of " + human_size(reserve) + " (--min-free): nothing is stored"};
  for (File& file : files_) GW_TRY(store_one(file, -1));
  return {};
}

void AttachedFiles::add_headers(Headers& headers) const {
  for (const File& file : files_) headers.set(std::string(header::data_bus_prefix) + file.name, file.key);
}

Result<void> AttachedFiles::renew() {
  for (File& file : files_) {
    struct stat st {};
    if (::fstat(file.hold->fd(), &st) != 0) return errno_error("stat", blob_path(root_path_, file.key), errno);
    if (st.st_nlink > links_max) GW_TRY(store_one(file, file.hold->fd()));
  }
  return {};
}

void AttachedFiles::release() {
  for (File& file : files_)
    if (file.hold) earlier_.emplace_back(std::exchange(file.key, ""), std::move(file.hold));
  files_.clear();
  for (auto& [key, hold] : earlier_) {
    hold.reset();
    auto gone = release_blob(root_path_, key);
    if (!gone) event(Level::warn, "blob-not-removed", {{"path", blob_path(root_path_, key)}, {"reason", gone.error().text}});
    else if (expires_at_ms_) forget_blob_expiry(root_path_, key, expires_at_ms_);  // stored messages have notes of their own
  }
  earlier_.clear();
}

}  // namespace gw
