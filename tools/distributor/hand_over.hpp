// The active distributor of an endpoint: applies control messages and hands messages to workers that are ready. What one turn does is one
// commit. The state machine is in gw-distributor(5).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "address.hpp"
#include "distributor_status.hpp"
#include "handling_times.hpp"
#include "ledger.hpp"
#include "queue.hpp"

namespace gw::distributor {

struct HandOverSettings {
  std::string endpoint;
  unsigned concurrency = 500;  ///< messages handed out in one turn
  int64_t lease_ms = 30'000;
  bool verbose = false;        ///< events for each message
};

class HandOver {
 public:
  HandOver(Root& root, HandOverSettings settings, Ledger ledger, Destination errors, DistributorReporter reporter, Destinations destinations);

  /// Reads what there is. Call once, when no other distributor is active.
  Result<void> begin();
  /// One turn. False: there was nothing to do. Fails only with what ends the process.
  Result<bool> turn();
  /// What nobody announces: workers that died or fell silent, what they had, tokens that vanished. Call after each turn; looks at the clock.
  /// True: there may be work for another turn.
  Result<bool> look_around();
  /// Makes the report of this moment visible.
  void report();
  /// How long nothing has to be looked at.
  int64_t wait_ms() const;

 private:
  using Said = std::vector<std::function<void()>>;
  struct Moved {
    std::string id, to, worker, traceparent;
    size_t put = 0;  // which one of the transaction
  };
  struct Turn {
    Transaction transaction;
    std::vector<Moved> moved;  // for the journal
    size_t puts = 0, controls = 0, works = 0;
    std::string last_worker;  // who gets the message, if it is one
    uint64_t last_work = 0;
    bool input_gone = false;  // somebody removed the endpoint's queue
    Ledger::Written written;
    Said said;
  };

  bool may_hand_out() const;
  bool is_untold(const Worker& worker) const;
  size_t untold_workers() const;
  Result<void> apply_controls(Turn& turn);
  void apply(Turn& turn, const ControlMessage& control, int64_t put_at_ms);
  void apply_starting(Turn& turn, const ControlMessage& control);
  void keep_times(const ControlMessage& control);
  void apply_returned(Turn& turn, const ControlMessage& control);
  void apply_heartbeat(Turn& turn, const ControlMessage& control, int64_t put_at_ms);
  void apply_operator(Turn& turn, const ControlMessage& control);
  Result<void> set_aside(Claim&& claim, const std::string& why);
  void foreign_control(Turn& turn, Claim&& claim, const std::string& why);
  Result<void> hand_out(Turn& turn);
  Result<bool> commit(Turn& turn);
  void write_journal(const Turn& turn, const CommitResult& result);
  Result<bool> refused(Turn& turn, Error&& error);
  Result<void> reject_work(uint64_t seq, const std::string& why);
  Result<void> put_off(Queue& queue, uint64_t seq, int64_t for_ms);
  Result<void> reload();
  Result<void> set_foreign_aside(const std::vector<uint64_t>& foreign);
  void pause(const Error& error);

  // hand_over_watch.cpp
  void unblock();
  void watch_workers();
  bool is_dead(const Worker& worker, int64_t now);
  Result<void> reclaim_all();
  Result<void> reclaim(Worker& worker);
  Result<bool> take_back(const Queue& queue, std::vector<Claim>&& claims);
  Result<void> audit();
  void tell_leases();
  Result<Destination> destination_of(const Worker& worker);

  Root& root_;
  HandOverSettings settings_;
  Ledger ledger_;
  Destination errors_;
  DistributorReporter reporter_;
  std::unique_ptr<ReadyTable> table_;
  Destinations destinations_;
  std::map<std::string, Destination> workers_;  // where their messages go
  std::map<std::string, std::unique_ptr<HandlingTimes>> times_;  // of the endpoint, and of workers elsewhere
  std::map<std::string, int64_t> blocked_;    // workers, and until when (monotonic)
  std::map<std::string, int64_t> unlocked_;   // workers whose lock is free, and since when that is known
  unsigned batch_ = 1;
  bool separate_ = false;  // something was refused: control messages and hand-outs do not share a turn
  bool controls_turn_ = true, input_held_ = false, control_held_ = false, report_failed_ = false;
  int64_t paused_until_ms_ = 0, watched_at_ms_ = 0, audited_at_ms_ = 0, reclaim_at_ms_ = 0;
  bool control_empty_ = false;
};

/// Not the end of the process: it is tried again.
bool may_be_over_soon(const Error& error);

/// Applies a control message that nobody stores: for who only wants to know what it leads to.
void apply_for_show(ReadyTable& table, const ControlMessage& control, int64_t now);

DistributorReport make_report(const std::string& endpoint, ReadyTable& table, const Root& root);

}  // namespace gw::distributor
