// The classes behind queue.hpp. Reading order: sys, format, group_sync, segment, queue_impl, bodies, commit_log, root_impl, root_clock,
// commit (transactions), recovery, check.
//
// Lock order (never the other way round): an owner's byte, root maintenance, queue recover, queue maintenance, queue append,
// commit append, a sync leader's byte, the clock. Nobody holds two append locks of the same kind.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <unordered_map>

#include "../databus.hpp"
#include "../dedup_store.hpp"
#include "../queue.hpp"
#include "../wall_clock.hpp"
#include "format.hpp"
#include "sys.hpp"

namespace gw::queue_detail {

// --- group_sync.cpp ----------------------------------------------------------------------------------------------

/// Returns when everything up to `position` is durable; one sync serves all processes and threads that wait. `counter` gives
/// the position that a sync begun now will cover; `sync` does it. `failures_seen`: the value of shared.failures before the
/// caller's own write. io_error, in doubt: a sync failed since then.
Result<void> group_sync(SyncShared& shared, FileLock& leader, uint64_t position, uint32_t failures_seen,
                        const std::function<uint64_t()>& counter, const std::function<Result<void>()>& sync);
void raise_to(std::atomic<uint64_t>& value, uint64_t at_least);
void lower_to(std::atomic<int64_t>& value, int64_t at_most);

// --- segment.cpp -------------------------------------------------------------------------------------------------

/// Three files: <base>.log (frames), .idx (durable words), .v (claim words).
struct Segment {
  uint64_t base = 0;
  UniqueFd log, idx, v;
  Mapping idx_map, v_map;
  std::unique_ptr<FileLock> idx_leader;
  std::string shown;  // path without suffix, for messages

  IndexHeader& header() const { return *idx_map.as<IndexHeader>(); }
  ClaimsHeader& claims_header() const { return *v_map.as<ClaimsHeader>(); }
  IndexEntry& entry(uint64_t seq) const { return idx_map.as<IndexEntry>(sizeof(IndexHeader))[seq - base]; }
  std::atomic<uint64_t>& claim(uint64_t seq) const {
    return v_map.as<std::atomic<uint64_t>>(sizeof(ClaimsHeader))[seq - base];
  }
  uint32_t capacity() const { return header().capacity; }
  bool sealed() const { return header().seal.load(std::memory_order_acquire) != 0; }
  /// First seq after this segment; only if sealed.
  uint64_t end_seq() const { return base + seal_count(header().seal.load(std::memory_order_acquire)); }
  uint32_t crc_seed() const { return static_cast<uint32_t>(header().uuid ^ (header().uuid >> 32)); }
  /// EMPTY in a punched segment reads as DONE.
  State state(uint64_t word) const {
    State s = word_state(word);
    return s == State::empty && header().punched.load(std::memory_order_relaxed) ? State::done : s;
  }
};
using SegmentPtr = std::shared_ptr<Segment>;

std::string segment_name(uint64_t base, const char* suffix);
std::optional<uint64_t> parse_segment_name(const std::string& name, const char* suffix);
uint32_t index_bytes(uint32_t log_bytes);
uint32_t index_capacity(uint32_t log_bytes);

// --- frame.cpp ---------------------------------------------------------------------------------------------------

struct BodyRef {
  uint64_t bytes = 0;
  uint32_t crc = 0;
  std::string name;  // below bodies/
};

/// A blob of the data bus that a message names, and the link to it that the message owns.
struct BlobRef {
  std::string key;   // below databus/
  std::string name;  // below bodies/
};

/// What a message owns outside of its frame.
struct MessageFiles {
  std::optional<BodyRef> body;
  std::vector<BlobRef> blobs;
  bool any() const { return body || !blobs.empty(); }
};
/// What a finished message leaves behind.
struct LeftFiles {
  MessageFiles files;
  int64_t expires_at_ms = 0;
};

struct Frame {
  FrameHeader header;
  PayloadHead head;
  std::string_view extra, headers, body;  // into the buffer it was parsed from
  std::optional<BodyRef> body_ref;
  std::vector<BlobRef> blobs;
  MessageFiles files() const { return {body_ref, blobs}; }
};

/// A frame ready to be written but for seq, seeds and crcs.
struct DraftFrame {
  FrameHeader header{};
  std::string payload;
  bool body_file = false;
  uint64_t live_bytes = 0;  // frame and body file
  size_t total() const { return (sizeof(FrameHeader) + payload.size() + frame_align - 1) / frame_align * frame_align; }
};

DraftFrame draft_message(const Message& message, FrameKind kind, Authority authority, Xid xid, const PutOptions& options, const MessageFiles& files);
/// Appends header (with crcs), payload and padding to `out`.
void seal_frame(DraftFrame& draft, uint64_t seq, uint32_t incarnation, uint32_t crc_seed, std::string& out);
/// Checks magic, crcs and bounds of a frame in memory. nullopt: not a whole frame.
std::optional<Frame> parse_frame(std::string_view bytes, uint32_t crc_seed);
std::optional<DedupKey> parse_extra(std::string_view extra);

struct Ref {
  std::string queue;
  std::array<uint8_t, 16> uuid{};
  uint64_t seq = 0;
  uint64_t before = 0, after = 0;  // durable words
};
struct CommitRecord {
  Xid xid;
  uint32_t incarnation = 0;
  std::vector<Ref> sources, targets;
};
DraftFrame draft_commit(const CommitRecord& record);
std::optional<CommitRecord> parse_commit(const Frame& frame, std::string_view payload);

// --- queue_impl.cpp ----------------------------------------------------------------------------------------------

class RootImpl;

/// What boot recovery knows from the commit log about one queue.
struct Decisions {
  std::map<uint64_t, uint64_t> targets;  // seq -> word after
  struct Change {
    uint64_t before, after;
  };
  std::multimap<uint64_t, Change> sources;  // in the order of the log
};

class QueueImpl : public std::enable_shared_from_this<QueueImpl> {
 public:
  /// Opens, and recovers if it is the first in this epoch.
  static Result<std::shared_ptr<QueueImpl>> open(RootImpl& root, const std::string& name, const Decisions* decisions = nullptr);
  static Result<void> create(RootImpl& root, const std::string& name, const QueueConfig& config);

