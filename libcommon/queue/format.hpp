// What lies on disk and in shared memory under a root: gw-queue(5) in C++. Change checklist: version or feature flag,
// the page, recovery.cpp, check.cpp, tests/data. Everything is little endian; x86-64 and arm64 are.
//
// Two kinds of files never mix: durable (d) ones are synced and believed after a power loss; volatile (v) ones are written in
// full, never synced, and void in a new epoch.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace gw::queue_detail {

inline constexpr uint32_t format_version = 1;
inline constexpr uint64_t feature_blobs = 1;  // incompatible: frames may name blobs of the data bus (frame_blobs)
inline constexpr uint64_t known_incompatible = feature_blobs, known_read_only = 0;

inline constexpr size_t page_bytes = 4096;
inline constexpr size_t frame_align = 64;
inline constexpr uint32_t segment_log_bytes_min = 16 * 1024;
inline constexpr uint32_t segment_log_bytes_steady = 512 * 1024;
inline constexpr uint32_t segment_log_bytes_max = 64u << 20;
inline constexpr uint64_t commit_file_bytes = 1u << 20;
inline constexpr unsigned commit_files = 4;
inline constexpr unsigned owner_slots = 4096;

// Bytes of <root>/lock (never mapped). Owner n: lock_owner_base + n.
inline constexpr int64_t lock_membership = 0, lock_commit_append = 1, lock_commit_leader = 2, lock_root_maintenance = 3,
                         lock_create = 4, lock_clock = 5, lock_owner_base = 4096;
// Bytes of <queue>/meta (never mapped).
inline constexpr int64_t lock_append = 0x10000, lock_log_leader = 0x10001, lock_maintenance = 0x10003,
                         lock_recover = 0x10004;

/// A record that is replaced as a whole: two copies, the valid one with the higher generation counts.
struct RecordHead {
  uint32_t magic, crc;   // crc32c of all bytes after these 8
  uint64_t generation;
};

struct FormatRecord {  // <root>/format, at 0 and at 4096
  RecordHead head;
  uint32_t version, reserved;
  uint64_t incompatible, read_only, compatible;
  uint8_t root_uuid[16];
  uint64_t epoch;
  uint64_t st_dev, st_ino;
  char boot_id[40], machine_id[40];
  uint64_t reserved_time;
};
inline constexpr uint32_t format_magic = 0x31745747;  // "GWt1"

struct ClockRecord {  // <root>/clock, at 0 and at 4096
  RecordHead head;
  int64_t high_ms, root_high_ms, skew_ms;
  uint32_t suspicious, reserved;
};
inline constexpr uint32_t clock_magic = 0x316b5747;  // "GWk1"

struct MetaRecord {  // <queue>/meta, at 0 and at 4096
  RecordHead head;
  uint32_t version, number;
  uint8_t uuid[16];
  uint64_t max_bytes;
  uint32_t takes_off, puts_off, journal, reserved;
  uint64_t removed_below;  // segments with a base below this are gone, or garbage
  uint64_t done_removed, void_removed, bad_removed, failed_removed;  // what stood in removed segments
  char hold_reason[256];
};
inline constexpr uint32_t meta_magic = 0x316d5747;  // "GWm1"
static_assert(sizeof(FormatRecord) <= 512 && sizeof(MetaRecord) <= 512);

// --- frames ------------------------------------------------------------------------------------------------------

enum class FrameKind : uint8_t { message = 1, staged = 2, commit = 3 };
enum class Authority : uint8_t { none = 0, commit_log = 1, dedup_store = 2 };
inline constexpr uint16_t frame_body_file = 1, frame_blobs = 2;
inline constexpr uint32_t frame_magic = 0x31665747;  // "GWf1"

