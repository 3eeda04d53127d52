#include "retry_schedule.hpp"

#include <algorithm>

namespace gw::distributor {

namespace {

constexpr int64_t step_ms = 256;

// The first time at or after `at_ms` that says `skipped`.
int64_t due_saying(int64_t at_ms, unsigned skipped) {
  int64_t due = at_ms / step_ms * step_ms + skipped;
  return due >= at_ms ? due : due + step_ms;
}

int64_t delay_of(const RetrySchedule& schedule, unsigned round) {
  int64_t delay;
  constexpr int64_t longest = 366ll * 24 * 3600 * 1000;
  return __builtin_mul_overflow(schedule.increment_ms, static_cast<int64_t>(round), &delay) ? longest : std::min(delay, longest);
}

}  // namespace

unsigned skipped_retries(const MessageInfo& info) {
  // Before the first failure a due time is the sender's.
  return info.failures == 0 ? 0 : static_cast<unsigned>(info.due_at_ms % step_ms);
}

NextStep next_step(const RetrySchedule& schedule, const MessageInfo& info, bool skip_immediate, std::optional<int64_t> delay_ms,
                   int64_t now_ms) {
  const unsigned in_round = 1 + schedule.immediate, failures = info.failures + 1;
  unsigned skipped = skipped_retries(info), used = failures + skipped;
  if (skip_immediate && used % in_round != 0) {
    skipped += in_round - used % in_round;
    used = failures + skipped;
  }
  if (used >= schedule.attempts() || failures >= attempts_max) return {};
  NextStep next;
  next.defer.failed = true;
  if (used % in_round != 0) {
    next.kind = NextStep::Kind::immediate;
    // In its old place, unless there is something to remember: then due since a moment ago.
    if (skipped > 0) next.defer.due_at_ms = due_saying(now_ms - 2 * step_ms, skipped);
    return next;
  }
  next.kind = NextStep::Kind::delayed;
  next.due_at_ms = next.defer.due_at_ms = due_saying(now_ms + delay_ms.value_or(delay_of(schedule, used / in_round)), skipped);
  return next;
}

}  // namespace gw::distributor
