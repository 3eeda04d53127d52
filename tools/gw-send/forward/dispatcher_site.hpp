// What the dispatcher knows of one site. Private to dispatcher*.cpp.
#pragma once

#include <map>
#include <unordered_map>

#include "dispatcher.hpp"

namespace gw {

struct Dispatcher::Site {
  Site(size_t n, std::string k, int64_t probe_interval_ms) : number(n), key(std::move(k)), circuit(probe_interval_ms) { record.site = key; }

  size_t number;
  std::string key;
  std::shared_ptr<const Target> target;  ///< null: not configured (any more)
  bool supported = true;                 ///< we speak the channel's language
  Queue queue;
  UniqueFd singleton;   ///< with --to: the lock of this site
  int other_pid = 0;    ///< another forwarder has it (--to)

  // Claiming.
  bool look = true;        ///< there may be something due
  bool held = false;
  uint32_t bell = 0;
  int64_t next_due_ms = INT64_MAX;
  int64_t paused_until_ms = 0;
  size_t out = 0;          ///< claimed, not settled yet
  std::multimap<int64_t, uint64_t> listed;  ///< due, seq: the only ones to be taken (--once, --listed)

  // How the site answers.
  Circuit circuit;
  double answer_ms = 0;         ///< mean of the last answers
  unsigned answers = 0;
  int64_t last_answer_ms = 0;   ///< monotonic
  std::unordered_map<uint64_t, int64_t> unanswered;  ///< seq -> start of its first attempt without an answer (monotonic)
  int64_t give_up_check_ms = 0;  ///< wall clock: when the oldest message gets too old
  SiteRecord record;
  bool record_changed = false;

  bool usable() const { return target && supported && queue && other_pid == 0; }
};

}  // namespace gw
