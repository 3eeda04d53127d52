#include "bell_watch.hpp"

#include <sys/eventfd.h>

#include "gw_assert.hpp"

namespace gw::distributor {

BellWatch::BellWatch(Root& root) : root_(root), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  GW_ASSERT(event_);
  thread_ = std::thread([this] { watch(); });
}

BellWatch::~BellWatch() {
  end_ = true;
  root_.ring();
  thread_.join();
}

void BellWatch::clear() {
  uint64_t count;
  ssize_t ignored = ::read(event_.get(), &count, sizeof count);
  static_cast<void>(ignored);
}

void BellWatch::watch() {
  constexpr int64_t wait_ms = 1000;  // the root looks for dead owners in between
  uint32_t seen = root_.bell();
  while (!end_) {
    root_.wait(seen, wait_ms);
    uint32_t now = root_.bell();
    if (now == seen) continue;
    seen = now;
    uint64_t one = 1;
    ssize_t ignored = ::write(event_.get(), &one, sizeof one);
    static_cast<void>(ignored);
  }
}

}  // namespace gw::distributor
