// The configuration of a command that runs for long: read at the start, and again when the file is another one.
#pragma once

#include <cstdint>
#include <string>

#include "config.hpp"

namespace gw {

/// What tells that a file is another one: written, replaced, or the target of other links. "" if there is none.
std::string file_stamp(const std::string& path);

/// One thread uses it.
class ConfigWatch {
 public:
  ConfigWatch(std::string path, bool must_exist) : path_(std::move(path)), must_exist_(must_exist) {}

  /// As load_config. A file that was there once must be there from then on: one that is missing for a moment must not read as
  /// an empty configuration.
  Result<Config> read();

  /// Is there a file, and is it another one than at the last read()? Sees writing, replacing and links that point elsewhere,
  /// on any file system; ask once a second.
  bool changed() const;

  /// For a command that uses nothing of it itself: reads it again if `asked` or if it has changed (looks once a second), and says in
  /// an event what came of it.
  void look_again(bool asked);

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool must_exist_;
  std::string stamp_;  // of the file that was read last
  int64_t looked_at_ms_ = 0;
};

}  // namespace gw
