#include "wall_clock.hpp"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "units.hpp"

namespace gw {

ClockReading read_clocks() {
  ClockReading now;
  now.wall_ms = now_ms();
  // From the kernel itself: libraries that give a program another time (faketime, datefudge) change all clocks of libc, and this
  // one must stay what it is to show it.
  timespec boot{};
  ::syscall(SYS_clock_gettime, CLOCK_BOOTTIME, &boot);
  now.boot_ms = static_cast<int64_t>(boot.tv_sec) * 1000 + boot.tv_nsec / 1'000'000;
  return now;
}

ClockState clock_at_boot(const ClockMemory& memory, const ClockReading& now) {
  ClockState state;
  state.offset_ms = now.wall_ms - now.boot_ms;
  state.skew_ms = state.settled_skew_ms = memory.skew_ms;
  state.suspicious = memory.suspicious;
  if (memory.high_ms == 0) return state;
  if (now.wall_ms < memory.high_ms) {
    state.skew_ms += memory.high_ms - now.wall_ms;
    state.waiting = true;
  } else if (now.wall_ms - memory.high_ms > clock_jump_ms) {
    state.suspicious = true;
  }
  // A boot that ended while its clock was behind may have gone further.
  state.skew_ms = std::max(state.skew_ms, memory.root_high_ms - now.wall_ms);
  if (!state.waiting) state.settled_skew_ms = state.skew_ms;
  return state;
}

bool clock_stepped(const ClockState& state, const ClockReading& now) {
  const int64_t step = now.wall_ms - now.boot_ms - state.offset_ms;
  return step > clock_step_min_ms || step < -clock_step_min_ms;
}

namespace {

ClockState after_step(const ClockState& before, int64_t high_ms, const ClockReading& now) {
  ClockState state = before;
  state.offset_ms = now.wall_ms - now.boot_ms;
  const int64_t step = state.offset_ms - before.offset_ms;
  if (before.waiting && now.wall_ms >= high_ms) {
    // Right again. Time that passed while the machine was off counts, but root time never goes back.
    state.waiting = false;
    state.skew_ms = std::max(before.settled_skew_ms, before.skew_ms - step);
    if (now.wall_ms - high_ms > clock_jump_ms) state.suspicious = true;
    return state;
  }
  if (before.waiting || step < 0) {
    state.skew_ms -= step;
    // Back where it came from: the jump was the mistake, and it is undone.
    if (before.skew_ms < 0 && state.skew_ms >= -clock_step_min_ms) state.suspicious = false;
    return state;
  }
  const int64_t undone = std::min(step, std::max<int64_t>(before.skew_ms, 0));
  state.skew_ms -= undone;
  const int64_t rest = step - undone;
  if (rest <= clock_jump_ms) return state;
  state.skew_ms -= rest;
  state.suspicious = true;
  return state;
}

}  // namespace

ClockState clock_after_step(const ClockState& before, int64_t high_ms, const ClockReading& now) {
  ClockState state = after_step(before, high_ms, now);
  // What is left after a step there and back is jitter.
  if (state.skew_ms <= clock_step_min_ms && state.skew_ms >= -clock_step_min_ms) state.skew_ms = 0;
  return state;
}

}  // namespace gw
