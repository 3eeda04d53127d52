// How many messages a channel takes at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace gw::listen {

/// All functions: any thread.
class Slots {
 public:
  explicit Slots(unsigned limit) : limit_(limit) {}
  void set_limit(unsigned limit) {
    std::lock_guard guard(mutex_);
    limit_ = limit;
    free_.notify_all();
  }
  /// Waits for a free one. False: none within the time.
  bool enter(int64_t timeout_ms) {
    std::unique_lock lock(mutex_);
    if (!free_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return taken_ < limit_; })) return false;
    ++taken_;
    return true;
  }
  void leave() {
    std::lock_guard guard(mutex_);
    --taken_;
    free_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable free_;
  unsigned limit_, taken_ = 0;
};

}  // namespace gw::listen