  const std::string& name() const { return name_; }
  uint32_t number() const { return number_; }
  const std::array<uint8_t, 16>& uuid() const { return uuid_; }
  QueueShared& shared() const { return *shared_map_.as<QueueShared>(); }
  RootImpl& root() const { return root_; }

  // Appending (puts and staging). On return `first_seq..` are assigned in order; nothing is durable yet.
  struct Appended {
    std::vector<uint64_t> seqs;    // of the first seqs.size() drafts
    uint32_t failures_seen = 0;
    std::optional<Error> error;    // why the rest was not appended
  };
  Appended append(std::vector<DraftFrame>& drafts);
  Result<void> sync_log(uint64_t seq, uint32_t failures_seen);
  /// The position that a sync begun now covers, and the tail segment it must sync.
  std::pair<uint64_t, uint64_t> log_end() const;

  // Words.
  Result<SegmentPtr> segment_of(uint64_t seq) const;  // no_input if removed
  /// Is this message void, or staged by a transaction of the commit log that nobody has decided yet?
  Result<bool> undecided(uint64_t seq);
  Result<std::vector<Claim>> claim(size_t max, bool keep_expired);
  Result<std::optional<Claim>> claim_seq(uint64_t seq);
  void release(ClaimState& state);
  /// mine -> mine|leaving; false: no longer mine.
  bool leave(ClaimState& state);
  void unleave(ClaimState& state);
  /// STAGED -> word, frees the claim, lowers hints. False: was not staged any more.
  bool publish(Segment& segment, uint64_t seq, uint64_t word);
  void void_staged(uint64_t seq);
  /// The files of a message, if it has any. To be asked before its word becomes DONE or the like: from then on anybody may punch its frame out.
  std::optional<LeftFiles> files_of(const Segment& segment, uint64_t seq) const;
  /// After that: counters, the names of its files, bells.
  void finished(uint64_t seq, const SegmentPtr& segment, const std::optional<LeftFiles>& left);
  void lower_hint(uint64_t seq);
  void lower_min_due(Segment& segment, int64_t due_ms);
  Result<void> sync_idx(Segment& segment, uint64_t ticket, uint32_t failures_seen);
  void ring();

