// <root>/instance-map/: what senders, receivers and the decommissioning of instances remember. Small text files, replaced as a whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// One open directory. Any thread may use it.
class MapState {
 public:
  /// no_input: it is not there and !create.
  static Result<MapState> open(const std::string& root_path, bool create);

  /// Held until it is closed; others wait. For everything that reads, decides and writes.
  Result<UniqueFd> lock() const;
  /// nullopt: there is none.
  Result<std::optional<std::string>> read(const std::string& name) const;
  /// Atomically and durably. not_now: the disk is full.
  Result<void> write(const std::string& name, std::string_view text) const;
  Result<void> remove(const std::string& name) const;
  /// Sorted; without what is being written.
  Result<std::vector<std::string>> names() const;
  /// nullopt: there is none.
  Result<std::optional<UniqueFd>> open_file(const std::string& name) const;
  /// Its time of last change, in ms since 1970; 0: there is none.
  int64_t changed_ms(const std::string& name) const;
  /// Makes it if it is not there; it has changed now.
  Result<void> touch(const std::string& name) const;

 private:
  MapState(UniqueFd dir, std::string path, bool shared) : dir_(std::move(dir)), path_(std::move(path)), shared_(shared) {}
  std::string shown(const std::string& name) const { return path_ + "/" + name; }
  Result<UniqueFd> create(const std::string& name, int flags) const;
  UniqueFd dir_;
  std::string path_;
  bool shared_;  // the group of the root may use it, too
};

/// A name for a file that belongs to `text`, whatever is in it: 16 hexadecimal digits.
std::string state_key(std::string_view text);

}  // namespace gw
