// Following a queue by its numbers. A message becomes visible when its transaction is decided, which may be after ones with higher numbers
// are: whoever goes on behind the last number that he saw misses some.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <utility>

namespace gw {

class RecentSeqs {
 public:
  /// How long a transaction may take to be decided, the recovery of one whose process died included.
  static constexpr int64_t window_ms = 5000;

  explicit RecentSeqs(uint64_t from = 1) : from_(from) {}
  /// Where to look from.
  uint64_t from() const { return from_; }
  /// Has this one not been seen before?
  bool is_new(uint64_t seq) { return seen_.insert(seq).second; }
  /// A look from from() has ended before this number (0: it saw nothing).
  void looked_to(uint64_t end, int64_t now_ms) {
    if (end > from_) looks_.emplace_back(now_ms, end);
    while (!looks_.empty() && looks_.front().first <= now_ms - window_ms) {
      if (looks_.front().second > from_) from_ = looks_.front().second;
      looks_.pop_front();
    }
    seen_.erase(seen_.begin(), seen_.lower_bound(from_));
  }

 private:
  uint64_t from_;
  std::deque<std::pair<int64_t, uint64_t>> looks_;
  std::set<uint64_t> seen_;
};

}  // namespace gw
