// Durable local queues: the only door to what lies under a root directory.
//
// Everything that changes a queue is a Transaction: acks, defers, puts and de-duplication keys that
// commit together or not at all, across kill -9 and power loss. commit_all() commits many independent
// transactions with shared syncs (group commit); processes and threads that commit at the same time
// share syncs as well. The state machine, the file format and the recovery rules are in gw-queue(5).
//
// Nothing outside of libcommon/queue/ knows about segments, index words or locks: another implementation
// of this header (a database) must be possible.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "journal.hpp"
#include "message.hpp"
#include "result.hpp"
#include "wall_clock.hpp"

namespace gw {

struct Xid;
class Root;
class Queue;
class Claim;
namespace queue_detail {
class RootImpl;
class QueueImpl;
struct ClaimState;
class Committer;
}  // namespace queue_detail

inline constexpr size_t queue_name_bytes_max = 150;
inline constexpr uint64_t min_free_bytes_default = 256ull << 20;  ///< or a sixteenth of a smaller file system
inline constexpr size_t transaction_targets_max = 4000;  ///< puts, acks and defers of one transaction

/// [A-Za-z0-9._-], 1 to 150 bytes, no leading dot or dash.
bool queue_name_ok(std::string_view name);
/// bad name -> Error{usage, "'x' is not a queue name: ..."}.
Result<void> check_queue_name(std::string_view name);

enum class MessageState { ready, claimed, deferred };
std::string_view to_string(MessageState state);

/// What is known of a message without reading its headers.
struct MessageInfo {
  uint64_t seq = 0;
  MessageState state = MessageState::ready;
  int64_t put_at_ms = 0;
  int64_t due_at_ms = 0;      ///< deferred only
  int64_t expires_at_ms = 0;  ///< 0: never
  unsigned failures = 0;      ///< durable count of failed attempts
  unsigned deliveries = 0;    ///< claims in this epoch (volatile), failures, kills and give-backs included
  uint64_t body_bytes = 0;
  int owner_pid = 0;          ///< claimed only
};

struct QueueConfig {
  uint64_t max_bytes = 0;  ///< byte limit of live messages; 0: none
  bool journal = false;
};

/// One consistent-enough snapshot; put = ready + claimed + deferred + done holds at the instant of the scan.
struct QueueStatus {
  std::string name;
  uint64_t ready = 0, claimed = 0, deferred = 0;
  uint64_t puts_total = 0;   ///< messages ever stored (void ones not counted)
  uint64_t acks_total = 0;   ///< messages done: acked, moved away, purged, expired
  uint64_t failed_total = 0; ///< failed attempts of the messages ever stored, those that they brought along included
  uint64_t bad = 0;          ///< corrupt records set aside
  int64_t oldest_put_at_ms = 0;  ///< of the oldest ready message; 0: none ready
  uint64_t live_bytes = 0, disk_bytes = 0;
  bool takes_on = true, puts_on = true;
  std::string hold_reason;
  QueueConfig config;
};

/// Why a claim is given up without an ack.
struct Defer {
  int64_t due_at_ms = 0;  ///< wall clock; 0: ready at once, in its old place
  bool failed = false;    ///< counts a failed attempt, durably
};

/// De-duplication: remember `id` in the store `store` under `scope` in the same commit as the put.
struct DedupKey {
  std::string store;  ///< an endpoint's name, or local_dedup_store
  std::string scope;  ///< the queue (local puts) or the endpoint (gateway)
  std::string id;
  std::array<unsigned char, 32> body_sha256{};
  int64_t first_sent_ms = 0;  ///< when the message was first sent, by our clock; 0: unknown. A new id at or before the store's
                              ///< horizon is PutOutcome::too_old
};
/// The store of ids that callers named on local puts (--id, --unique); no endpoint can have this name.
inline constexpr std::string_view local_dedup_store = "+local";

struct PutOptions {
  int64_t due_at_ms = 0;  ///< 0: ready at once
  std::optional<DedupKey> dedup;
  int64_t expires_at_ms = 0;  ///< by our clock; 0: what TimeSent and TimeToBeReceived say
  unsigned failures = 0;      ///< failed attempts so far, for a message that moves with its count; at most 255
};

/// conflict: same id, other body. too_old: cannot be told apart from a duplicate. Both: nothing stored.
enum class PutOutcome { stored, duplicate, conflict, too_old };

struct PutResult {
  PutOutcome outcome = PutOutcome::stored;
  std::string queue;
  uint64_t seq = 0;  ///< of the stored message; for duplicate and conflict that of the first, 0 if unknown
};

struct CommitResult {
  std::vector<PutResult> puts;  ///< in the order of Transaction::put
};

/// A message that this process holds and nobody else gets. Destroying it gives the message back to its old place.
/// Movable; use one Claim from one thread at a time. Must not outlive its Root.
class Claim {
 public:
  Claim() = default;
  Claim(Claim&&) noexcept;
  Claim& operator=(Claim&&) noexcept;
  ~Claim();
  explicit operator bool() const { return state_ != nullptr; }

