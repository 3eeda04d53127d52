// Whose turn it is: a counter for each endpoint and scope, shared by all processes of a root, in a mapped file, <root>/turns.
//
// Taking a turn is one atomic addition to memory: it survives the end of any process at any instant. It is not synced: a power loss
// takes back the turns of the last half minute or so, which costs nothing but evenness.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// What a message is sent for; each has turns of its own.
enum class Scope { send, publish };
/// "Send", "Publish".
std::string_view to_string(Scope scope);

/// One thread uses it at a time; any number of processes share the file.
class TurnCounters {
 public:
  static constexpr size_t endpoint_bytes_max = 230;

  /// Makes the file if it is not there. system: it is not ours, or of a newer format.
  static Result<std::unique_ptr<TurnCounters>> open(const std::string& root_path);
  ~TurnCounters();
  TurnCounters(const TurnCounters&) = delete;
  TurnCounters& operator=(const TurnCounters&) = delete;

  /// The number of the next turn, counted from 0; the `count` turns from there on are the caller's, nobody else gets them.
  Result<uint64_t> take(std::string_view endpoint, Scope scope, uint64_t count = 1);
  /// The number of the next turn, without taking it.
  Result<uint64_t> next(std::string_view endpoint, Scope scope);

 private:
  struct Header;
  struct Entry;
  explicit TurnCounters(std::string path) : path_(std::move(path)) {}
  Result<void> open_file(const std::string& root_path);
  Result<void> begin_file();
  Result<void> map();
  void read_names();
  Result<Entry*> find(std::string_view endpoint, Scope scope);
  Result<void> add(const std::string& key);
  Header& header() const;
  Entry& entry(size_t index) const;

  std::string path_;
  UniqueFd fd_;
  char* data_ = nullptr;
  size_t mapped_ = 0;
  size_t known_ = 0;                          ///< entries of which the name has been read
  std::map<std::string, size_t, std::less<>> index_;  ///< scope and endpoint to entry
};

}  // namespace gw
