// Blobs of the data bus (claim check): files <root>/databus/yyyy-MM-dd_HH/<guid>, the form of NServiceBus' file share. The key of a
// blob is its path below databus/; a message names it in a header NServiceBus.DataBus.<name>.
//
// How long a blob lives: every stored message that names it holds one more hard link to its file (below <root>/bodies/, made before
// the message is committed, removed behind its ack: gw-queue(5)). Whoever removes the last of them removes the blob. Who needs one that
// no message names yet keeps a BlobHold. What is left over is swept: with its time to be received, or when it is a week old.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "message.hpp"
#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// A key that nothing has: the hour of `now_ms` (UTC) and a new random id.
std::string new_blob_key(int64_t now_ms);
/// Has it the form of a key of ours?
bool blob_key_ok(std::string_view key);
std::string blob_path(const std::string& root_path, std::string_view key);

/// One data bus property of a message.
struct Attachment {
  std::string name;  ///< what stands behind NServiceBus.DataBus. in the header's name
  std::string key;   ///< of the blob
  std::string path;  ///< absolute, if the root's is
  std::optional<uint64_t> bytes;  ///< nullopt: the blob is not there (any more)
};
/// The properties of a message whose values have the form of our keys, in the order of its headers.
std::vector<Attachment> attachments_of(const Headers& headers, const std::string& root_path);
/// The name behind NServiceBus.DataBus., "" if it is another header.
std::string_view attachment_name(std::string_view header_name);
/// What a property's file is called in a directory of its own: '/' and '%' percent-encoded, and what would be no file name.
std::string attachment_file_name(std::string_view name);

/// To read it; removing it meanwhile does no harm. no_input: it is not there.
Result<Body> open_blob(const std::string& root_path, const std::string& key);

/// Keeps a blob as long as it lives (a shared lock of the file; a kill ends it), and so its contents readable.
class BlobHold {
 public:
  /// nullopt: there is no such blob.
  static Result<std::optional<BlobHold>> take(const std::string& root_path, const std::string& key);
  int fd() const { return fd_.get(); }
  const std::string& key() const { return key_; }

 private:
  BlobHold(UniqueFd fd, std::string key) : fd_(std::move(fd)), key_(std::move(key)) {}
  UniqueFd fd_;
  std::string key_;
};

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
  /// Writes what can be read from `fd`; it may be a pipe. `name` is for messages.
  Result<void> read_from(int fd, const std::string& name);
  /// Writes what is in `fd` from offset 0 on, whatever its own offset is.
  Result<void> copy_from(int fd, const std::string& name);

 private:
  BlobWriter(UniqueFd root, UniqueFd databus, UniqueFd hour, UniqueFd file, std::string name, std::string path)
      : root_(std::move(root)), databus_(std::move(databus)), hour_(std::move(hour)), file_(std::move(file)), name_(std::move(name)),
        path_(std::move(path)) {}
  UniqueFd root_, databus_, hour_, file_;  // file_ is open until finish() has succeeded
  std::string name_, path_;
};

/// Removes a blob, also an unfinished one, and its directory if that is empty then. A blob that is not there is no failure.
Result<void> remove_blob(const std::string& root_path, const std::string& key);
/// Removes it if no message names it and nobody holds it. True: it is gone. Whoever held it when the last message went calls this.
Result<bool> release_blob(const std::string& root_path, const std::string& key);

/// Notes, durably, that nobody wants the blob after this time (ms since 1970): an empty file <root>/databus.due/<hour>/<ms>.<key>.
Result<void> note_blob_expiry(const std::string& root_path, const std::string& key, int64_t expires_at_ms);
/// The note is needed no more. Best effort: the sweep finds what is left.
void forget_blob_expiry(const std::string& root_path, const std::string& key, int64_t expires_at_ms);
/// The notes whose time has come.
struct DueBlob {
  std::string key;
  int64_t expires_at_ms = 0;
};
Result<std::vector<DueBlob>> due_blobs(const std::string& root_path, int64_t now_ms);

/// Calls visit for every file below databus/ that has the form of a blob; `part`: one that is still being written, or was.
struct BlobFile {
  std::string key;
  bool part = false;
  uint64_t links = 0, inode = 0;
  int64_t changed_ms = 0;
};
Result<void> visit_blobs(const std::string& root_path, const std::function<void(const BlobFile&)>& visit);
/// Removes a directory of OpenAttachments and the files in it.
Result<void> remove_open_attachments(const std::string& path, int directory);
/// Removes those of owners that are gone, and the blobs that nothing else names.
Result<void> sweep_open_attachments(const std::string& root_path);
/// Has a writer that is gone left an unfinished file of this blob? `remove`: it goes.
Result<bool> abandoned_part(const std::string& root_path, const std::string& key, bool remove);

}  // namespace gw
