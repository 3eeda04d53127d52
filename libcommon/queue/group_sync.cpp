#include "impl.hpp"
#include "../units.hpp"

namespace gw::queue_detail {

void raise_to(std::atomic<uint64_t>& value, uint64_t at_least) {
  uint64_t now = value.load(std::memory_order_relaxed);
  while (now < at_least && !value.compare_exchange_weak(now, at_least)) {
  }
}

void lower_to(std::atomic<int64_t>& value, int64_t at_most) {
  int64_t now = value.load(std::memory_order_relaxed);
  while (now > at_most && !value.compare_exchange_weak(now, at_most)) {
  }
}

namespace {
Error in_doubt() { return Error{ExitCode::io_error, 0, "a sync failed while this was being stored: it may or may not be there"}; }

// The counter is read before the sync begins: what was written before it is read is covered (queue-protocol rule 4).
Result<void> sync_once(SyncShared& shared, const std::function<uint64_t()>& counter, const std::function<Result<void>()>& sync) {
  uint64_t covered = counter();
  if (auto done = sync(); !done) {
    shared.failures.fetch_add(1);  // before anything else: nobody may trust a later sync of these pages
    return std::move(done).error();
  }
  raise_to(shared.durable, covered);
  return {};
}
}  // namespace

Result<void> group_sync(SyncShared& shared, FileLock& leader, uint64_t position, uint32_t failures_seen,
                        const std::function<uint64_t()>& counter, const std::function<Result<void>()>& sync) {
  int64_t waiting_since = 0;
  for (;;) {
    uint32_t gen = shared.gen.load();
    // In this order: the watermark may have been raised by a later sync over what a failed one dropped.
    bool covered = shared.durable.load(std::memory_order_acquire) >= position;
    if (shared.failures.load() != failures_seen) return in_doubt();
    if (covered) return {};
    bool lead = leader.try_lock();
    bool alone = !lead && waiting_since && monotonic_ms() - waiting_since >= 100;
    if (lead || alone) {
      // Leadership only saves work. Whoever finds the leader stopped syncs for itself.
      Result<void> done;
      if (shared.durable.load(std::memory_order_acquire) < position) done = sync_once(shared, counter, sync);
      if (lead) leader.unlock();
      shared.gen.fetch_add(1);
      if (shared.waiters.load()) futex_wake_all(shared.gen);
      GW_TRY(done);
      continue;
    }
    if (!waiting_since) waiting_since = monotonic_ms();
    shared.waiters.fetch_add(1);
    futex_wait(shared.gen, gen, 20);
    shared.waiters.fetch_sub(1);
  }
}

}  // namespace gw::queue_detail