  Result<void> scan(const std::function<bool(const MessageInfo&)>& visit, uint64_t from_seq) const;
  Result<std::optional<std::pair<MessageInfo, Message>>> read(uint64_t seq) const;
  /// search_queue().
  Result<std::vector<uint64_t>> search(std::string_view bytes) const;
  Result<QueueStatus> status() const;
  Result<void> hold(bool takes_on, bool puts_on, const std::string& reason);
  Result<void> configure(const QueueConfig& config);
  Result<void> remove(bool force);

  // Recovery and upkeep.
  /// Frees the claims of a dead owner here and decides its staged messages (those of the commit log are decided already).
  Result<void> recover_owner(uint32_t incarnation);
  /// Applies one entry of a durable commit record.
  /// `ring_now`: wakes who waits; else the caller does that once, when all is applied.
  Result<void> apply_source(const Ref& ref, uint32_t incarnation, bool ring_now = true);
  Result<void> apply_target(const Ref& ref, bool ring_now = true);
  Result<SegmentPtr> segment_of_ref(const Ref& ref) const;
  /// fdatasync of every index that holds one of these seqs, which are sorted.
  Result<void> sync_indexes(const std::vector<uint64_t>& seqs);
  /// Removes finished segments, punches finished ranges, shrinks the tail of an idle queue.
  /// `idle`: down to the size of an idle queue; `everything`: also looks behind the head.
  Result<void> maintain(bool idle, bool everything = false);
  void check(bool repair, std::vector<Root::Finding>& findings, const std::function<void()>& checked_one);
  void check_blobs(const Frame& frame, uint64_t seq, bool repair, std::vector<Root::Finding>& findings) const;
  /// Visits what live messages from `from` on own below bodies/; only those that own something.
  struct Owner {
    uint64_t seq = 0;
    bool claimed = false;       // held, or not decided yet
    int64_t expires_at_ms = 0;  // 0: never
  };
  Result<void> visit_files(uint64_t from, const std::function<void(const Owner&, const MessageFiles&)>& visit) const;
  /// Visits the headers of live messages.
  Result<void> visit_headers(const std::function<void(const Headers&)>& visit) const;
  Result<MetaRecord> read_meta() const;

  // Reads a frame: bad_data if it is not whole.
  struct Loaded {
    std::string buffer;
    Frame frame;
  };
  Result<std::unique_ptr<Loaded>> load(const Segment& segment, uint64_t seq, uint64_t where) const;
  Result<Message> to_message(const Loaded& loaded) const;

 private:
  friend class RootImpl;
  explicit QueueImpl(RootImpl& root, std::string name) : root_(root), name_(std::move(name)) {}

