// Which attempts have begun and not ended, in a file that outlives the worker: what is found in it when a message comes again was
// interrupted, because the worker or the machine died.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "queue.hpp"
#include "result.hpp"

namespace gw::distributor {

/// One table for each queue, shared by all its workers: <root>/attempts/QUEUE. Only who holds the claim of a message touches its row. A
/// process that dies leaves everything in it; a power loss only what sync_old() or the kernel wrote.
class AttemptTable {
 public:
  static Result<std::unique_ptr<AttemptTable>> open(const std::string& root, const std::string& queue);
  ~AttemptTable();
  AttemptTable(const AttemptTable&) = delete;
  AttemptTable& operator=(const AttemptTable&) = delete;

  /// How many attempts at this message, one after the other, were interrupted.
  unsigned interrupted(const MessageInfo& info) const;
  /// One more begins.
  void begin(const MessageInfo& info);
  /// It ended by itself, whatever came of it.
  void end(const MessageInfo& info);
  /// It did not begin after all.
  void take_back(const MessageInfo& info);
  /// Forgets rows of messages that are gone.
  void tidy(const Queue& queue);
  /// When rows changed a second ago or earlier, writes them to the disk.
  void sync_old(int64_t now_ms);

 private:
  struct Row;
  AttemptTable(UniqueFd file, Row* rows) : file_(std::move(file)), rows_(rows) {}
  Row* find(const MessageInfo& info) const;
  void touched();

  UniqueFd file_;
  Row* rows_;
  int64_t changed_at_ms_ = 0;  // monotonic; 0: nothing to write
};

}  // namespace gw::distributor
