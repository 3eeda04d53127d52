// The files of --attach KEY=FILE: each becomes one blob of the data bus, which all messages of the command name.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "databus.hpp"
#include "message.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw {

class AttachedFiles {
 public:
  AttachedFiles() = default;
  AttachedFiles(AttachedFiles&&) noexcept = default;
  AttachedFiles& operator=(AttachedFiles&&) noexcept = default;
  /// As release(), for ends before that.
  ~AttachedFiles() { release(); }

  /// Opens the files, with the rights of the caller. usage: not KEY=FILE, a key twice. no_input: no such file.
  static Result<AttachedFiles> open(const std::vector<std::string>& words);
  /// Copies them into the root, durably, with constant memory. not_now: no room.
  Result<void> store(Root& root, std::optional<int64_t> ttl_ms);
  /// The header of each.
  void add_headers(Headers& headers) const;
  /// Before messages are stored, after their headers were made: a file system has room for so many names of a file; messages made
  /// from now on name copies.
  Result<void> renew();
  /// What no stored message names goes.
  void release();

 private:
  struct File {
    std::string name, path;
    UniqueFd input;
    std::string key;
    std::optional<BlobHold> hold;
  };
  Result<void> store_one(File& file, int from);
  std::string root_path_;
  int64_t expires_at_ms_ = 0;
  std::vector<File> files_;
  std::vector<std::pair<std::string, std::optional<BlobHold>>> earlier_;
};

}  // namespace gw
