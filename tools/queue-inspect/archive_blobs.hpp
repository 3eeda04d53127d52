// Blobs of the data bus in archives of export: a member for each property of a message, before its body.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "databus.hpp"
#include "message.hpp"
#include "result.hpp"
#include "tar.hpp"

namespace gw::inspect {

/// Writes the blobs of a message that are there as members BASE.blob.1, BASE.blob.2, ...; returns the records for its headers that
/// vouch for them.
Result<std::map<std::string, std::string>> export_blobs(TarWriter& tar, const std::string& root_path, const Headers& headers, const std::string& base,
                                                        int64_t put_at_ms, const std::function<Result<void>()>& flush);

/// What an import stores: every message gets blobs of its own, which go if it is not stored.
class ImportedBlobs {
 public:
  explicit ImportedBlobs(std::string root_path) : root_path_(std::move(root_path)) {}
  ~ImportedBlobs() { release(); }
  ImportedBlobs(const ImportedBlobs&) = delete;
  ImportedBlobs& operator=(const ImportedBlobs&) = delete;

  /// The next bytes are those of the blob that this header names.
  Result<void> begin(const std::string& header);
  Result<void> write(std::string_view bytes);
  Result<void> end();
  /// The headers of the message that those begun since the last call belong to name them from now on.
  void rename(Headers& headers);
  size_t held() const { return holds_.size(); }
  /// The messages have been stored, or will not be.
  void release();

 private:
  std::string root_path_;
  std::optional<BlobWriter> writer_;
  std::vector<std::pair<std::string, std::string>> names_;  // header, key: of the message that is being read
  std::vector<BlobHold> holds_;
};

}  // namespace gw::inspect