  std::string shown(const std::string& file) const;
  Result<void> open_files();
  Result<void> recover(const Decisions* decisions);
  Result<void> recover_segment(Segment& segment, const Decisions* decisions);
  void walk_open_segment(Segment& segment);
  void decide_words(Segment& segment, const Decisions* decisions);
  void set_aside(const Segment& segment, uint64_t seq, uint64_t offset, uint64_t length, const char* why);
  Result<SegmentPtr> open_segment(uint64_t base, bool fresh_claims) const;
  Result<SegmentPtr> create_segment(uint64_t base, uint32_t log_bytes);
  Result<void> make_claims_file(uint64_t base, uint32_t capacity) const;
  Result<SegmentPtr> next_segment(const SegmentPtr& tail, uint64_t need, bool shrink);
  Result<void> seal(Segment& segment, uint64_t end, uint64_t count);
  Result<void> repair_append(Segment& tail);
  Result<void> rotate_broken(Segment& tail);
  uint32_t next_log_bytes(uint32_t previous, uint64_t need, bool shrink) const;
  Result<SegmentPtr> segment_after(const Segment& segment) const;
  std::optional<Claim> try_claim(const SegmentPtr& segment, uint64_t seq, int64_t now, bool any_due, bool keep_expired);
  Result<void> due_pass(size_t max, int64_t now, bool keep_expired, std::vector<Claim>& into);
  Result<bool> scan_ready(size_t max, int64_t now, bool keep_expired, std::vector<Claim>& into);
  Error removed_error() const;
  Error held_error(const char* what) const;
  bool drop_expired(ClaimState& state);
  std::vector<uint64_t> segment_bases() const;
  Result<SegmentPtr> tail_for_append();
  Result<size_t> append_some(std::vector<DraftFrame>& drafts, size_t from, Appended& into);
  void mark_bad(const Segment& segment, uint64_t seq, const std::string& why);
  Result<void> write_meta(MetaRecord& meta);
  Result<void> settle_removal();
  Result<void> settle_settings(const MetaRecord& seen);
  void show_settings(const MetaRecord& meta);
  /// What the queue's files take, bodies beside the log not counted.
  uint64_t disk_bytes() const;
  /// Punches finished ranges if the queue takes more disk than promised. `segment`: where messages were finished just now, all of them or
  /// a part.
  Result<void> give_back(const SegmentPtr& segment, bool all_finished);
  /// Under the maintenance lock: unlinks the finished segments at the head of `bases`. Returns the new lower bound of all messages.
  Result<uint64_t> remove_head(const std::vector<uint64_t>& bases, uint64_t tail_base);
  void punch(Segment& segment);
  bool finished_all(const Segment& segment) const;
  /// Is the tail's unwritten or finished space more than the promise on disk space allows (idle: more than an idle queue needs)?
  bool tail_too_large(const Segment& tail, bool idle) const;
  Result<void> shrink_tail();
  void unlink_segment(uint64_t base);
  Result<bool> staged_decision(const Segment& segment, uint64_t seq);
  Result<void> withdraw_id(const Frame& frame, uint64_t seq);
  /// `now`: root time. What was deferred and is due is ready.
  MessageInfo info_of(const Segment& segment, uint64_t seq, uint64_t word, uint64_t claim, const Frame* frame, int64_t now) const;
  /// What the totals in `meta` and the words say.
  Result<QueueStatus> count(const MetaRecord& meta, uint64_t& first_ready) const;
  template <class Visit>
  Result<void> each_word(uint64_t from, Visit&& visit) const;
  Result<void> visit_words(uint64_t from, const std::function<bool(const SegmentPtr&, uint64_t seq, uint64_t word, uint64_t claim)>& visit) const;

  RootImpl& root_;
  std::string name_;
  uint32_t number_ = 0;
  std::array<uint8_t, 16> uuid_{};
  UniqueFd dir_, meta_;
  Mapping shared_map_;
  std::unique_ptr<FileLock> append_lock_, log_leader_, maintenance_lock_, recover_lock_;
  mutable std::mutex cache_mutex_;
  mutable std::map<uint64_t, SegmentPtr> cache_;
  mutable std::deque<uint64_t> cache_order_;
  std::atomic<bool> owner_marked_{false};
  std::atomic<int64_t> last_reap_ms_{0}, last_full_scan_ms_{0};
};

struct ClaimState {
  std::shared_ptr<QueueImpl> queue;
  SegmentPtr segment;
  uint64_t seq = 0;
  uint64_t claim = 0;  // the exact word that says it is mine
  MessageInfo info;
  Message message;
  bool held = true;
};

// --- root_impl.cpp and its parts -----------------------------------------------------------------------------------

class RootImpl {
 public:
  static Result<std::unique_ptr<RootImpl>> open(const std::string& path, const RootOptions& options);
  ~RootImpl();

  const std::string& path() const { return path_; }
  RootShared& shared() const { return *shared_map_.as<RootShared>(); }
  OwnerSlot& slot(unsigned n) const { return shared_map_.as<OwnerSlot>(page_bytes)[n]; }
  uint64_t epoch() const { return epoch_; }
  Modes modes() const { return modes_; }
  int queues_dir() const { return queues_.get(); }
  int bodies_dir() const { return bodies_.get(); }

