#include "committer.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace gw::listen {

namespace {

constexpr size_t stack_bytes = 8 << 20;
constexpr int gather_us_max = 300, gather_step_us = 50;

void futex_wait(std::atomic<uint32_t>& word, uint32_t expected) {
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

// Lives on the stack of the thread that waits; where nobody waits it is serve() that frees it.
struct Committer::Waiter {
  Transaction transaction;
  Done done_without;  // set: nobody waits
  Result<CommitResult> result = CommitResult{};
  std::atomic<uint32_t> done{0};
  Waiter* next = nullptr;           // submitted before this one
  Waiter *left = nullptr, *right = nullptr;  // whom this one wakes
};

Committer::Committer(CommitAll commit_all, UnderWay under_way, std::function<void(const Error&)> on_doubt)
    : commit_all_(std::move(commit_all)), under_way_(std::move(under_way)), on_doubt_(std::move(on_doubt)) {}

Committer::~Committer() {
  if (!started_) return;
  stop_ = true;
  sleeping_ = 0;
  futex_wake(sleeping_);
  ::pthread_join(thread_, nullptr);
}

Result<void> Committer::start() {
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, stack_bytes);
  int error = ::pthread_create(&thread_, &attributes, &Committer::thread_main, this);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return errno_error("start", "a thread", error);
  started_ = true;
  return {};
}

void* Committer::thread_main(void* self) {
  static_cast<Committer*>(self)->run();
  return nullptr;
}

Result<CommitResult> Committer::commit(Transaction&& transaction) {
  Waiter waiter;
  waiter.transaction = std::move(transaction);
  enter(waiter);
  while (waiter.done.load(std::memory_order_acquire) == 0) futex_wait(waiter.done, 0);
  // The committer wakes one, who wakes two, who wake four: it can go on with the next batch at once.
  wake(waiter.left);
  wake(waiter.right);
  return std::move(waiter.result);
}

void Committer::submit(Transaction&& transaction, Done done) {
  auto waiter = std::make_unique<Waiter>();
  waiter->transaction = std::move(transaction);
  waiter->done_without = std::move(done);
  enter(*waiter.release());
}

void Committer::enter(Waiter& waiter) {
  waiting_.fetch_add(1, std::memory_order_relaxed);
  waiter.next = newest_.load(std::memory_order_relaxed);
  while (!newest_.compare_exchange_weak(waiter.next, &waiter)) {
  }
  if (sleeping_.load() && sleeping_.exchange(0)) futex_wake(sleeping_);
}

void Committer::wake(Waiter* waiter) {
  if (!waiter) return;
  // Once `done` is set the waiter may be gone; its word is a stack address then, and a wake there is harmless.
  std::atomic<uint32_t>& done = waiter->done;
  done.store(1, std::memory_order_release);
  futex_wake(done);
}

void Committer::run() {
  for (;;) {
    if (newest_.load()) gather();
    Waiter* newest = newest_.exchange(nullptr);
    if (newest) {
      serve(newest);
      continue;
    }
    if (stop_) return;
    sleeping_ = 1;
    if (newest_.load() || stop_) {
      sleeping_ = 0;
      continue;
    }
    futex_wait(sleeping_, 1);
  }
}

/// Requests that are under way will want to be committed, too: a short wait for them halves the syncs, and a request that is alone
/// never waits. (What others call commit_delay and commit_siblings.)
void Committer::gather() const {
  for (int waited_us = 0; waited_us < gather_us_max && waiting_.load(std::memory_order_relaxed) < under_way_(); waited_us += 2 * gather_step_us)
    ::usleep(gather_step_us);  // takes about twice as long
}

void Committer::serve(Waiter* newest) {
  std::vector<Waiter*> waiters;
  for (Waiter* w = newest; w; w = w->next) waiters.push_back(w);
  std::vector<Transaction> transactions;
  transactions.reserve(waiters.size());
  // Oldest first.
  for (size_t i = waiters.size(); i-- > 0;) transactions.push_back(std::move(waiters[i]->transaction));
  auto results = commit_all_(std::move(transactions));
  for (const auto& result : results)
    if (!result && result.error().code == ExitCode::io_error) on_doubt_(result.error());
  const size_t n = waiters.size();
  waiting_.fetch_sub(static_cast<unsigned>(n), std::memory_order_relaxed);
  for (size_t i = 0; i < n; ++i) waiters[i]->result = std::move(results[n - 1 - i]);
  const auto alone = std::stable_partition(waiters.begin(), waiters.end(), [](const Waiter* w) { return !w->done_without; });
  const size_t asleep = static_cast<size_t>(alone - waiters.begin());
  for (size_t i = 0; i < asleep; ++i) {
    waiters[i]->left = 2 * i + 1 < asleep ? waiters[2 * i + 1] : nullptr;
    waiters[i]->right = 2 * i + 2 < asleep ? waiters[2 * i + 2] : nullptr;
  }
  if (asleep > 0) wake(waiters[0]);
  for (size_t i = n; i-- > asleep;) {  // oldest first
    std::unique_ptr<Waiter> waiter(waiters[i]);
    waiter->done_without(std::move(waiter->result));
  }
}

}  // namespace gw::listen
