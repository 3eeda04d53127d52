#include <doctest/doctest.h>

#include <algorithm>
#include <initializer_list>

#include "wall_clock.hpp"

using namespace gw;

namespace {

constexpr int64_t minute = 60'000, hour = 60 * minute, day = 24 * hour, week = 7 * day;
constexpr int64_t start = 1'795'000'000'000;  // a day in November 2026

/// A machine: its boot clock cannot be set, its wall clock can.
struct Machine {
  ClockReading clock{start, 1000};
  ClockState state;
  int64_t high = 0;
  Machine() { boot({}); }

  void boot(const ClockMemory& memory) {
    high = memory.high_ms;
    state = clock_at_boot(memory, clock);
    look();
  }
  void look() {
    if (clock_stepped(state, clock)) state = clock_after_step(state, high, clock);
    high = std::max(high, clock.wall_ms);
  }
  void pass(int64_t ms) {
    clock.wall_ms += ms;
    clock.boot_ms += ms;
    look();
  }
  void set(int64_t by_ms) {
    clock.wall_ms += by_ms;
    look();
  }
  /// Off for a while; then its clock says `wall_ms`.
  void reboot(int64_t wall_ms) {
    const ClockMemory memory = state.memory(high, clock.wall_ms);
    clock = {wall_ms, 1000};
    boot(memory);
  }
  int64_t root_ms() const { return clock.wall_ms + state.skew_ms; }
};

}  // namespace

TEST_CASE("wall_clock: without steps root time is the wall clock") {
  Machine m;
  for (int i = 0; i < 100; ++i) {
    m.pass(hour);
    CHECK(m.root_ms() == m.clock.wall_ms);
  }
  m.set(300);  // the jitter of looking at two clocks, or a tiny correction
  m.set(-600);
  CHECK(m.state.skew_ms == 0);
  CHECK_FALSE(m.state.suspicious);
}

TEST_CASE("wall_clock: a retry that is due in 60 s is due after 60 s, however the clock is set") {
  for (int64_t by : {-week, week, -hour, -10 * 365 * day, 30 * 365 * day}) {
    CAPTURE(by);
    Machine m;
    const int64_t due = m.root_ms() + minute;
    m.set(by);
    CHECK(m.root_ms() < due);
    m.pass(minute - 1000);
    CHECK(m.root_ms() < due);
    m.pass(1000);
    CHECK(m.root_ms() == due);
  }
}

TEST_CASE("wall_clock: set back and right again, set forward and right again") {
  Machine m;
  m.set(-week);
  m.pass(hour);
  m.set(week);
  CHECK(m.state.skew_ms == 0);
  CHECK_FALSE(m.state.suspicious);
  m.set(week);
  CHECK(m.state.suspicious);
  CHECK(m.state.skew_ms == -week);
  m.pass(hour);
  m.set(-week);
  CHECK(m.state.skew_ms == 0);
  CHECK_FALSE(m.state.suspicious);
  CHECK(m.root_ms() == m.clock.wall_ms);
  CHECK(m.high > m.clock.wall_ms);  // the highest time seen stays
}

TEST_CASE("wall_clock: corrections of up to a day are followed") {
  Machine m;
  m.set(5 * minute);
  CHECK(m.state.skew_ms == 0);
  m.set(day);
  CHECK(m.state.skew_ms == 0);
  CHECK_FALSE(m.state.suspicious);
  m.set(day + 1);
  CHECK(m.state.suspicious);
  CHECK(m.state.skew_ms == -day - 1);
}

TEST_CASE("wall_clock: root time never goes back") {
  Machine m;
  uint64_t random = 17;
  int64_t last = m.root_ms();
  for (int i = 0; i < 20'000; ++i) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const auto what = random >> 60;
    const auto amount = static_cast<int64_t>((random >> 20) % static_cast<uint64_t>(3 * day));
    if (what < 8) m.pass(amount / 100);
    else if (what < 11) m.set(amount);
    else if (what < 14) m.set(-amount);
    else m.reboot(m.clock.wall_ms + (what == 14 ? amount : -amount));
    CAPTURE(i);
    REQUIRE(m.root_ms() >= last - 2 * clock_step_min_ms);
    last = m.root_ms();
  }
}

TEST_CASE("wall_clock: a machine that starts in 1970") {
  Machine m;
  m.pass(10 * day);
  const int64_t due = m.root_ms() + hour, later = m.root_ms() + 5 * hour, off = 2 * hour;
  const int64_t right = m.clock.wall_ms + off;
  m.reboot(minute);
  CHECK(m.state.waiting);
  CHECK(m.root_ms() < due);
  m.pass(minute);  // goes on from the highest time seen
  CHECK(m.root_ms() < due);
  m.set(right + minute - m.clock.wall_ms);  // the time server answers
  CHECK_FALSE(m.state.waiting);
  CHECK(m.state.skew_ms == 0);
  CHECK(m.root_ms() >= due);  // the time it was off counts
  CHECK(m.root_ms() < later);
  CHECK_FALSE(m.state.suspicious);

  m.reboot(minute);
  m.pass(2 * day);  // no time server for long
  CHECK(m.state.waiting);
  m.set(10 * minute);
  CHECK(m.state.waiting);
}

TEST_CASE("wall_clock: off for over a day is suspicious too, as the next boot cannot tell") {
  Machine m;
  m.reboot(m.clock.wall_ms + 3 * hour);
  CHECK_FALSE(m.state.suspicious);
  m.reboot(m.clock.wall_ms + 3 * day);
  CHECK(m.state.suspicious);
  CHECK(m.root_ms() == m.clock.wall_ms);  // but what is due is due
  m.reboot(m.clock.wall_ms + hour);
  CHECK(m.state.suspicious);  // until somebody says that it is right
}

TEST_CASE("wall_clock: a skew outlives a boot, so that what was put with it comes in time") {
  Machine m;
  m.set(week);
  const int64_t due = m.root_ms() + 3 * day;
  m.reboot(m.clock.wall_ms + hour);
  CHECK(m.state.skew_ms == -week);
  m.pass(3 * day - hour - 1);
  CHECK(m.root_ms() < due);
  m.pass(1);
  CHECK(m.root_ms() == due);
}

TEST_CASE("wall_clock: the clocks of this machine") {
  const ClockReading one = read_clocks(), other = read_clocks();
  CHECK(one.wall_ms > 1'600'000'000'000);
  CHECK(other.boot_ms >= one.boot_ms);
  CHECK_FALSE(clock_stepped(clock_at_boot({}, one), other));
}
