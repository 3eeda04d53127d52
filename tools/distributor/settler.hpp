// What follows from the end of an attempt: acknowledged, tried again, or the error queue. All that ends while a commit is under way
// shares the syncs of the next one.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "address.hpp"
#include "attempt_table.hpp"
#include "commit_thread.hpp"
#include "enlistment.hpp"
#include "handling_times.hpp"
#include "held_sends.hpp"
#include "job_log.hpp"
#include "put_notes.hpp"
#include "queue.hpp"
#include "retry_schedule.hpp"

namespace gw::distributor {

/// How an attempt ended, whoever ran the handler.
struct AttemptEnd {
  enum class Verdict {
    done,       ///< acked
    failed,     ///< counts, immediate retries first
    later,      ///< counts, straight to the next delayed retry
    rejected,   ///< error queue at once
    interrupted,///< the handler's process died with this and other messages: given back, counted as interrupted
    given_back  ///< the worker stops: as if it had not begun
  };
  Verdict verdict = Verdict::done;
  std::string what;            ///< `exit 3`, `timed out after 1s`: first part of the reason
  std::string tail;            ///< of its stderr
  std::string exception_type;  ///< Gatepost.HandlerExit, ...
  std::optional<int64_t> delay_ms;  ///< later: instead of the schedule's
  int exit_status = 0, signal = 0;
  uint64_t output_bytes = 0;
  int64_t started_at_ms = 0;   ///< wall clock
  std::vector<HeldSend> sends; ///< leave with the acknowledgement
  std::shared_ptr<void> keep;  ///< whatever must stay until then

  /// With the tail, and with its last line only.
  std::string reason() const;
  std::string message() const;
};

struct SettlerOptions {
  RetrySchedule schedule;
  std::string endpoint, command;
  bool once = false;  ///< keep the numbers of failed messages
  std::vector<std::shared_ptr<HandlingTimes>> times;  ///< where it is counted how long messages took
  std::shared_ptr<HandlingTimes> queue_times;         ///< that of the queue: failures are counted there, too
  Enlistment* enlistment = nullptr;  ///< gets back what it handed out, in the same commit; nullptr: there is no distributor
};

class Settler {
 public:
  Settler(Root& root, Queue queue, Destination errors, std::optional<Destination> audit, AttemptTable& attempts, std::optional<JobLog> log,
          SettlerOptions options);

  /// Takes note of the end; nothing happens before commit(). No attempt is counted as interrupted from here on.
  void add(Claim&& claim, AttemptEnd&& end);
  /// To the error queue without an attempt: interrupted too often, expired, or not to be given to any handler.
  void reject(Claim&& claim, const std::string& exception_type, const std::string& why);
  /// Acknowledges a message to the worker itself, which no handler gets.
  void consume(Claim&& claim);
  /// Never waits. Tells of what has become durable and, when no commit is under way, begins one of all that was added. What the queue
  /// refuses for now is given back and refused() goes up. Other errors end the worker.
  Result<void> commit();
  /// Is there anything that was added and is not durable yet? Then commit_fd() becomes readable, and commit() must be called.
  bool pending() const { return !settled_.empty() || thread_.busy(); }
  int commit_fd() const { return thread_.fd(); }
  /// So much is pending that no more messages should be begun.
  bool full() const { return pending_messages_ >= pending_messages_max || pending_bytes_ >= pending_bytes_max; }

  /// Failed attempts since the last good one.
  unsigned failed_in_a_row() const { return failed_in_a_row_; }
  uint64_t acked() const { return acked_; }
  uint64_t failed() const { return failed_; }
  uint64_t to_error_queue() const { return to_error_queue_; }
  /// Transactions that a queue did not take for now.
  uint64_t refused() const { return refused_; }
  /// once: was there an attempt at it in this run?
  bool had_attempt(const Claim& claim) const {
    return had_attempt_.count(claim.seq()) > 0 || (!had_attempt_ids_.empty() && had_attempt_ids_.count(claim.message().id()) > 0);
  }
  bool any_left_over() const { return left_over_; }

 private:
  static constexpr size_t pending_messages_max = 1024;
  static constexpr uint64_t pending_bytes_max = 16 << 20;
  struct Settled {
    MessageInfo info;
    std::string id;
    AttemptEnd end;
    NextStep next;
    std::string outcome;  // for the job log; empty: no attempt
    bool to_errors = false;
    int64_t sent_at_ms = 0, ended_at_ms = 0;
    uint64_t body_bytes = 0;
    std::optional<HandOut> hand_out;
    std::vector<UniqueFd> map_uses;  // what leaves with it was chosen by these maps: they are used until it is durable
    bool leaves = false;  // the message leaves the worker's queue: what it was handed out on comes back
    std::string traceparent;
    std::vector<PutNote> sent;  // with the acknowledgement
  };
  struct Batch {
    std::vector<Settled> settled;
    std::vector<std::vector<size_t>> index;  // of the settled ones, for each transaction
  };
  Settled& note(const Claim& claim, AttemptEnd&& end);
  void move_to_errors(Claim&& claim, Transaction& transaction, const AttemptEnd& end);
  Result<void> acknowledge(Claim&& claim, Transaction& transaction, Settled& settled);
  void try_again(Claim&& claim, Transaction& transaction, Settled& settled, bool skip_immediate);
  void send_back(Claim&& claim, Transaction& transaction, Settled& settled);
  Result<void> retry_here(Settled& settled);
  Result<void> fail_later(Settled& settled);
  bool handed_out(const Message& message) const;
  void set_return_address(Headers& headers) const;
  void give_back(Transaction& transaction, const Settled& settled);
  static Took took(const Settled& settled);
  void begin_commit();
  Result<void> end_commit(Batch&& batch, CommitThread::Results&& results);
  Result<void> refuse(Settled& settled, const Error& error);
  Result<bool> settle_again(Settled& settled);
  void count_refusal(uint64_t seq, AttemptEnd& end);
  void tell(const Settled& settled);
  void keep_times(const Settled& settled);
  void write_journal(const Settled& settled);

  Root& root_;
  Queue queue_;
  Destination errors_;
  std::optional<Destination> audit_;
  AttemptTable& attempts_;
  std::optional<JobLog> log_;
  SettlerOptions options_;
  std::vector<Transaction> transactions_;
  std::vector<Settled> settled_;  // parallel to transactions_
  Transaction together_;          // acknowledgements with nothing but a token beside them share one, and one control message
  std::vector<size_t> settled_together_;
  Batch committing_;
  size_t pending_messages_ = 0;
  uint64_t pending_bytes_ = 0;
  std::map<uint64_t, std::string> refusals_;  // not counted: the message was begun again before we knew
  std::set<uint64_t> had_attempt_;
  std::set<std::string> had_attempt_ids_;  // of those that went back to the endpoint's queue: they come with another number
  unsigned failed_in_a_row_ = 0;
  uint64_t acked_ = 0, failed_ = 0, to_error_queue_ = 0, refused_ = 0;
  bool left_over_ = false;
  CommitThread thread_;  // last: it ends before what it uses
};

}  // namespace gw::distributor
