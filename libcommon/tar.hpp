// Archives in the POSIX pax format, as far as messages need it: files and directories, extended records, any size, read and
// written front to back with constant memory. GNU tar, bsdtar and pax read what is written here; their archives are read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "result.hpp"

namespace gw {

struct TarMember {
  std::string name;
  uint64_t bytes = 0;
  int64_t modified_ms = 0;
  char type = '0';                             ///< '0' file, '5' directory; others as the archive has them
  std::map<std::string, std::string> records;  ///< extended records beside those that name, size and time need
};

/// Writes one archive through `write`. Not for several threads.
class TarWriter {
 public:
  using Write = std::function<Result<void>(std::string_view)>;
  explicit TarWriter(Write write) : write_(std::move(write)) {}
  /// Starts a member; then exactly `member.bytes` bytes through data().
  Result<void> begin(const TarMember& member);
  Result<void> data(std::string_view bytes);
  /// Fills the member's last block.
  Result<void> end();
  /// Ends the archive.
  Result<void> finish();

 private:
  Result<void> header(const std::string& name, uint64_t bytes, int64_t modified_s, char type);
  Result<void> pad(uint64_t bytes);
  Write write_;
  uint64_t left_ = 0, size_ = 0;
};

/// Reads one archive.
class TarReader {
 public:
  /// Returns up to `size` bytes, 0 at the end.
  using Read = std::function<Result<size_t>(char* into, size_t size)>;
  explicit TarReader(Read read) : read_(std::move(read)) {}
  /// The next member (what is left of the one before is passed over); nullopt at the archive's end.
  /// bad_data: not an archive, damaged or cut off, naming the last member seen.
  Result<std::optional<TarMember>> next();
  /// Bytes of the current member; 0 at its end.
  Result<size_t> read(char* into, size_t size);

 private:
  struct Block;
  Result<bool> read_block(Block& into);
  Result<void> skip();
  Result<std::string> read_small(uint64_t bytes);
  Result<void> read_records(uint64_t bytes, std::map<std::string, std::string>& into);
  Error bad(const std::string& what) const;
  Read read_;
  std::map<std::string, std::string> global_;
  std::string last_name_;
  uint64_t left_ = 0, padding_ = 0;
};

}  // namespace gw