struct FrameHeader {
  uint32_t magic;
  uint32_t header_crc;   // of bytes 8..63, seeded with the file's uuid
  uint32_t payload_crc;  // seeded likewise
  FrameKind kind;
  Authority authority;
  uint16_t flags;
  uint64_t seq;          // commit frames: position in the commit log
  uint64_t xid_high, xid_low;
  uint32_t payload_bytes;
  uint32_t headers_bytes;
  uint32_t extra_bytes;  // dedup key of staged frames
  uint32_t incarnation;
  int64_t put_at_ms;
};
static_assert(sizeof(FrameHeader) == 64);

/// Payload of a message or staged frame: PayloadHead, extra, headers, with frame_blobs the blobs, then the body or a body reference.
struct PayloadHead {
  uint64_t due_and_failures;  // the low 53 bits of the index word that the message is offered with
  int64_t expires_at_ms;
};
/// Extra: u16 store length, u16 scope length, u16 id length, store, scope, id.
/// Body reference: u64 bytes, u32 crc32c, u16 name length, name below bodies/.
/// Blobs: u16 count; each: u16 key length, u16 name length, key below databus/, name below bodies/.
/// Commit payload: u32 sources, u32 targets; each source: u64 word after, then Ref; each target: u64 word after, then Ref.
/// Ref: u64 seq, 16 bytes queue uuid, u8 name length, name.

// --- segments ----------------------------------------------------------------------------------------------------

/// <base16>.idx: this header, then IndexEntry[capacity].
struct IndexHeader {
  uint32_t magic, version;
  uint64_t uuid;       // seeds every crc of the .log
  uint64_t base;       // seq of entry 0
  uint32_t capacity;
  uint32_t log_bytes;
  uint64_t created_ms;
  std::atomic<uint64_t> seal;     // 0: open; else end:32 count:24 check:7 sealed:1
  std::atomic<uint64_t> punched;  // 1: finished pages may be holes, so EMPTY means DONE
  uint32_t crc, reserved;         // of the first 40 bytes
};
static_assert(sizeof(IndexHeader) == 64);
inline constexpr uint32_t index_magic = 0x31695747;  // "GWi1"

struct IndexEntry {
  std::atomic<uint64_t> word;   // check:8 state:3 failures:8 due_ms:45
  std::atomic<uint64_t> where;  // offset:32 (its low six bits are flags), length:32
};
static_assert(sizeof(IndexEntry) == 16);

enum class State : unsigned { empty = 0, staged = 1, ready = 2, deferred = 3, done = 4, void_ = 5, bad = 6 };
inline constexpr uint64_t due_mask = (1ull << 45) - 1;

inline uint8_t word_check(uint64_t low56) {
  uint64_t x = low56 * 0x9E3779B97F4A7C15ull;
  return static_cast<uint8_t>((x >> 56) ^ (x >> 32) ^ 0x5A);
}
inline uint64_t make_word(State state, unsigned failures, int64_t due_ms) {
  uint64_t due = due_ms < 0 ? 0 : static_cast<uint64_t>(due_ms);
  if (due > due_mask) due = due_mask;
  uint64_t low = (static_cast<uint64_t>(state) << 53) | (static_cast<uint64_t>(failures > 255 ? 255 : failures) << 45) | due;
  return (static_cast<uint64_t>(word_check(low)) << 56) | low;
}
inline State word_state(uint64_t w) { return static_cast<State>((w >> 53) & 7); }
inline unsigned word_failures(uint64_t w) { return static_cast<unsigned>((w >> 45) & 255); }
inline int64_t word_due(uint64_t w) { return static_cast<int64_t>(w & due_mask); }
/// The word of a message that has just been put: deferred if it has a due time.
inline uint64_t offered_word(unsigned failures, int64_t due_ms) { return make_word(due_ms > 0 ? State::deferred : State::ready, failures, due_ms); }
inline uint64_t offered_word(const PayloadHead& head) { return offered_word(word_failures(head.due_and_failures), word_due(head.due_and_failures)); }
inline PayloadHead make_payload_head(unsigned failures, int64_t due_ms, int64_t expires_at_ms) {
  return {offered_word(failures, due_ms) & ((1ull << 53) - 1), expires_at_ms};
}
inline bool word_ok(uint64_t w) {
  return w == 0 || (word_check(w & ((1ull << 56) - 1)) == (w >> 56) && word_state(w) != State::empty && (w >> 53 & 7) <= 6);
}

