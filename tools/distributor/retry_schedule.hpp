// When a failed attempt is tried again. Pure functions.
#pragma once

#include <cstdint>
#include <optional>

#include "queue.hpp"

namespace gw::distributor {

/// Rounds of one attempt and `immediate` more; `delayed` rounds more, the n-th begins n x `increment_ms` after the one before.
struct RetrySchedule {
  unsigned immediate = 5;
  unsigned delayed = 3;
  int64_t increment_ms = 10'000;
  unsigned attempts() const { return (1 + immediate) * (1 + delayed); }
};

/// A message's failures are counted in eight bits.
inline constexpr unsigned attempts_max = 255;

struct NextStep {
  enum class Kind { immediate, delayed, error };
  Kind kind = Kind::error;
  Defer defer;         ///< unless error
  int64_t due_at_ms = 0;  ///< delayed only: when
};

/// Immediate retries that were left out so far because an attempt asked for a delay. They count as used up, but not as failed, so they
/// are kept beside the count of failures: in the lowest eight bits of the due time, which is rounded up for that.
unsigned skipped_retries(const MessageInfo& info);

/// What follows when the attempt described by `info` failed. `skip_immediate`: straight to the next round. `delay_ms`: instead of the
/// schedule's.
NextStep next_step(const RetrySchedule& schedule, const MessageInfo& info, bool skip_immediate, std::optional<int64_t> delay_ms, int64_t now_ms);

}  // namespace gw::distributor
