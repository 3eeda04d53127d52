// Files that are put into a directory to be sent: which ones, and what makes one the same after a crash.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "result.hpp"

namespace gw {

/// What makes a file the same one after a crash: a file that was renamed or written again has another change time.
struct FileIdentity {
  dev_t device = 0;
  ino_t inode = 0;
  off_t bytes = 0;
  timespec changed{};
  timespec modified{};
  /// As far as its content goes: it may have been renamed.
  bool same_content_as(const FileIdentity& other) const;
};
FileIdentity identity_of(const struct stat& status);

/// The id of the message that such a file becomes, the same whenever this file is met again.
std::string file_message_id(const std::string& name, const FileIdentity& file);

/// The regular files of an open directory that are to be sent, oldest first: not `.x`, `*.tmp`, `*.part`, `*~`. `path` is for errors.
Result<std::vector<std::string>> sendable_files(int directory, const std::string& path);

/// Does somebody have this file, open in `fd`, open for writing? False also where nobody can tell.
bool being_written(int fd);

}  // namespace gw
