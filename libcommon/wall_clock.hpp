// What to make of a wall clock that steps. A cheap machine has a wrong clock: it starts in 1970, somebody sets it a week ahead and back
// again, a time server corrects it. Waiting must go on as if nothing had happened, and nothing may be thrown away because of it.
//
// A root therefore has a time of its own, the wall clock plus a skew. The boot clock (which nobody can set) shows when the wall clock was
// stepped; the skew takes the step up, so that root time goes on evenly:
//   back by any amount           root time goes on: what is due in a minute is due in a minute
//   forward by up to a day       first takes away what the skew has; else root time follows, as the new time is probably right
//   forward by over a day        root time goes on; nothing is purged until somebody says that the clock is right
//   behind what was seen before, since the boot    root time goes on from the highest time seen until the clock is right again
// Without steps root time is the wall clock. Pure functions: clocks come in as arguments, all in milliseconds.
#pragma once

#include <cstdint>

namespace gw {

inline constexpr int64_t clock_step_min_ms = 1000;           ///< smaller differences are no steps
inline constexpr int64_t clock_behind_min_ms = 10'000;       ///< behind the highest time seen by less is not behind
inline constexpr int64_t clock_jump_ms = 24ll * 3600 * 1000;  ///< a step forward beyond this is suspicious

/// What outlives a boot.
struct ClockMemory {
  int64_t high_ms = 0;      ///< the highest wall time seen; 0: none
  int64_t root_high_ms = 0;  ///< the highest root time
  int64_t skew_ms = 0;      ///< root time minus wall time
  bool suspicious = false;  ///< jumped forward by over a day, and nobody has said that it is right
};

/// What is known in this boot.
struct ClockState {
  int64_t offset_ms = 0;      ///< wall clock minus boot clock when last looked at
  int64_t skew_ms = 0;        ///< root time minus wall time
  int64_t settled_skew_ms = 0;  ///< what the skew becomes when a clock that was behind since the boot is right again
  bool waiting = false;       ///< it was behind since the boot
  bool suspicious = false;
  bool operator==(const ClockState&) const = default;
  /// `wall_ms`: the wall clock now.
  ClockMemory memory(int64_t high_ms, int64_t wall_ms) const {
    return {high_ms, wall_ms + skew_ms, waiting ? settled_skew_ms : skew_ms, suspicious};
  }
};

/// One look at the two clocks.
struct ClockReading {
  int64_t wall_ms = 0;
  int64_t boot_ms = 0;  ///< milliseconds since the boot, time asleep included
};
/// The wall clock first: a pause between the two looks like a tiny step back, which is no step.
ClockReading read_clocks();

/// The first look in a boot.
ClockState clock_at_boot(const ClockMemory& memory, const ClockReading& now);
/// Has the wall clock been stepped since the state was made?
bool clock_stepped(const ClockState& state, const ClockReading& now);
/// The state after that step. `high_ms`: the highest wall time seen before it.
ClockState clock_after_step(const ClockState& state, int64_t high_ms, const ClockReading& now);

/// What users of a root need to know.
struct RootClock {
  int64_t now_ms = 0;      ///< the wall clock, but never before the highest time seen: for what is kept by age
  int64_t behind_ms = 0;   ///< how far the wall clock is behind the highest time seen; 0: it is not
  bool may_purge = true;   ///< what is old may be thrown away: the clock is neither behind nor suspicious
};

}  // namespace gw
