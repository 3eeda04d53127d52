#include "retry_policy.hpp"

#include <algorithm>

namespace gw {
namespace {

/// a + b without overflow for non-negative values.
int64_t add(int64_t a, int64_t b) {
  int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

int64_t multiply(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

}  // namespace

bool is_outage(const Attempt& attempt) {
  return !attempt.answered || attempt.status == 429 || attempt.status == 503 || attempt.status == 507;
}

Decision decide(const RetryPolicy& policy, const Attempt& attempt, unsigned failures, int64_t stored_at_ms, int64_t now_ms,
                int64_t probe_at_ms) {
  const bool waits = policy.outages == Outages::wait;
  const int64_t give_up_at_ms = waits ? add(stored_at_ms, policy.give_up_after_ms) : INT64_MAX;
  if (now_ms >= give_up_at_ms) return {Decision::Kind::error, 0, true};
  const int64_t asked_ms = add(now_ms, attempt.retry_after_ms);

  // A message that alone gets no answer is itself the trouble: it must not wait for ever.
  const bool only_this_one = !attempt.answered && attempt.others_answered;
  if (waits && is_outage(attempt) && !only_this_one)
    return {Decision::Kind::wait, std::min(std::max(probe_at_ms, asked_ms), give_up_at_ms), false};

  if (failures >= policy.retries) return {Decision::Kind::error, 0, false};
  const int64_t delay_ms = multiply(policy.increment_ms, static_cast<int64_t>(failures) + 1);
  return {Decision::Kind::retry, std::min(std::max(add(now_ms, delay_ms), asked_ms), give_up_at_ms), false};
}

bool policy_decides(const Decision& by_schedule) { return by_schedule.kind != Decision::Kind::wait && !by_schedule.gave_up; }

Decision apply_policy(const Decision& by_schedule, const PolicyAnswer& answer, const Attempt& attempt, int64_t now_ms) {
  if (!policy_decides(by_schedule) || answer.kind == PolicyAnswer::Kind::schedule) return by_schedule;
  if (answer.kind == PolicyAnswer::Kind::stop) return {Decision::Kind::error, 0, false};
  return {Decision::Kind::retry, add(now_ms, std::max(answer.delay_ms, attempt.retry_after_ms)), false};
}

bool Circuit::sent() {
  if (open_) probing_ = true;
  return open_;
}

bool Circuit::answered() {
  const bool was_open = open_;
  open_ = probing_ = false;
  interval_ms_ = base_ms_;
  return was_open;
}

bool Circuit::failed(int64_t now_ms, int64_t retry_after_ms, bool probe) {
  const bool opens = !open_;
  if (opens) {
    interval_ms_ = base_ms_;
  } else if (probe) {
    // At least the base: somebody may have asked for intervals longer than our maximum.
    interval_ms_ = std::max(base_ms_, std::min(multiply(interval_ms_, 2), probe_interval_max_ms));
  } else {
    return false;  // was on its way when the circuit opened
  }
  open_ = true;
  probing_ = false;
  probe_at_ms_ = add(now_ms, std::max(interval_ms_, retry_after_ms));
  return opens;
}

void Circuit::restore(int64_t probe_at_ms, int64_t interval_ms) {
  open_ = true;
  probing_ = false;
  probe_at_ms_ = probe_at_ms;
  interval_ms_ = std::max(interval_ms, base_ms_);
}

void Circuit::probe_now(int64_t now_ms) {
  if (!open_) return;
  probe_at_ms_ = now_ms;
  interval_ms_ = base_ms_;
}

}  // namespace gw
