// What handlers get of the data bus: a directory with one file for each property of a message, <root>/databus.open/<name>/<KEY>. The
// files are links to the blobs, not copies. Its owner holds a lock on it; those of dead owners are swept.
#pragma once

#include <string>

#include "databus.hpp"
#include "message.hpp"
#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

class OpenAttachments {
 public:
  /// bad_data: a blob is not there, or its property has a name that no file can have.
  static Result<OpenAttachments> create(const std::string& root_path, const std::vector<Attachment>& attachments);
  OpenAttachments(OpenAttachments&&) noexcept = default;
  OpenAttachments& operator=(OpenAttachments&&) = delete;
  /// Removes the directory, and the blobs that nothing else names.
  ~OpenAttachments();
  const std::string& path() const { return path_; }

 private:
  OpenAttachments(std::string root_path, std::string path, UniqueFd directory)
      : root_path_(std::move(root_path)), path_(std::move(path)), directory_(std::move(directory)) {}
  Result<void> add(const Attachment& attachment);
  std::string root_path_, path_;
  UniqueFd directory_;
  std::vector<std::string> keys_;
};

}  // namespace gw
