// One thread commits what all connections have received: what waits while a commit is under way goes into the next one.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "queue.hpp"

namespace gw::listen {

class Committer {
 public:
  /// Commits each transaction on its own, in order. Replaceable for tests.
  using CommitAll = std::function<std::vector<Result<CommitResult>>(std::vector<Transaction>&&)>;
  /// How many requests are under way, those in commit() included: for so many it is worth a moment's wait.
  using UnderWay = std::function<unsigned()>;
  /// `on_doubt` is called on the committer's thread when a commit is in doubt; nothing is answered after it. It must not return.
  Committer(CommitAll commit_all, UnderWay under_way, std::function<void(const Error&)> on_doubt);
  /// Waits for what was submitted. Nobody may be in commit() any more.
  ~Committer();
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  /// Starts the thread (with a stack of its own size). system: no thread.
  Result<void> start();
  /// Returns when the transaction is durable, or why it is not. Any thread, needs little stack.
  Result<CommitResult> commit(Transaction&& transaction);
  /// The same without waiting: `done` is called on the committer's thread, and must be quick and not commit anything itself.
  using Done = std::function<void(Result<CommitResult>&&)>;
  void submit(Transaction&& transaction, Done done);

 private:
  struct Waiter;
  static void* thread_main(void* self);
  void run();
  void gather() const;
  void enter(Waiter& waiter);
  void serve(Waiter* newest);
  static void wake(Waiter* waiter);

  CommitAll commit_all_;
  UnderWay under_way_;
  std::function<void(const Error&)> on_doubt_;
  std::atomic<Waiter*> newest_{nullptr};
  std::atomic<uint32_t> sleeping_{0};
  std::atomic<unsigned> waiting_{0};
  std::atomic<bool> stop_{false};
  pthread_t thread_{};
  bool started_ = false;
};

}  // namespace gw::listen
