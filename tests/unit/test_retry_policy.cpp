#include <doctest/doctest.h>

#include "retry_policy.hpp"

using namespace gw;

namespace {

constexpr int64_t now = 1'000'000'000;

Attempt answered(int status, int64_t retry_after_ms = 0) { return {true, status, retry_after_ms, false}; }
Attempt no_answer(bool others = false) { return {false, 0, 0, others}; }

Decision failing(const RetryPolicy& policy, const Attempt& attempt, unsigned failures, int64_t stored = now) {
  return decide(policy, attempt, failures, stored, now, now + 60'000);
}

}  // namespace

TEST_CASE("retry_policy: the original's schedule is n times the increment, four times") {
  const RetryPolicy policy;
  for (unsigned n = 0; n < 4; ++n) {
    CAPTURE(n);
    const Decision decision = failing(policy, answered(500), n);
    CHECK(decision.kind == Decision::Kind::retry);
    CHECK(decision.due_at_ms == now + 60'000 * (static_cast<int64_t>(n) + 1));
  }
  CHECK(failing(policy, answered(500), 4).kind == Decision::Kind::error);
  CHECK_FALSE(failing(policy, answered(500), 4).gave_up);
}

TEST_CASE("retry_policy: no retries") {
  RetryPolicy policy;
  policy.retries = 0;
  CHECK(failing(policy, answered(500), 0).kind == Decision::Kind::error);
  CHECK(failing(policy, no_answer(), 0).kind == Decision::Kind::error);
}

TEST_CASE("retry_policy: the later of schedule and Retry-After") {
  const RetryPolicy policy;
  CHECK(failing(policy, answered(503, 10'000), 0).due_at_ms == now + 60'000);
  CHECK(failing(policy, answered(503, 3600'000), 0).due_at_ms == now + 3600'000);
}

TEST_CASE("retry_policy: outages count unless told to wait") {
  RetryPolicy policy;
  for (int status : {429, 503, 507}) CHECK(failing(policy, answered(status), 0).kind == Decision::Kind::retry);
  CHECK(failing(policy, no_answer(), 0).kind == Decision::Kind::retry);
  policy.outages = Outages::wait;
  for (int status : {429, 503, 507}) {
    CHECK(failing(policy, answered(status), 3).kind == Decision::Kind::wait);
    CHECK(failing(policy, answered(status), 99).kind == Decision::Kind::wait);
  }
  CHECK(failing(policy, no_answer(), 99).kind == Decision::Kind::wait);
  for (int status : {200, 302, 400, 404, 412, 422, 500, 502}) {
    CAPTURE(status);
    CHECK(failing(policy, answered(status), 0).kind == Decision::Kind::retry);
    CHECK(failing(policy, answered(status), 4).kind == Decision::Kind::error);
  }
}

TEST_CASE("retry_policy: a message that alone gets no answer uses up attempts") {
  RetryPolicy policy;
  policy.outages = Outages::wait;
  CHECK(failing(policy, no_answer(true), 0).kind == Decision::Kind::retry);
  CHECK(failing(policy, no_answer(true), 4).kind == Decision::Kind::error);
}

TEST_CASE("retry_policy: giving up bounds the wait, counted from when the message was stored") {
  RetryPolicy policy;
  policy.outages = Outages::wait;
  policy.give_up_after_ms = 90'000;
  CHECK(failing(policy, no_answer(), 0, now - 89'999).kind == Decision::Kind::wait);
  CHECK(failing(policy, no_answer(), 0, now - 89'999).due_at_ms == now + 1);
  const Decision late = failing(policy, no_answer(), 0, now - 90'000);
  CHECK(late.kind == Decision::Kind::error);
  CHECK(late.gave_up);
  policy.outages = Outages::count;
  CHECK(failing(policy, no_answer(), 0, now - 90'000).kind == Decision::Kind::retry);
}

TEST_CASE("retry_policy: huge increments do not overflow") {
  RetryPolicy policy;
  policy.increment_ms = INT64_MAX / 2;
  CHECK(failing(policy, answered(500), 3).due_at_ms == INT64_MAX);
}

TEST_CASE("retry_policy: what a policy command says stands instead of the schedule, but for Retry-After and outages") {
  const RetryPolicy policy;
  const PolicyAnswer soon{PolicyAnswer::Kind::delay, 5'000, ""}, stop{PolicyAnswer::Kind::stop, 0, ""}, silent{};
  const Decision first = failing(policy, answered(500), 0), last = failing(policy, answered(500), 4);
  REQUIRE(policy_decides(first));
  REQUIRE(policy_decides(last));
  CHECK(apply_policy(first, soon, answered(500), now).due_at_ms == now + 5'000);
  CHECK(apply_policy(first, soon, answered(500, 7'000), now).due_at_ms == now + 7'000);
  CHECK(apply_policy(first, stop, answered(500), now).kind == Decision::Kind::error);
  CHECK(apply_policy(first, silent, answered(500), now).due_at_ms == first.due_at_ms);
  CHECK(apply_policy(last, soon, answered(500), now).kind == Decision::Kind::retry);  // the schedule's number of retries is not its limit
  CHECK(apply_policy(last, silent, answered(500), now).kind == Decision::Kind::error);
  RetryPolicy waits;
  waits.outages = Outages::wait;
  CHECK_FALSE(policy_decides(failing(waits, no_answer(), 0)));
  waits.give_up_after_ms = 1;
  CHECK_FALSE(policy_decides(failing(waits, answered(500), 0, now - 1)));
  const PolicyAnswer never{PolicyAnswer::Kind::delay, INT64_MAX, ""};
  CHECK(apply_policy(first, never, answered(500), now).due_at_ms == INT64_MAX);
}

TEST_CASE("circuit: one probe at a time, intervals double up to a quarter of an hour") {
  Circuit circuit(60'000);
  CHECK(circuit.may_send(now));
  CHECK_FALSE(circuit.sent());
  CHECK(circuit.failed(now, 0, false));
  CHECK_FALSE(circuit.failed(now, 0, false));  // was in flight too
  CHECK(circuit.probe_at_ms() == now + 60'000);
  CHECK_FALSE(circuit.may_send(now + 59'999));
  CHECK(circuit.may_send(now + 60'000));
  CHECK(circuit.sent());
  CHECK_FALSE(circuit.may_send(now + 70'000));
  int64_t at = now + 60'000, expected = 120'000;
  for (int i = 0; i < 8; ++i) {
    CHECK_FALSE(circuit.failed(at, 0, true));
    CHECK(circuit.probe_at_ms() == at + expected);
    at = circuit.probe_at_ms();
    expected = std::min<int64_t>(expected * 2, 900'000);
    CHECK(circuit.sent());
  }
  CHECK(circuit.answered());
  CHECK(circuit.may_send(at));
  CHECK(circuit.failed(at, 0, false));
  CHECK(circuit.probe_at_ms() == at + 60'000);  // from the beginning
}

TEST_CASE("circuit: Retry-After, probe_now, a probe that was not sent") {
  Circuit circuit(60'000);
  circuit.failed(now, 300'000, false);
  CHECK(circuit.probe_at_ms() == now + 300'000);
  circuit.probe_now(now + 5);
  CHECK(circuit.may_send(now + 5));
  circuit.sent();
  circuit.probe_given_back();
  CHECK(circuit.may_send(now + 5));
  circuit.sent();
  circuit.failed(now + 10, 0, true);
  CHECK(circuit.probe_at_ms() == now + 10 + 120'000);
}

TEST_CASE("circuit: an interval above the usual maximum is kept") {
  Circuit circuit(3600'000);
  circuit.failed(now, 0, false);
  circuit.sent();
  circuit.failed(now, 0, true);
  CHECK(circuit.probe_at_ms() == now + 3600'000);
}

TEST_CASE("circuit: as another process left it") {
  Circuit circuit(1'000);
  circuit.restore(now + 8'000, 8'000);
  CHECK(circuit.open());
  CHECK_FALSE(circuit.may_send(now + 7'999));
  CHECK(circuit.may_send(now + 8'000));
  circuit.sent();
  CHECK_FALSE(circuit.failed(now + 8'000, 0, true));
  CHECK(circuit.probe_at_ms() == now + 24'000);
  CHECK(circuit.interval_ms() == 16'000);
  CHECK(circuit.answered());
  CHECK(circuit.interval_ms() == 1'000);
}