  /// This process's owner slot; taken at the first need. Thread-safe.
  Result<uint32_t> incarnation();
  Result<uint32_t> take_slot();
  unsigned own_slot() const { return slot_; }
  Result<void> mark_queue(uint32_t number);
  Xid new_xid();
  void finished_xid(const Xid& xid);
  bool xid_in_use(const Xid& xid) const;

  Result<std::shared_ptr<QueueImpl>> queue(std::string_view name);
  Result<std::shared_ptr<QueueImpl>> create_queue(std::string_view name, const QueueConfig& config);
  Result<void> remove_queue(std::string_view name, bool force);
  Result<std::vector<std::string>> list_queues() const;
  void forget(const std::string& name);

  uint64_t free_bytes() const;
  /// What puts must leave free.
  uint64_t reserve_bytes() const;

  // root_clock.cpp
  RootClock clock();
  /// Root time now.
  int64_t clock_ms();
  /// What callers say and hear is by the wall clock, what is stored is in root time. 0 and INT64_MAX are no times.
  int64_t to_root_time(int64_t wall_ms) const;
  int64_t to_wall_time(int64_t root_ms) const;
  int64_t skew_ms() const;
  /// Past its time, by a clock that is not behind.
  bool expired(const MessageInfo& info);
  Result<void> accept_clock();
  /// Makes the highest time seen durable, now and then.
  void keep_clock();

  void ring();
  void wait(uint32_t seen, int64_t timeout_ms);

  // commit.cpp
  std::vector<Result<CommitResult>> commit_all(std::vector<Transaction>&& transactions);

  // commit_log.cpp
  struct LogPosition {
    uint64_t end = 0;
    uint32_t failures_seen = 0;
  };
  Result<LogPosition> append_commits(const std::vector<CommitRecord>& records);
  Result<void> sync_commits(const LogPosition& position);
  /// Under the append lock: wipes what a dead appender left.
  Result<void> repair_commit_log();
  /// Visits every valid record of the commit log in order.
  Result<void> read_commits(const std::function<Result<void>(uint64_t position, const CommitRecord&)>& visit);
  Result<void> apply(const CommitRecord& record);

  // bodies.cpp
  Result<std::shared_ptr<BodyFile>> new_body_file();
  /// Makes the body durable under a name of its own for one message in `target`; the caller syncs the directory (sync_body_dirs).
  Result<BodyRef> link_body(BodyFile& file, const QueueImpl& target, std::set<std::string>& dirs);
  Result<void> copy_body(const BodyFile& file, const std::string& name);
  Result<void> sync_body_dirs(const std::set<std::string>& dirs);
  void unlink_body(const std::string& name);
  /// Removes the names of a message that is finished. `release`: a blob that no other message names goes too.
  void drop_files(const MessageFiles& files, int64_t expires_at_ms, bool release);
  Result<std::shared_ptr<BodyFile>> open_body(const BodyRef& ref) const;
  // blobs.cpp
  /// A link to the blob for one message in `target`, as link_body. nullopt: there is no such blob. The key may become that of a copy
  /// (`copies`: from key to copy, for a call): a file has room for so many links only.
  Result<std::optional<BlobRef>> link_blob(std::string& key, const QueueImpl& target, int64_t expires_at_ms, std::set<std::string>& dirs,
                                           std::map<std::string, std::string>& copies);
  Result<void> allow_blobs();
  /// Gives a blob its name back from a message's link.
  Result<void> restore_blob(const BlobRef& blob);
  /// Removes blobs whose time to be received is over: every two seconds, by one process of all.
  void sweep_due_blobs();
  /// Some of `due`, which go from there.
  Result<void> sweep_due(std::vector<DueBlob>& due, int64_t now_ms);
  /// The next one, once an hour.
  Result<void> sweep_old_blobs();
  /// Removes blobs that nobody has named for a week, and what writers that were killed have left.
  Result<size_t> sweep_orphan_blobs(std::vector<Root::Finding>* report, bool repair);
  /// Queues and lowest numbers of the messages to which these names belong.
  std::map<unsigned, uint64_t> owners_of(const std::vector<std::string>& names) const;

