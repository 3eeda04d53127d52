// What a store forgets, and when: by age, one at a time, and what a clock that was set has to do with it.
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "dedup_store_impl.hpp"
#include "units.hpp"

namespace gw {

using namespace dedup_parts;

namespace {

constexpr int64_t clock_jump_ms = 24 * 3600 * 1000, clock_back_ms = 60 * 1000;

/// A number that changes with every boot, and what passed since then, time asleep included.
int64_t boot_number() {
  char text[9] = {};
  UniqueFd fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
  return static_cast<int64_t>(std::strtoul(text, nullptr, 16));
}
int64_t boot_clock_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

/// Looks at up to `purge_batch_rows` rows after `after` (which moves on) for those before the cut that nobody uses. Rows are in the order
/// in which they came, but clocks go back: all are looked at.
Result<std::vector<RowKey>> purgeable(SqliteDatabase& db, int64_t cut_ms, const std::function<bool(const Xid&)>& in_use, int64_t& after,
                                      bool& end) {
  GW_TRY_ASSIGN(SqliteStatement select, db.prepare("SELECT hash, number, xid_high, xid_low, seen_at FROM seen WHERE number > ? ORDER BY number LIMIT ?"));
  select.bind(0, after).bind(1, purge_batch_rows);
  std::vector<RowKey> keys;
  int64_t rows = 0;
  for (;; ++rows) {
    GW_TRY_ASSIGN(bool there, select.step());
    if (!there) break;
    after = select.integer(1);
    if (select.integer(4) >= cut_ms) continue;
    Xid xid{static_cast<uint64_t>(select.integer(2)), static_cast<uint64_t>(select.integer(3))};
    if (xid == Xid{} || !in_use(xid)) keys.push_back({select.integer(0), after});
  }
  end = rows < purge_batch_rows;
  return keys;
}

}  // namespace

namespace dedup_parts {

Result<void> raise_horizon(SqliteDatabase& db, int64_t cut_ms) {
  GW_TRY_ASSIGN(SqliteStatement raise, db.prepare("UPDATE meta SET value=max(value, ?) WHERE key='horizon'"));
  raise.bind(0, cut_ms);
  return raise.run();
}

}  // namespace dedup_parts

Result<uint64_t> DedupStore::purge(int64_t cut_ms, const std::function<bool(const Xid&)>& in_use, bool dry_run) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  uint64_t count = 0;
  int64_t after = 0;
  bool end = false;
  // Each batch is a transaction of its own that also raises the horizon, so listeners wait for a batch at most. To raise it
  // early is safe: it refuses more.
  while (!end) {
    GW_TRY_ASSIGN(FileLock guard, d.lock());
    if (!dry_run) GW_TRY(d.begin());
    auto keys = purgeable(*d.db, cut_ms, in_use, after, end);
    Result<void> done = keys ? Result<void>() : Result<void>(keys.error());
    if (done) count += keys->size();
    if (dry_run) {
      GW_TRY(std::move(done));
      continue;
    }
    if (done) done = raise_horizon(*d.db, cut_ms);
    if (done) done = delete_keys(*d.db, *keys);
    if (!done) {
      GW_TRY(d.fail(std::move(done).error()));
    }
    GW_TRY(d.commit());
    GW_TRY(d.checkpoint_if_long());
  }
  return count;
}

Result<bool> DedupStore::forget(const std::string& scope, const std::string& id, int64_t cut_ms, const std::function<bool(const Xid&)>& in_use) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (d.broken) return *d.broken;
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  auto row = d.seen->find(scope, id);
  Result<void> done = row ? Result<void>() : Result<void>(row.error());
  bool old = row && *row && (*row)->seen_at_ms < cut_ms && !in_use((*row)->xid);
  if (done && old) done = delete_keys(*d.db, {d.seen->last_found()});
  if (!done) return d.fail(std::move(done).error()).error();
  GW_TRY(d.commit());
  GW_TRY(d.checkpoint_if_long());
  return old;
}

Result<void> DedupStore::withdraw(std::span<const DedupRow> rows) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (d.broken) return *d.broken;
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  Result<void> done = d.statements->touch.run();
  for (const DedupRow& row : rows) {
    if (!done) break;
    auto found = d.seen->find(row.scope, row.id);
    if (!found) done = std::move(found).error();
    else if (*found && (*found)->xid == row.xid && (*found)->queue == row.queue && (*found)->seq == row.seq)
      done = delete_keys(*d.db, {d.seen->last_found()});
  }
  if (!done) return d.fail(std::move(done).error());
  GW_TRY(d.commit());
  return d.checkpoint_if_long();
}

// --- the clock ----------------------------------------------------------------------------------------------------------

Result<DedupStore::Clock> DedupStore::Impl::read_clock() {
  GW_TRY_ASSIGN(int64_t wall, db->query_integer("SELECT value FROM meta WHERE key='clock_wall'"));
  GW_TRY_ASSIGN(int64_t boot_clock, db->query_integer("SELECT value FROM meta WHERE key='clock_boot'"));
  GW_TRY_ASSIGN(int64_t boot, db->query_integer("SELECT value FROM meta WHERE key='boot'"));
  GW_TRY_ASSIGN(int64_t newest, db->query_integer("SELECT seen_at FROM seen ORDER BY number DESC LIMIT 1"));
  Clock clock;
  const int64_t now = now_ms();
  if (wall == 0) return clock;
  int64_t expected = std::max(wall, newest);
  if (boot == boot_number()) expected = std::max(expected, wall + boot_clock_ms() - boot_clock);
  if (now - expected > clock_jump_ms) clock.ahead_ms = now - expected;
  if (std::max(wall, newest) - now > clock_back_ms) clock.behind_ms = std::max(wall, newest) - now;
  return clock;
}

Result<void> DedupStore::Impl::note_clock() {
  GW_TRY_ASSIGN(auto note, db->prepare("INSERT INTO meta VALUES('clock_wall', ?), ('clock_boot', ?), ('boot', ?) "
                                       "ON CONFLICT(key) DO UPDATE SET value=excluded.value"));
  note.bind(0, now_ms()).bind(1, boot_clock_ms()).bind(2, boot_number());
  return note.run();
}

Result<DedupStore::Clock> DedupStore::clock() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  return impl_->read_clock();
}

Result<void> DedupStore::accept_clock() {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  if (auto noted = d.note_clock(); !noted) return d.fail(std::move(noted).error());
  return d.commit();
}

}  // namespace gw
