// What the dispatcher knows of one site. Private to dispatcher*.cpp.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>

#include <cerrno>

#include "config_names.hpp"
#include "dispatcher.hpp"
#include "units.hpp"

namespace gw {

/// No room now: work that needs none goes on.
inline bool is_full_disk(const Error& error) {
  return error.code == ExitCode::not_now || error.sys_errno == ENOSPC || error.sys_errno == EDQUOT;
}

/// What is planned inside of this process goes by the monotonic clock, which nobody can set; what is stored and told goes by the
/// wall clock. 0 and INT64_MAX are no times.
inline int64_t monotonic_of(int64_t wall_ms) {
  if (wall_ms == 0 || wall_ms == INT64_MAX) return wall_ms;
  return std::max<int64_t>(monotonic_ms() + (wall_ms - now_ms()), 1);
}
inline int64_t wall_of(int64_t monotonic) {
  if (monotonic == 0 || monotonic == INT64_MAX) return monotonic;
  int64_t wall = 0;
  return __builtin_add_overflow(monotonic, now_ms() - monotonic_ms(), &wall) ? INT64_MAX : wall;
}

/// Two handles of one queue, and not of one that was removed and another one of its name.
inline bool same_queue(const Queue& a, const Queue& b) { return a && b && &a.name() == &b.name(); }

/// The messages of one site that are to be taken, if not all are (--once, --listed). Those that are due need 8 bytes each.
class Listed {
 public:
  bool empty() const { return due_.empty() && later_.empty(); }
  void add(int64_t due_at_ms, uint64_t seq) {
    if (due_at_ms <= 0)
      due_.push_back(seq);
    else
      later_.emplace(due_at_ms, seq);
  }
  /// When the first one is due; 0: now; INT64_MAX: there is none.
  int64_t first_due_ms() const { return !due_.empty() ? 0 : later_.empty() ? INT64_MAX : later_.begin()->first; }
  /// The first one; only if there is one.
  uint64_t take() {
    uint64_t seq = 0;
    if (!due_.empty()) {
      seq = due_.front();
      due_.pop_front();
    } else {
      seq = later_.begin()->second;
      later_.erase(later_.begin());
    }
    return seq;
  }
  void forget(uint64_t seq) {
    std::erase(due_, seq);
    std::erase_if(later_, [&](const auto& entry) { return entry.second == seq; });
  }
  void clear() {
    due_.clear();
    later_.clear();
  }

 private:
  std::deque<uint64_t> due_;
  std::multimap<int64_t, uint64_t> later_;
};

struct Dispatcher::Site {
  Site(size_t n, std::string k, int64_t probe_interval_ms) : number(n), key(std::move(k)), circuit(probe_interval_ms) { record.site = key; }

  size_t number;
  std::string key;
  std::shared_ptr<const Target> target;  ///< null: not configured (any more)
  std::shared_ptr<const Target> target_before;  ///< the last one
  SiteConfig config;                     ///< what it was made from
  bool supported = true;                 ///< we speak the channel's language
  Queue queue;
  UniqueFd singleton;   ///< with --to: the lock of this site
  int other_pid = 0;    ///< another forwarder has it (--to)

  // Claiming. All times are monotonic.
  bool look = true;        ///< there may be something due
  bool held = false;
  uint32_t bell = 0;
  int64_t next_due_ms = INT64_MAX;
  int64_t paused_until_ms = 0;
  size_t out = 0;          ///< claimed, not settled yet
  Listed listed;
  bool window_open = true;  ///< looked at once a second

  // How the site answers.
  Circuit circuit;
  double answer_ms = 0;         ///< mean of the last answers
  unsigned answers = 0;
  int64_t last_answer_ms = 0;   ///< monotonic
  std::unordered_map<uint64_t, int64_t> unanswered;  ///< seq -> start of its first attempt without an answer (monotonic)
  int64_t give_up_check_ms = 0;  ///< monotonic: when the oldest message gets too old
  int64_t probe_asked_ms = 0;    ///< the last wish of `gw-send flush` that was fulfilled
  SiteRecord record;
  bool record_changed = false;

  /// Its outbox was removed, and perhaps made anew: what is known of message numbers is the old one's.
  void begin_anew(Queue outbox) {
    queue = std::move(outbox);
    look = true;
    unanswered.clear();
    listed.clear();
    give_up_check_ms = 0;
  }
  /// A machine, not a site: what goes there arrives as it was put.
  bool is_machine() const { return is_machine_key(key); }
  /// An outage of a machine never uses up attempts.
  RetryPolicy policy(const ForwardSettings& settings) const {
    RetryPolicy own = settings.policy;
    if (is_machine()) own.outages = Outages::wait;
    return own;
  }
  bool usable() const { return target && supported && queue && other_pid == 0; }
};

/// A queue whose messages are handed to outboxes.
struct Dispatcher::GatewayQueue {
  Queue queue;
  bool look = true;
  bool held = false;
  uint32_t bell = 0;
  int64_t next_due_ms = INT64_MAX, paused_until_ms = 0;
};

}  // namespace gw