  Result<size_t> sweep_bodies(std::optional<uint32_t> incarnation, std::vector<Root::Finding>* report, bool repair);
  Result<std::shared_ptr<QueueImpl>> queue_by_number(uint32_t number);

  // dedup
  Result<DedupStore*> dedup_store(const std::string& name, bool create);
  /// Is what this row stands for still (or for ever) no message?
  Result<bool> undecided(const DedupRow& row);

  // recovery.cpp
  Result<size_t> recover_dead_owners(bool force);
  /// The same for those who cannot do anything about a failure: an event.
  size_t try_recover(bool force);
  Result<void> boot_recovery();
  Result<void> maintain(bool closing);
  /// `checked_one`: called for each message.
  Result<Root::CheckReport> check(bool repair, const std::function<void()>& checked_one);

  Result<std::optional<UniqueFd>> try_singleton(std::string_view name, int* owner_pid);
  Root::SingletonInfo singleton(std::string_view name) const;

  Journal& journal() { return *journal_; }

  std::string machine_;
  RootOptions options_;

 private:
  friend class QueueImpl;
  RootImpl() = default;
  void open_journal();
  Result<void> create_layout();
  Result<void> open_layout();
  Result<void> check_file_system() const;
  Result<void> join_epoch();
  static bool identity_equal(const FormatRecord& record, const FormatRecord& now);
  Result<void> fill_identity(FormatRecord& record) const;
  Result<FormatRecord> read_format() const;
  Result<void> write_format(FormatRecord& record);
  Result<void> make_root_shared(uint64_t epoch);
  ClockState clock_state();
  /// For those who stay: an old jump is still waiting for somebody to say that it is right.
  void warn_of_jump();
  void tell_jump();
  ClockState change_clock();
  ClockMemory read_clock_file() const;
  Result<void> write_clock_file(const ClockMemory& memory);
  void remember_clock(const ClockState& state, int64_t wall_ms);
  /// nullopt: no such queue.
  Result<std::optional<std::array<uint8_t, 16>>> queue_uuid(const std::string& name) const;
  Result<void> map_root_shared();
  Result<void> recover_owner(unsigned slot);
  Result<void> enter_commit_file(uint64_t position);
  Result<void> retire_commit_file(unsigned index);
  /// By those who may commit or recover only: a plain put starts faster without.
  Result<void> open_commit_files();
  std::string shown(const std::string& name) const { return path_ + "/" + name; }

  std::string path_;
  UniqueFd dir_, queues_, bodies_, lock_, format_;
  Mapping shared_map_;
  Modes modes_;
  uint64_t epoch_ = 0;
  std::atomic<uint32_t> incarnation_{0};
  std::atomic<unsigned> slot_{0};  // read by threads that put before one of them takes a slot
  uint64_t xid_high_ = 0;
  std::mutex xid_mutex_;
  uint64_t xid_next_ = 1;
  std::set<uint64_t> xid_open_;
  std::unique_ptr<FileLock> commit_append_, commit_leader_, maintenance_, create_lock_, clock_lock_;
  UniqueFd commit_fds_[commit_files];
  std::string new_body_name(const QueueImpl& target);
  std::atomic<uint64_t> body_counter_{0};
  std::atomic<bool> blobs_allowed_{false};
  std::mutex queues_mutex_;
  std::map<std::string, std::weak_ptr<QueueImpl>, std::less<>> open_queues_;
  std::mutex stores_mutex_;
  std::map<std::string, std::unique_ptr<DedupStore>> stores_;
  std::mutex reap_mutex_;
  std::mutex numbers_mutex_;
  std::map<uint32_t, std::string> numbers_;
  std::atomic<int64_t> last_maintain_ms_{0};
  std::atomic<bool> told_behind_{false}, told_jump_{false};
  std::unique_ptr<Journal> journal_;
};

}  // namespace gw::queue_detail
