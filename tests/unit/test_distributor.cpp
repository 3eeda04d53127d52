#include <doctest/doctest.h>

#include "scratch.hpp"
#include "tools/distributor/attempt_table.hpp"
#include "tools/distributor/job_log.hpp"
#include "tools/distributor/retry_schedule.hpp"

using namespace gw;
using namespace gw::distributor;

namespace {

constexpr int64_t now = 1'800'000'000'123;

// Walks through all attempts; `later(n)`: the n-th ends with exit 75. Returns what follows each: i, e or the delay in seconds.
template <class Later>
std::string walk(const RetrySchedule& schedule, Later later) {
  std::string steps;
  MessageInfo info;
  for (unsigned attempt = 1; attempt < 300; ++attempt) {
    NextStep next = next_step(schedule, info, later(attempt), std::nullopt, now);
    if (next.kind == NextStep::Kind::error) return steps + "e";
    CHECK(next.defer.failed);
    if (next.kind == NextStep::Kind::immediate) {
      CHECK(next.defer.due_at_ms < now);
      steps += "i";
    } else {
      CHECK(next.due_at_ms == next.defer.due_at_ms);
      CHECK(next.due_at_ms >= now);
      steps += std::to_string((next.due_at_ms - now) / 1000);
    }
    info.failures = attempt;
    info.due_at_ms = next.defer.due_at_ms;
  }
  return steps + " for ever";
}

}  // namespace

TEST_CASE("distributor: immediate retries, then delayed ones, then the error queue") {
  auto never = [](unsigned) { return false; };
  CHECK(walk({}, never) == "iiiii10iiiii20iiiii30iiiiie");
  CHECK(RetrySchedule{}.attempts() == 24);
  CHECK(walk({0, 2, 1000}, never) == "12e");
  CHECK(walk({2, 0, 1000}, never) == "iie");
  CHECK(walk({0, 0, 1000}, never) == "e");
}

TEST_CASE("distributor: who asks for a delay skips the immediate retries of that round only") {
  auto always = [](unsigned) { return true; };
  CHECK(walk({}, always) == "102030e");
  CHECK(walk({5, 0, 1000}, always) == "e");
  CHECK(walk({2, 2, 1000}, [](unsigned n) { return n == 1; }) == "1ii2iie");
  CHECK(walk({2, 2, 1000}, [](unsigned n) { return n == 3; }) == "ii1ii2iie");  // nothing was left to skip
  CHECK(walk({2, 2, 1000}, [](unsigned n) { return n == 2 || n == 4; }) == "i1i2iie");
  CHECK(walk({84, 2, 1000}, always) == "12e");
}

TEST_CASE("distributor: a due time says what was skipped, and is at most a quarter of a second later") {
  MessageInfo info;
  for (int64_t delay : {0, 1, 255, 256, 10'000}) {
    NextStep next = next_step({5, 3, 10'000}, info, true, delay, now);
    CHECK(next.due_at_ms >= now + delay);
    CHECK(next.due_at_ms < now + delay + 256);
    CHECK(skipped_retries({.due_at_ms = next.due_at_ms, .failures = 1}) == 5);
  }
  CHECK(skipped_retries({.due_at_ms = 77}) == 0);  // the sender's own
  CHECK(next_step({5, 3, INT64_MAX}, {.failures = 11}, false, std::nullopt, now).due_at_ms > now);
}

TEST_CASE("distributor: a line of the job log") {
  JobLine line{17, "vm1", "./handle 'a b'", "id\t1", "acked", 1'800'000'000'123, 1'800'000'001'373, 5, 7, 3, 9, 2};
  CHECK(job_line(line) == "17\tvm1\t1800000000.123\t     1.250\t5\t7\t3\t9\t./handle 'a b'\tid\\t1\t2\tacked");
  CHECK(shell_words({"a", "", "it's", "x=1,{}", "$(rm)"}) == "a '' 'it'\\''s' x=1,{} '$(rm)'");
}

TEST_CASE("distributor: attempts that did not end are counted by whoever comes next") {
  const Scratch scratch;
  const std::string& root = scratch.path;
  MessageInfo one{.seq = 1, .put_at_ms = 5}, two{.seq = 2, .put_at_ms = 6}, other{.seq = 1, .put_at_ms = 7};
  {
    auto table = AttemptTable::open(root, "Q");
    REQUIRE(table);
    CHECK((*table)->interrupted(one) == 0);
    (*table)->begin(one);
    (*table)->begin(two);
    (*table)->end(two);
  }
  auto table = AttemptTable::open(root, "Q");
  REQUIRE(table);
  CHECK((*table)->interrupted(one) == 1);
  CHECK((*table)->interrupted(two) == 0);
  CHECK((*table)->interrupted(other) == 0);
  (*table)->begin(one);
  (*table)->take_back(one);
  CHECK((*table)->interrupted(one) == 1);
  (*table)->begin(one);
  CHECK((*table)->interrupted(one) == 2);
  (*table)->end(one);
  CHECK((*table)->interrupted(one) == 0);
  for (uint64_t seq = 1; seq <= 1000; ++seq) (*table)->begin({.seq = seq, .put_at_ms = 9});
  for (uint64_t seq = 1; seq <= 1000; ++seq) CHECK((*table)->interrupted({.seq = seq, .put_at_ms = 9}) == 1);
}
