// What the distributor knows: workers, their tokens, and what is handed out. It decides, and knows nothing of queues: ledger.hpp makes
// its decisions durable. The state machine is in gw-distributor(5).
//
// A slot is one of a worker's `capacity` places: free (a token, it waits for a message) or out (a message was handed out on it). The rule
// that all events end with: a ready worker has capacity - out tokens, any other one has none.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "worker_messages.hpp"

namespace gw::distributor {

enum class WorkerState { ready, draining, drained, dead, unregistered };
std::string_view to_string(WorkerState state);

/// What outlives the distributor, beside the slots.
struct WorkerRecord {
  std::string name;     ///< QUEUE@MACHINE
  std::string session;
  unsigned capacity = 0;
  bool plain = false;         ///< a worker of the original: it names no hand-outs and sends no heartbeats
  bool draining = false;      ///< by an operator
  bool silent = false;        ///< said nothing for longer than the lease
  bool gone = false;          ///< its process has ended
  bool unregistered = false;  ///< kept only until its queue is empty
  int64_t since_ms = 0;       ///< when this session began
  int64_t lease_ms = 0;       ///< what it was told; 0: nothing
  uint64_t seq = 0;           ///< of its record; 0: not stored
};

struct Worker : WorkerRecord {
  std::set<uint64_t> free, out;  ///< slots
  unsigned fresh = 0;            ///< tokens that are to be stored
  int64_t heard_ms = 0;          ///< monotonic
  uint64_t done = 0, failed = 0;
  bool blocked = false;          ///< its queue takes nothing for now
  bool changed = false;          ///< its record is to be stored
  WorkerState state() const;
  bool may_have_tokens() const { return state() == WorkerState::ready; }
};

class ReadyTable {
 public:
  // --- what the queues say at the start
  void load(const WorkerRecord& record, int64_t now);
  /// False: no such worker.
  bool load_slot(uint64_t seq, const std::string& worker, bool out, int64_t now);
  /// A message in a worker's queue: which one is out on its slot. The latest of several counts.
  void load_hand_out(const HandOut& hand_out);
  /// Everybody has been loaded: makes up for tokens that are missing or too many.
  void loaded();

  // --- what happens
  /// A new session: its tokens are void, what is out stays out, for it is in the worker's queue and the worker is its only one.
  /// False: it is older than the session that is known (on the way from another machine one message may overtake another).
  bool starting(const ControlMessage& control, int64_t now, int64_t wall_ms);
  struct Returned {
    unsigned applied = 0;
    std::vector<HandOut> ignored;  ///< not out, or not that worker's
  };
  /// Tokens come back, once for each hand-out, whatever session says so.
  Returned returned(const ControlMessage& control, int64_t now);
  struct Alive {
    bool known = false;
    bool was_silent = false;
    std::vector<HandOut> lost;  ///< their tokens are free again
  };
  Alive heartbeat(const ControlMessage& control, int64_t now);
  /// What was out for longer than `lease_ms` when the list was made (`listed_at`, monotonic), and was missing twice, was taken away by
  /// somebody else. Only for workers whose messages cannot be on their way.
  std::vector<HandOut> missing(const ControlMessage& control, int64_t listed_at, int64_t lease_ms);
  bool stopping(const ControlMessage& control);
  bool drain(std::string_view worker);
  bool resume(std::string_view worker);
  bool unregister(std::string_view worker);
  void gone(Worker& worker);
  void silent(Worker& worker);
  void told_lease(Worker& worker, int64_t lease_ms);
  /// That message is no longer with the worker.
  void taken_back(const HandOut& hand_out);
  /// Nothing of it is left: an unregistered worker is forgotten.
  void nothing_left(Worker& worker);
  /// The slot's message has vanished from the storage queue.
  void vanished(uint64_t slot);

  // --- handing out
  /// Tokens that can be used now.
  size_t available() const { return available_; }
  struct Taken {
    uint64_t slot = 0;
    Worker* worker = nullptr;
  };
  /// The token that waits longest. available() must not be 0.
  Taken take(uint64_t work, int64_t now);
  /// Nothing goes to this worker until unblock().
  void block(Worker& worker);
  void unblock();

  // --- what is to be stored
  struct Changes {
    std::vector<uint64_t> to_out, to_free, voided;
    std::vector<std::pair<Worker*, unsigned>> fresh;  ///< how many new tokens
    std::vector<Worker*> records;
    std::vector<uint64_t> forgotten;  ///< records that go
    size_t size() const;              ///< messages that it touches
    bool empty() const { return to_out.empty() && to_free.empty() && voided.empty() && fresh.empty() && records.empty() && forgotten.empty(); }
  };
  /// What does not hang on anything else (new tokens, void ones) may wait: at most `limit` of each.
  Changes changes(size_t limit) const;
  /// They are stored; `fresh` are the numbers of the new tokens and `records` those of the records, in the order of `changes`.
  void stored(const Changes& changes, const std::vector<uint64_t>& fresh, const std::vector<uint64_t>& records, int64_t now);

  Worker* find(std::string_view worker);
  std::vector<Worker*> workers();
  bool has_slot(uint64_t slot) const { return slots_.count(slot) > 0; }
  std::vector<uint64_t> slots() const;
  std::optional<HandOut> out_on(uint64_t slot) const;

 private:
  struct Slot {
    Worker* worker = nullptr;
    bool out = false, stored_out = false, touched = false;
    uint64_t work = 0;     // 0: handed out before this process began, unknown
    int64_t since_ms = 0;  // monotonic
    unsigned missing = 0;  // in so many lists of what the worker has
  };
  void balance(Worker& worker);
  void touch(uint64_t seq, Slot& slot);
  void free_slot(uint64_t seq, Slot& slot);
  void drop_slot(uint64_t seq, bool stored);
  void add_free(uint64_t seq, Worker& worker);
  bool is_out(const HandOut& hand_out, const Worker& worker) const;

  std::map<std::string, std::unique_ptr<Worker>, std::less<>> workers_;
  std::unordered_map<uint64_t, Slot> slots_;
  std::deque<uint64_t> fifo_;  // free slots in order of readiness; voided ones are passed over
  std::vector<uint64_t> parked_;  // of blocked workers
  size_t available_ = 0;
  std::vector<uint64_t> touched_, voided_, forgotten_;
};

}  // namespace gw::distributor
