#include "commit_thread.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include "gw_assert.hpp"

namespace gw::distributor {

CommitThread::CommitThread(CommitAll commit_all) : commit_all_(std::move(commit_all)), event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  GW_ASSERT(event_);
}

CommitThread::~CommitThread() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    end_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CommitThread::submit(std::vector<Transaction>&& transactions) {
  GW_ASSERT(!busy_);
  busy_ = true;
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  {
    std::lock_guard lock(mutex_);
    work_ = std::move(transactions);
    given_ = true;
  }
  changed_.notify_all();
}

CommitThread::Results CommitThread::take() {
  GW_ASSERT(busy_);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return done_.load(); });
  done_ = false;
  busy_ = false;
  uint64_t count;
  ssize_t ignored = ::read(event_.get(), &count, sizeof count);
  static_cast<void>(ignored);
  return std::move(results_);
}

void CommitThread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return given_ || end_; });
    if (!given_) return;
    given_ = false;
    std::vector<Transaction> work = std::move(work_);
    lock.unlock();
    Results results = commit_all_(std::move(work));
    lock.lock();
    results_ = std::move(results);
    done_.store(true, std::memory_order_release);
    uint64_t one = 1;
    ssize_t ignored = ::write(event_.get(), &one, sizeof one);
    static_cast<void>(ignored);
    changed_.notify_all();
  }
}

}  // namespace gw::distributor
