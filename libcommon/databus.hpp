// Blobs of the data bus (claim check): files <root>/databus/yyyy-MM-dd_HH/<guid>, the form of NServiceBus' file share. The key of a
// blob is its path below databus/; a message names it in a header NServiceBus.DataBus.<name>.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// A key that nothing has: the hour of `now_ms` (UTC) and a new random id.
std::string new_blob_key(int64_t now_ms);
/// Has it the form of a key of ours?
bool blob_key_ok(std::string_view key);
std::string blob_path(const std::string& root_path, std::string_view key);

/// Writes one blob with constant memory. Until finish() the file has the suffix `.part`; it goes when the writer does.
class BlobWriter {
 public:
  /// Makes the directories as well. not_now: no space. A bad key is a bug.
  static Result<BlobWriter> create(const std::string& root_path, const std::string& key);
  BlobWriter(BlobWriter&&) noexcept = default;
  BlobWriter& operator=(BlobWriter&&) = delete;
  ~BlobWriter();
  Result<void> write(std::string_view bytes);
  /// After it the blob is there under its key, durably. io_error: a sync failed, it counts as not there.
  Result<void> finish();

 private:
  BlobWriter(UniqueFd root, UniqueFd databus, UniqueFd hour, UniqueFd file, std::string name, std::string path)
      : root_(std::move(root)), databus_(std::move(databus)), hour_(std::move(hour)), file_(std::move(file)), name_(std::move(name)),
        path_(std::move(path)) {}
  UniqueFd root_, databus_, hour_, file_;  // file_ is open until finish() has succeeded
  std::string name_, path_;
};

/// Removes a blob, also an unfinished one, and its directory if that is empty then. A blob that is not there is no failure.
Result<void> remove_blob(const std::string& root_path, const std::string& key);

}  // namespace gw
