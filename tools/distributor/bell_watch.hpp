// Makes a root's bell something that poll() can wait for, beside pipes and children.
#pragma once

#include <atomic>
#include <thread>

#include "queue.hpp"
#include "unique_fd.hpp"

namespace gw::distributor {

class BellWatch {
 public:
  explicit BellWatch(Root& root);
  ~BellWatch();
  BellWatch(const BellWatch&) = delete;
  BellWatch& operator=(const BellWatch&) = delete;

  /// Readable once the bell has changed since the last clear().
  int fd() const { return event_.get(); }
  /// Call before looking at the queue: a change after this makes fd() readable again.
  void clear();

 private:
  void watch();
  Root& root_;
  UniqueFd event_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace gw::distributor
