// Commits transactions beside a loop that goes on meanwhile: what the loop collects while a commit is under way makes up the next one.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <condition_variable>
#include <thread>
#include <vector>

#include "queue.hpp"
#include "unique_fd.hpp"

namespace gw::distributor {

class CommitThread {
 public:
  using Results = std::vector<Result<CommitResult>>;
  /// Replaceable for tests.
  using CommitAll = std::function<Results(std::vector<Transaction>&&)>;
  explicit CommitThread(CommitAll commit_all);
  /// Waits for the commit that is under way.
  ~CommitThread();
  CommitThread(const CommitThread&) = delete;
  CommitThread& operator=(const CommitThread&) = delete;

  /// Begins to commit them, each on its own; not while busy(). Like take() and busy(), for one thread only.
  void submit(std::vector<Transaction>&& transactions);
  /// Submitted, and not taken yet.
  bool busy() const { return busy_; }
  /// Is there something to take()?
  bool done() const { return done_.load(std::memory_order_acquire); }
  /// What came of what was submitted, in the same order. Waits for it.
  Results take();
  /// Readable while done().
  int fd() const { return event_.get(); }

 private:
  void run();
  CommitAll commit_all_;
  UniqueFd event_;
  bool busy_ = false;  // of the submitting thread
  std::atomic<bool> done_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Transaction> work_;
  Results results_;
  bool given_ = false, end_ = false;
  std::thread thread_;  // started by the first submit()
};

}  // namespace gw::distributor