  const MessageInfo& info() const;
  uint64_t seq() const { return info().seq; }
  const std::string& queue_name() const;
  const Message& message() const;
  Message& message();  ///< changes are seen by a put of it, never by the stored message
  /// Gives back now (same as destroying it).
  void release();

 private:
  friend class queue_detail::QueueImpl;
  friend class queue_detail::RootImpl;
  friend class queue_detail::Committer;
  explicit Claim(std::unique_ptr<queue_detail::ClaimState> state);
  std::unique_ptr<queue_detail::ClaimState> state_;
};

/// A handle on one queue; cheap to copy, safe to use from many threads.
class Queue {
 public:
  Queue() = default;
  explicit operator bool() const { return impl_ != nullptr; }
  const std::string& name() const;

  /// Claims up to `max` of the first messages that are ready or due, in order. Empty: nothing is (does not wait).
  /// Expired messages are dropped on the way (acked, counted, event `expired`) unless `keep_expired`.
  /// Fails with not_now while takes are held.
  Result<std::vector<Claim>> claim(size_t max, bool keep_expired = false);
  /// Claims this one, ready or deferred (due or not), also while takes are held. nullopt: claimed elsewhere or gone.
  Result<std::optional<Claim>> claim_seq(uint64_t seq);

  /// Calls `visit` for every live message in order of seq until it returns false. Reads no payload.
  /// The set is the one at the start; what is gone meanwhile is left out.
  Result<void> scan(const std::function<bool(const MessageInfo&)>& visit, uint64_t from_seq = 0) const;
  /// The message and its info without claiming it. nullopt: gone.
  Result<std::optional<std::pair<MessageInfo, Message>>> read(uint64_t seq) const;
  Result<QueueStatus> status() const;
  /// Are its puts and takes noted in the journal (QueueConfig::journal)? Cheap.
  bool journalled() const;
  /// Are takes on, are puts? Cheap.
  bool takes_on() const;
  bool puts_on() const;
  /// When the next deferred message becomes due (a lower bound); INT64_MAX: none.
  int64_t next_due_ms() const;
  /// Time of the last put (ms since 1970), 0: none known.
  int64_t last_put_ms() const;

  /// Changes whenever something may have become claimable, or was acked. For Root::wait.
  uint32_t bell() const;

  /// Turns takes or puts off or on, durably, for all processes.
  Result<void> hold(bool takes_on, bool puts_on, const std::string& reason);
  Result<void> configure(const QueueConfig& config);

 private:
  friend class Root;
  friend class Transaction;
  friend class queue_detail::RootImpl;
  friend class queue_detail::Committer;
  explicit Queue(std::shared_ptr<queue_detail::QueueImpl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<queue_detail::QueueImpl> impl_;
};

/// Collects effects; nothing happens before Root::commit. A claim given to it is given back if the commit fails.
class Transaction {
 public:
  Transaction() = default;
  Transaction(Transaction&&) noexcept = default;
  Transaction& operator=(Transaction&&) noexcept = default;

  void ack(Claim&& claim);
  void defer(Claim&& claim, Defer how);
  /// Several puts may share one body file: it is stored once.
  void put(const Queue& queue, Message message, PutOptions options = {});
  bool empty() const { return sources_.empty() && puts_.empty(); }

  struct Put {
    Queue queue;
    Message message;
    PutOptions options;
  };
  /// What it puts, in that order, for who holds it instead of committing it (held_sends).
  std::vector<Put>& puts() { return puts_; }

 private:
  friend class queue_detail::Committer;
  struct Source {
    Claim claim;
    std::optional<Defer> defer;  // nullopt: ack
  };
  std::vector<Source> sources_;
  std::vector<Put> puts_;
};

/// Collects a body of unknown size: up to inline_body_bytes_max in memory, beyond in a file of the root, with constant memory.
/// Destroying it without finish() removes the file.
class BodyWriter {
 public:
  BodyWriter(BodyWriter&&) noexcept;
  ~BodyWriter();
  Result<void> write(std::string_view bytes);
  uint64_t size() const { return bytes_; }
  /// The body; durable only when a transaction that puts it has committed.
  Result<Body> finish() &&;

