// What happens after an attempt to hand a message to a site: delivered, again later, or the error queue. Pure functions
// and a small state machine; clocks come in as arguments.
#pragma once

#include <cstdint>
#include <string>

namespace gw {

inline constexpr unsigned retries_default = 4;
inline constexpr int64_t retry_increment_default_ms = 60'000;
inline constexpr int64_t give_up_after_default_ms = 5ll * 24 * 3600 * 1000;
inline constexpr int64_t probe_interval_default_ms = 60'000;
inline constexpr int64_t probe_interval_max_ms = 15ll * 60 * 1000;

/// Whether the outage of a site uses up the attempts of its messages.
enum class Outages { count, wait };

struct RetryPolicy {
  unsigned retries = retries_default;  ///< after the first attempt; 0: none
  int64_t increment_ms = retry_increment_default_ms;
  Outages outages = Outages::count;
  int64_t give_up_after_ms = give_up_after_default_ms;  ///< since the message was stored; only with Outages::wait
  int64_t probe_interval_ms = probe_interval_default_ms;
};

/// One finished attempt.
struct Attempt {
  bool answered = false;      ///< a status line arrived in time
  int status = 0;             ///< HTTP status, 0 if !answered
  int64_t retry_after_ms = 0;  ///< what the site asked for; 0: nothing
  bool others_answered = false;  ///< other messages got answers from this site since this one got none for the first time
};

/// What a failed attempt leads to.
struct Decision {
  enum class Kind {
    retry,  ///< counts as failed; again at due_at_ms
    wait,   ///< the site is out of order: uses up nothing; again at due_at_ms (the circuit decides when exactly)
    error,  ///< attempts used up or given up
  };
  Kind kind = Kind::error;
  int64_t due_at_ms = 0;
  bool gave_up = false;  ///< error because of give_up_after, not of attempts
};

/// Is this the site's trouble rather than the message's: no answer, 429, 503, 507?
bool is_outage(const Attempt& attempt);

/// What a policy command said (--retry-policy).
struct PolicyAnswer {
  enum class Kind { schedule, delay, stop };
  Kind kind = Kind::schedule;  ///< schedule: it said nothing of use
  int64_t delay_ms = 0;
  std::string trouble;  ///< why it said nothing of use; may be empty
};

/// Puts the answer of a policy command in the place of the schedule: `by_schedule` is what decide() said. Only attempts that count are
/// its business; a delay may be longer than give_up_after, `Retry-After` is honoured.
Decision apply_policy(const Decision& by_schedule, const PolicyAnswer& answer, const Attempt& attempt, int64_t now_ms);
/// Is this a decision that a policy command is asked about?
bool policy_decides(const Decision& by_schedule);

/// The policy of the original: retry n (1, 2, ...) comes n x increment after the failure; the later of that and Retry-After.
/// `failures`: failed attempts before this one. `stored_at_ms`: when the message was stored. `probe_at_ms`: when the site's circuit
/// lets the next request pass (used for Decision::wait).
Decision decide(const RetryPolicy& policy, const Attempt& attempt, unsigned failures, int64_t stored_at_ms, int64_t now_ms,
                int64_t probe_at_ms);

/// Lets requests to a site pass, or one at a time while the site is out of order. Not for several threads.
class Circuit {
 public:
  explicit Circuit(int64_t interval_ms = probe_interval_default_ms) : base_ms_(interval_ms), interval_ms_(interval_ms) {}

  bool open() const { return open_; }
  /// May one more request go now? While open: one, when its time has come.
  bool may_send(int64_t now_ms) const { return !open_ || (!probing_ && now_ms >= probe_at_ms_); }
  /// When the next probe may go; 0 while closed.
  int64_t probe_at_ms() const { return open_ ? probe_at_ms_ : 0; }
  bool probing() const { return probing_; }
  /// The pause before the next probe.
  int64_t interval_ms() const { return interval_ms_; }
  /// As it was when another process left it.
  void restore(int64_t probe_at_ms, int64_t interval_ms);
  /// A request has been taken for sending. Returns true if it is the probe.
  bool sent();
  /// The site answered (anything but an outage). Returns true if this closed the circuit.
  bool answered();
  /// The site did not answer, or said that it is out of order. `probe`: that request was the probe. Returns true if this opened the circuit.
  bool failed(int64_t now_ms, int64_t retry_after_ms, bool probe);
  /// The probe was not sent after all.
  void probe_given_back() { probing_ = false; }
  /// Somebody wants a try now.
  void probe_now(int64_t now_ms);

 private:
  bool open_ = false, probing_ = false;
  int64_t base_ms_, interval_ms_, probe_at_ms_ = 0;
};

}  // namespace gw