inline constexpr uint64_t where_body_file = 1;  // the message has names below bodies/, of its body or of blobs
inline uint64_t make_where(uint64_t offset, uint64_t length, bool body_file) {
  return offset | (body_file ? where_body_file : 0) | (length << 32);
}
inline uint32_t where_offset(uint64_t w) { return static_cast<uint32_t>(w) & ~63u; }
inline uint32_t where_length(uint64_t w) { return static_cast<uint32_t>(w >> 32); }

inline uint64_t make_seal(uint64_t end, uint64_t count) {
  uint64_t low = (count << 8) | (end << 32);
  return low | (static_cast<uint64_t>(word_check(low) & 0x7f) << 1) | 1;
}
inline bool seal_ok(uint64_t s) { return s == 0 || s == make_seal(s >> 32, (s >> 8) & 0xffffff); }
inline uint64_t seal_end(uint64_t s) { return s >> 32; }
inline uint64_t seal_count(uint64_t s) { return (s >> 8) & 0xffffff; }

/// What a group sync needs; lives in volatile shared memory.
struct SyncShared {
  std::atomic<uint64_t> durable;  // everything up to here is on disk
  std::atomic<uint32_t> gen, waiters;
  std::atomic<uint32_t> failures;  // counts failed syncs; a caller that saw it change is in doubt
  uint32_t reserved;
};

/// <base16>.v: this header, then std::atomic<uint64_t>[capacity] of claim words.
struct ClaimsHeader {
  uint64_t magic, epoch, base;
  std::atomic<uint64_t> ticket;
  SyncShared sync;
  std::atomic<int64_t> min_due_ms;     // lower bound of the due times of deferred messages here
  std::atomic<uint64_t> finished;      // DONE, VOID and BAD words (an estimate after kills)
  std::atomic<uint64_t> finished_punched;
  uint64_t reserved[6];
};
static_assert(sizeof(ClaimsHeader) == 128);
inline constexpr uint64_t claims_magic = 0x31765747;

// Claim word: incarnation:32 slot:12 gen:12 deliveries:7 leaving:1. incarnation 0: free.
inline uint64_t make_claim(uint32_t incarnation, unsigned slot, unsigned gen, unsigned deliveries, bool leaving) {
  return (static_cast<uint64_t>(incarnation) << 32) | (static_cast<uint64_t>(slot & 0xfff) << 20) |
         (static_cast<uint64_t>(gen & 0xfff) << 8) | (static_cast<uint64_t>(deliveries > 127 ? 127 : deliveries) << 1) | (leaving ? 1u : 0u);
}
inline uint32_t claim_incarnation(uint64_t c) { return static_cast<uint32_t>(c >> 32); }
inline unsigned claim_slot(uint64_t c) { return static_cast<unsigned>(c >> 20) & 0xfff; }
inline unsigned claim_gen(uint64_t c) { return static_cast<unsigned>(c >> 8) & 0xfff; }
inline unsigned claim_deliveries(uint64_t c) { return static_cast<unsigned>(c >> 1) & 127; }
inline bool claim_leaving(uint64_t c) { return c & 1; }