 private:
  friend class Root;
  explicit BodyWriter(queue_detail::RootImpl* root) : root_(root) {}
  queue_detail::RootImpl* root_;
  std::string memory_;
  std::shared_ptr<BodyFile> file_;
  uint64_t bytes_ = 0;
};

struct RootOptions {
  bool create = false;      ///< make the root if it is not there (0700; 2770 where its parent directory has setgid group access)
  std::string machine;      ///< this machine's name when the root is created; empty: the host name
  uint64_t min_free_bytes = min_free_bytes_default;
};

/// An open root directory. One per process; all threads may use it. No fork without exec while one is open.
class Root {
 public:
  /// Refuses with no_input (absent), no_permission (modes, owner), system (foreign or newer format, network file system,
  /// in use by another kernel). The first open after a boot recovers the root before it returns.
  static Result<std::unique_ptr<Root>> open(const std::string& path, const RootOptions& options);
  ~Root();
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;

  const std::string& path() const;
  const std::string& machine() const;
  uint64_t free_bytes() const;
  /// Where what happens to messages is noted; the queue itself notes what expires.
  Journal& journal();
  /// What puts leave free: min_free_bytes, by default at most a sixteenth of the file system.
  uint64_t reserve_bytes() const;

  /// no_input if there is no such queue, usage if the name is bad.
  Result<Queue> queue(std::string_view name);
  /// Also if it exists already (then its configuration stays).
  Result<Queue> create_queue(std::string_view name, const QueueConfig& config = {});
  /// Fails with not_now if it holds messages and !force, or is in use by another claim.
  Result<void> remove_queue(std::string_view name, bool force);
  /// Sorted.
  Result<std::vector<std::string>> list_queues() const;

  BodyWriter body_writer();

  /// All or nothing. On success everything in it is durable. not_now: full, held, below min_free, over max_bytes: nothing done.
  /// io_error: in doubt (a sync failed); end the process, recovery decides.
  Result<CommitResult> commit(Transaction&& transaction);
  /// Each transaction on its own (one may fail while others commit), syncs shared by all. Results in the same order.
  std::vector<Result<CommitResult>> commit_all(std::vector<Transaction>&& transactions);

  /// What time it is, and whether what is old may be purged (wall_clock.hpp). Says `clock-behind` once when it is. Times of
  /// messages are by the wall clock here; what waits is not hurried or delayed by a wall clock that is set.
  RootClock clock();
  /// Is its time to be received over? Never while the clock is behind.
  bool expired(const MessageInfo& info);
  /// Somebody says that the wall clock is right: it is not behind or suspicious any more.
  Result<void> accept_clock();

  /// Changes with every queue's bell. Take it before you look, then wait().
  uint32_t bell() const;
  /// Returns when the bell differs from `seen`, or after min(timeout_ms, 1000); recovers dead owners on the way. Any thread.
  void wait(uint32_t seen, int64_t timeout_ms);
  /// Wakes all waiters of this root (also in this process).
  void ring();

  /// Recovers owners that died; wait() does it once a second by itself. Returns how many.
  Result<size_t> recover_dead_owners();
  /// Releases space that is no longer needed, sweeps orphans of dead owners; cheap when there is nothing to do.
  Result<void> maintain();

  /// Removes blobs of the data bus whose time to be received is over; wait() does it by itself. Cheap, for calls every second.
  void sweep_blobs();

  /// A lock for singletons such as a forwarder: held until the process ends or the returned fd is closed. nullopt: another
  /// live process has it; its pid is in `owner_pid`.
  Result<std::optional<UniqueFd>> try_singleton(std::string_view name, int* owner_pid);
  /// Is a process holding that singleton? pid (0: no) and since when (ms).
  struct SingletonInfo { int pid = 0; int64_t since_ms = 0; };
  SingletonInfo singleton(std::string_view name) const;

  /// May a transaction with this xid still be open? For the purge of a dedup store.
  bool xid_in_use(const Xid& xid) const;

  /// What `queue-inspect check` reports.
  struct Finding {
    std::string queue;   ///< empty: the root
    std::string kind;    ///< corrupt-record, orphan-body, foreign-file, unbalanced, ...
    std::string detail;  ///< what, on which path, what repair does or did
    bool repaired = false;
  };
  struct CheckReport {
    std::vector<Finding> findings;
    std::vector<QueueStatus> queues;
  };
  /// Reads every frame and checks every sum; on a live root. With repair, sets corrupt records aside and removes orphans.
  Result<CheckReport> check(bool repair);

  queue_detail::RootImpl& impl() { return *impl_; }

 private:
  explicit Root(std::unique_ptr<queue_detail::RootImpl> impl);
  std::unique_ptr<queue_detail::RootImpl> impl_;
};

}  // namespace gw
