// The clock of a root (gw-queue(5), CLOCK): what all processes know of it lies in root.v, what outlives a boot in the file `clock`.
#include <fcntl.h>
#include <sys/stat.h>

#include "../diag.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {
namespace {

constexpr int64_t durable_every_ms = 10 * 60 * 1000;  // the highest time seen, at most so far behind in the file
constexpr uint64_t flag_known = 1, flag_waiting = 2, flag_suspicious = 4;

uint32_t record_crc(const ClockRecord& r) { return crc32c(0, reinterpret_cast<const char*>(&r) + 8, sizeof r - 8); }

ClockState load(const ClockSlot& slot) {
  const uint64_t flags = slot.flags.load(std::memory_order_acquire);
  return {slot.offset_ms.load(), slot.skew_ms.load(), slot.settled_skew_ms.load(), (flags & flag_waiting) != 0, (flags & flag_suspicious) != 0};
}

void store(ClockSlot& slot, const ClockState& state) {
  slot.offset_ms.store(state.offset_ms);
  slot.skew_ms.store(state.skew_ms);
  slot.settled_skew_ms.store(state.settled_skew_ms);
  slot.flags.store(flag_known | (state.waiting ? flag_waiting : 0) | (state.suspicious ? flag_suspicious : 0), std::memory_order_release);
}

bool known(const ClockSlot& slot) { return slot.flags.load(std::memory_order_acquire) & flag_known; }

/// The highest time seen, `wall_ms` included.
int64_t raise_high(RootShared& r, int64_t wall_ms) {
  int64_t high = r.high_time_ms.load(std::memory_order_relaxed);
  while (wall_ms > high && !r.high_time_ms.compare_exchange_weak(high, wall_ms)) {
  }
  return std::max(high, wall_ms);
}

}  // namespace

ClockMemory RootImpl::read_clock_file() const {
  ClockMemory memory;
  auto fd = open_beneath(dir_.get(), "clock", O_RDONLY | O_NONBLOCK, 0, shown("clock"));
  if (!fd) return memory;
  uint64_t best = 0;
  for (uint64_t offset : {uint64_t{0}, uint64_t{page_bytes}}) {
    auto record = read_record<ClockRecord>(fd->get(), offset, shown("clock"));
    if (!record || record->head.magic != clock_magic || record->head.crc != record_crc(*record) || record->head.generation <= best) continue;
    best = record->head.generation;
    memory = {record->high_ms, record->root_high_ms, record->skew_ms, record->suspicious != 0};
  }
  return memory;
}

Result<void> RootImpl::write_clock_file(const ClockMemory& memory) {
  GW_TRY_ASSIGN(UniqueFd fd, open_beneath(dir_.get(), "clock", O_RDWR | O_CREAT | O_NONBLOCK, modes_.file(), shown("clock")));
  GW_TRY_ASSIGN(uint64_t size, file_size(fd.get(), shown("clock")));
  const bool fresh = size < 2 * page_bytes;  // of a root that is older than this file
  if (fresh) {
    if (modes_.shared) fchmod(fd.get(), modes_.file());
    GW_TRY(write_at(fd.get(), std::string(2 * page_bytes, '\0'), 0, shown("clock")));
  }
  ClockRecord record{};
  for (uint64_t offset : {uint64_t{0}, uint64_t{page_bytes}}) {
    GW_TRY_ASSIGN(auto old, read_record<ClockRecord>(fd.get(), offset, shown("clock")));
    if (old.head.magic == clock_magic && old.head.crc == record_crc(old)) record.head.generation = std::max(record.head.generation, old.head.generation);
  }
  record.head.magic = clock_magic;
  record.head.generation++;
  record.high_ms = memory.high_ms;
  record.root_high_ms = memory.root_high_ms;
  record.skew_ms = memory.skew_ms;
  record.suspicious = memory.suspicious;
  record.head.crc = record_crc(record);
  const uint64_t offset = record.head.generation % 2 ? page_bytes : 0;
  GW_TRY(write_at(fd.get(), std::string_view(reinterpret_cast<const char*>(&record), sizeof record), offset, shown("clock")));
  GW_TRY(sync_data(fd.get(), shown("clock")));
  return fresh ? sync_file(dir_.get(), path_) : Result<void>();
}

/// Under the clock's lock.
void RootImpl::remember_clock(const ClockState& state, int64_t wall_ms) {
  RootShared& r = shared();
  const int64_t high = r.high_time_ms.load();
  if (auto written = write_clock_file(state.memory(high, wall_ms)); !written)
    event(Level::warn, "clock-not-remembered", {{"root", path_}, {"reason", written.error().text}});
  else
    r.durable_high_ms.store(high);
}