/// <queue>/q.v
struct QueueShared {
  uint64_t magic, epoch;
  std::atomic<uint64_t> append_end, appended;  // offsets in the tail segment's log; unequal: an appender died
  std::atomic<uint64_t> tail_base, head_base;  // 0: no segment yet
  std::atomic<uint64_t> next_seq;
  std::atomic<uint64_t> pending_seq;           // what next_seq becomes once appended is stored; above next_seq: an appender died in between
  SyncShared log;                              // log.durable: messages below this seq are on disk, so visible
  std::atomic<uint64_t> hint;                  // version:16 seq:48: nothing below is claimable at once
  std::atomic<uint64_t> claim_high;            // no claim word at or above this seq was ever taken
  std::atomic<int64_t> min_due_ms;             // lower bound over all segments
  std::atomic<uint32_t> bell, waiters;
  std::atomic<uint32_t> takes_off, puts_off;
  std::atomic<uint64_t> max_bytes;
  std::atomic<int64_t> live_bytes;
  std::atomic<int64_t> last_put_ms;
  std::atomic<uint32_t> removed;               // the queue's directory is gone
  std::atomic<uint32_t> log_broken;            // a sync of the tail's log failed: rotate before the next append
};
static_assert(sizeof(QueueShared) <= page_bytes);
inline constexpr uint64_t queue_shared_magic = 0x31715747;
inline constexpr uint64_t hint_seq_mask = (1ull << 48) - 1;

inline constexpr unsigned slot_queue_max = 20;
struct OwnerSlot {
  std::atomic<uint32_t> incarnation;  // 0: free
  std::atomic<uint32_t> pid;
  std::atomic<uint64_t> xid_high;
  std::atomic<uint64_t> oldest_open;  // xids of this owner below this are finished
  std::atomic<int64_t> since_ms;
  std::atomic<uint32_t> overflow;     // more queues than fit: recovery looks at all
  std::atomic<uint32_t> queues[slot_queue_max];  // numbers + 1 of queues where it has or had claims or staged messages
  uint32_t reserved;
};
static_assert(sizeof(OwnerSlot) == 120 || sizeof(OwnerSlot) == 128);

/// What is known of the wall clock (wall_clock.hpp).
struct ClockSlot {
  std::atomic<int64_t> offset_ms, skew_ms, settled_skew_ms;
  std::atomic<uint64_t> flags;  // 1 filled in, 2 waiting, 4 suspicious
};

/// <root>/root.v: this header, at page_bytes the slots.
struct RootShared {
  uint64_t magic, epoch;
  std::atomic<uint32_t> bell, waiters;
  std::atomic<uint64_t> next_incarnation;
  std::atomic<uint64_t> next_queue_number;
  std::atomic<uint32_t> slot_high;      // slots at or above were never used
  std::atomic<uint32_t> sweep_bodies;   // after a boot: orphans may lie in bodies/
  std::atomic<int64_t> last_reap_ms;
  // Commit log: positions count bytes over all files for ever; file = position / commit_file_bytes % commit_files.
  std::atomic<uint64_t> commit_end, commit_appended;
  std::atomic<uint64_t> commit_oldest;  // positions below are retired
  std::atomic<uint32_t> commit_broken;
  uint32_t reserved;
  SyncShared commit;
  std::atomic<int64_t> high_time_ms;     // the highest wall time seen
  std::atomic<int64_t> durable_high_ms;  // what of it stands in the file
  std::atomic<uint32_t> clock_index;     // which of the two counts; the other one is written, then this changes
  uint32_t reserved_clock;
  ClockSlot clock[2];
  std::atomic<int64_t> last_due_sweep_ms, last_orphan_sweep_ms;  // monotonic: blobs of the data bus
};
static_assert(sizeof(RootShared) <= page_bytes);
inline constexpr uint64_t root_shared_magic = 0x31725747;
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free);

/// First bytes of each commit file; frames start at frame_align.
struct CommitFileHeader {
  uint32_t magic, crc;  // crc32c of the rest
  uint64_t uuid;        // seeds the crcs of its frames; 0: retired
  uint64_t start;       // position of its first byte
};
inline constexpr uint32_t commit_magic = 0x31635747;

}  // namespace gw::queue_detail