/// The first look in this boot, or the wall clock was stepped. Returns what everybody goes by from now on.
ClockState RootImpl::change_clock() {
  RootShared& r = shared();
  clock_lock_->lock();
  const uint32_t index = r.clock_index.load(std::memory_order_acquire) % 2;
  const ClockReading now = read_clocks();
  ClockState state = load(r.clock[index]);
  const bool first = !known(r.clock[index]);
  bool remember = !first;
  if (first) {
    const ClockMemory memory = read_clock_file();
    raise_high(r, memory.high_ms == 0 ? now.wall_ms : memory.high_ms);
    r.durable_high_ms.store(memory.high_ms);
    state = clock_at_boot(memory, now);
    // A new root gets its file now: later, on a full disk, only what is there is written over.
    remember = memory.high_ms == 0 || state.suspicious;
  } else if (clock_stepped(state, now)) {
    state = clock_after_step(state, r.high_time_ms.load(), now);
  }
  const ClockState before = load(r.clock[index]);
  if (first || !(state == before)) {
    store(r.clock[1 - index], state);  // readers are at the other one
    r.clock_index.store(1 - index, std::memory_order_release);
    if (!first) event(Level::warn, "clock-stepped", {{"root", path_}, {"by_s", (state.offset_ms - before.offset_ms) / 1000}, {"now", format_rfc3339(now.wall_ms)}});
    if (remember) remember_clock(state, now.wall_ms);
    if (state.suspicious && (first || !before.suspicious)) tell_jump();
  }
  clock_lock_->unlock();
  if (!first) ring();  // who waits for a due time computes it again
  return state;
}

ClockState RootImpl::clock_state() {
  RootShared& r = shared();
  const ClockSlot& slot = r.clock[r.clock_index.load(std::memory_order_acquire) % 2];
  const ClockState state = load(slot);
  return known(slot) && !clock_stepped(state, read_clocks()) ? state : change_clock();
}

RootClock RootImpl::clock() {
  const ClockState state = clock_state();
  const int64_t wall = now_ms(), high = raise_high(shared(), wall);
  RootClock result;
  result.now_ms = high;
  if (high - wall > clock_behind_min_ms) result.behind_ms = high - wall;
  result.may_purge = result.behind_ms == 0 && !state.suspicious;
  if (result.behind_ms == 0)
    told_behind_.store(false);
  else if (!told_behind_.exchange(true))
    event(Level::warn, "clock-behind", {{"root", path_}, {"behind_s", result.behind_ms / 1000}, {"highest_seen", format_rfc3339(high)}});
  return result;
}

void RootImpl::tell_jump() {
  if (!told_jump_.exchange(true))
    event(Level::warn, "clock-ahead", {{"root", path_}, {"hint", "nothing is purged until 'gw-dedup purge --yes' says that the clock is right"}});
}

void RootImpl::warn_of_jump() {
  const RootClock now = clock();
  if (now.may_purge)
    told_jump_.store(false);
  else if (now.behind_ms == 0)
    tell_jump();
}

int64_t RootImpl::skew_ms() const {
  const RootShared& r = shared();
  return r.clock[r.clock_index.load(std::memory_order_acquire) % 2].skew_ms.load();
}

int64_t RootImpl::to_root_time(int64_t wall_ms) const {
  if (wall_ms <= 0 || wall_ms == INT64_MAX) return wall_ms;
  int64_t moved = 0;
  return __builtin_add_overflow(wall_ms, skew_ms(), &moved) ? INT64_MAX : std::max<int64_t>(moved, 1);
}

int64_t RootImpl::to_wall_time(int64_t root_ms) const {
  return root_ms <= 0 || root_ms == INT64_MAX ? root_ms : std::max<int64_t>(root_ms - skew_ms(), 1);
}

bool RootImpl::expired(const MessageInfo& info) {
  return info.expires_at_ms != 0 && now_ms() >= info.expires_at_ms && clock().behind_ms == 0;
}

int64_t RootImpl::clock_ms() {
  clock();
  return to_root_time(now_ms());
}

void RootImpl::keep_clock() {
  clock();
  RootShared& r = shared();
  auto late = [&] { return r.high_time_ms.load() - r.durable_high_ms.load() >= durable_every_ms; };
  if (!late() || !clock_lock_->try_lock()) return;
  if (late()) remember_clock(load(r.clock[r.clock_index.load(std::memory_order_acquire) % 2]), now_ms());
  clock_lock_->unlock();
}

/// Somebody says that the clock is right: what was seen before was not.
Result<void> RootImpl::accept_clock() {
  clock();
  RootShared& r = shared();
  clock_lock_->lock();
  const uint32_t index = r.clock_index.load(std::memory_order_acquire) % 2;
  ClockState state = load(r.clock[index]);
  const int64_t wall = now_ms();
  state.suspicious = false;
  if (state.waiting) state.settled_skew_ms = state.skew_ms;
  state.waiting = false;
  store(r.clock[1 - index], state);
  r.clock_index.store(1 - index, std::memory_order_release);
  r.high_time_ms.store(wall);
  auto written = write_clock_file(state.memory(wall, wall));
  if (written) r.durable_high_ms.store(wall);
  clock_lock_->unlock();
  ring();
  return written;
}

}  // namespace gw::queue_detail
