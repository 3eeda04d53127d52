// Segments: creating, opening, sealing, and giving space back.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

std::string segment_name(uint64_t base, const char* suffix) {
  char name[40];
  snprintf(name, sizeof name, "%016llx%s", static_cast<unsigned long long>(base), suffix);
  return name;
}

std::optional<uint64_t> parse_segment_name(const std::string& name, const char* suffix) {
  if (name.size() != 16 + strlen(suffix) || name.compare(16, std::string::npos, suffix) != 0) return std::nullopt;
  uint64_t base = 0;
  for (size_t i = 0; i < 16; i++) {
    char c = name[i];
    if (c >= '0' && c <= '9') base = base << 4 | static_cast<uint64_t>(c - '0');
    else if (c >= 'a' && c <= 'f') base = base << 4 | static_cast<uint64_t>(c - 'a' + 10);
    else return std::nullopt;
  }
  return base;
}

// One index entry for each 256 bytes of log: smaller frames than that are rare.
uint32_t index_bytes(uint32_t log_bytes) { return std::max<uint32_t>(page_bytes, log_bytes / 16); }
uint32_t index_capacity(uint32_t log_bytes) {
  return static_cast<uint32_t>((index_bytes(log_bytes) - sizeof(IndexHeader)) / sizeof(IndexEntry));
}

Result<void> QueueImpl::make_claims_file(uint64_t base, uint32_t capacity) const {
  std::string head(sizeof(ClaimsHeader), '\0');
  auto* h = new (head.data()) ClaimsHeader{};
  h->magic = claims_magic;
  h->epoch = root_.epoch();
  h->base = base;
  std::string temporary = segment_name(base, ".v.new"), name = segment_name(base, ".v");
  unlinkat(dir_.get(), name.c_str(), 0);  // of another epoch: its space is needed on a full disk
  GW_TRY(create_filled(dir_.get(), temporary, head, sizeof(ClaimsHeader) + 8ull * capacity, root_.modes(), false, shown(temporary)));
  return rename_at(dir_.get(), temporary, name, shown(name));
}

Result<SegmentPtr> QueueImpl::create_segment(uint64_t base, uint32_t log_bytes) {
  // A leftover of an appender that was killed right here: no message is in it, tail_base never named it.
  for (auto suffix : {".idx", ".v", ".log"}) unlinkat(dir_.get(), segment_name(base, suffix).c_str(), 0);
  std::string head(sizeof(IndexHeader), '\0');
  auto* h = new (head.data()) IndexHeader{};
  h->magic = index_magic;
  h->version = format_version;
  h->uuid = random_u64();
  h->base = base;
  h->capacity = index_capacity(log_bytes);
  h->log_bytes = log_bytes;
  h->created_ms = static_cast<uint64_t>(now_ms());
  h->crc = crc32c(0, h, 40);
  std::string log = segment_name(base, ".log"), idx = segment_name(base, ".idx");
  // .idx last: a segment exists once its index has its name.
  auto make = [&]() -> Result<void> {
    GW_TRY(create_filled(dir_.get(), log + ".new", "", log_bytes, root_.modes(), true, shown(log)));
    GW_TRY(create_filled(dir_.get(), idx + ".new", head, index_bytes(log_bytes), root_.modes(), true, shown(idx), Fill::by_page));
    GW_TRY(make_claims_file(base, h->capacity));
    GW_TRY(rename_at(dir_.get(), log + ".new", log, shown(log)));
    GW_TRY(rename_at(dir_.get(), idx + ".new", idx, shown(idx)));
    return sync_file(dir_.get(), shown(""));
  };
  if (auto made = make(); !made) {
    for (auto& name : {log, log + ".new", idx, idx + ".new", segment_name(base, ".v"), segment_name(base, ".v.new")})
      unlinkat(dir_.get(), name.c_str(), 0);
    return std::move(made).error();
  }
  return open_segment(base, true);
}

Result<SegmentPtr> QueueImpl::open_segment(uint64_t base, bool) const {
  auto segment = std::make_shared<Segment>();
  segment->base = base;
  segment->shown = shown(segment_name(base, ""));
  std::string idx_path = segment->shown + ".idx";
  GW_TRY_ASSIGN(segment->idx, open_beneath(dir_.get(), segment_name(base, ".idx"), O_RDWR | O_NONBLOCK, 0, idx_path));
  GW_TRY_ASSIGN(uint64_t size, file_size(segment->idx.get(), idx_path));
  auto foreign = [&](const std::string& path) {
    return Error{ExitCode::system, 0, "'" + path + "' is not a segment of this queue: run 'queue-inspect check'"};
  };
  if (size < page_bytes || size > index_bytes(segment_log_bytes_max) * 2ull) return foreign(idx_path);
  GW_TRY_ASSIGN(segment->idx_map, Mapping::map(segment->idx.get(), size, idx_path));
  const IndexHeader& h = segment->header();
  if (h.magic != index_magic || h.crc != crc32c(0, &h, 40) || h.base != base) return foreign(idx_path);
  if (h.version != format_version)
    return Error{ExitCode::system, 0, "'" + idx_path + "' has format version " + std::to_string(h.version) + ", this program knows " + std::to_string(format_version)};
  if (sizeof(IndexHeader) + sizeof(IndexEntry) * uint64_t{h.capacity} > size || !seal_ok(h.seal.load())) return foreign(idx_path);
  GW_TRY_ASSIGN(segment->log, open_beneath(dir_.get(), segment_name(base, ".log"), O_RDWR | O_NONBLOCK, 0, segment->shown + ".log"));
  GW_TRY_ASSIGN(uint64_t log_size, file_size(segment->log.get(), segment->shown + ".log"));
  if (log_size < h.log_bytes) return foreign(segment->shown + ".log");
  GW_TRY_ASSIGN(segment->v, open_beneath(dir_.get(), segment_name(base, ".v"), O_RDWR | O_NONBLOCK, 0, segment->shown + ".v"));
  uint64_t v_bytes = sizeof(ClaimsHeader) + 8ull * h.capacity;
  GW_TRY_ASSIGN(uint64_t v_size, file_size(segment->v.get(), segment->shown + ".v"));
  if (v_size < v_bytes) return foreign(segment->shown + ".v");
  GW_TRY_ASSIGN(segment->v_map, Mapping::map(segment->v.get(), v_bytes, segment->shown + ".v"));
  if (segment->claims_header().magic != claims_magic || segment->claims_header().epoch != root_.epoch()) return foreign(segment->shown + ".v");
  segment->idx_leader = std::make_unique<FileLock>(meta_.get(), 0x100000 + static_cast<int64_t>(base));
  return segment;
}

std::vector<uint64_t> QueueImpl::segment_bases() const {
  std::vector<uint64_t> bases;
  for (auto& name : list_dir(dir_.get()))
    if (auto base = parse_segment_name(name, ".idx")) bases.push_back(*base);
  std::sort(bases.begin(), bases.end());
  return bases;
}

Result<SegmentPtr> QueueImpl::segment_of(uint64_t seq) const {
  constexpr size_t cache_max = 12;
  {
    std::lock_guard guard(cache_mutex_);
    auto it = cache_.upper_bound(seq);
    if (it != cache_.begin()) {
      auto& s = std::prev(it)->second;
      if (!s->sealed() || seq < s->end_seq()) return s;
    }
  }
  uint64_t tail = shared().tail_base.load(std::memory_order_acquire), base = tail;
  if (tail == 0) return Error{ExitCode::no_input, 0, "no message :" + std::to_string(seq) + " in queue '" + name_ + "'"};
  if (seq < tail) {
    auto bases = segment_bases();
    auto it = std::upper_bound(bases.begin(), bases.end(), seq);
    if (it == bases.begin()) return Error{ExitCode::no_input, 0, "no message :" + std::to_string(seq) + " in queue '" + name_ + "'"};
    base = *std::prev(it);
  }
  GW_TRY_ASSIGN(SegmentPtr segment, open_segment(base, false));
  if (segment->sealed() && seq >= segment->end_seq() && base != tail)
    return Error{ExitCode::no_input, 0, "no message :" + std::to_string(seq) + " in queue '" + name_ + "'"};
  std::lock_guard guard(cache_mutex_);
  if (cache_.insert_or_assign(base, segment).second) cache_order_.push_back(base);
  while (cache_order_.size() > cache_max) {
    cache_.erase(cache_order_.front());
    cache_order_.pop_front();
  }
  return segment;
}

Result<SegmentPtr> QueueImpl::segment_after(const Segment& segment) const { return segment_of(segment.end_seq()); }

uint32_t QueueImpl::next_log_bytes(uint32_t previous, uint64_t need, bool shrink) const {
  // Grow by four while a backlog builds up, and never beyond what keeps the disk below twice the live bytes.
  uint64_t live = static_cast<uint64_t>(std::max<int64_t>(0, shared().live_bytes.load()));
  uint64_t want = std::max<uint64_t>(segment_log_bytes_steady, live / 2);
  uint64_t bytes = shrink ? segment_log_bytes_min : std::min<uint64_t>(previous ? uint64_t{previous} * 4 : segment_log_bytes_min, want);
  bytes = std::clamp<uint64_t>(bytes, segment_log_bytes_min, segment_log_bytes_max);
  bytes = std::max<uint64_t>(bytes, need);
  return static_cast<uint32_t>((bytes + page_bytes - 1) / page_bytes * page_bytes);
}

Result<void> QueueImpl::seal(Segment& segment, uint64_t end, uint64_t count) {
  QueueShared& q = shared();
  if (auto done = sync_data(segment.log.get(), segment.shown + ".log"); !done) {
    q.log_broken.store(1);
    q.log.failures.fetch_add(1);
    return std::move(done).error();
  }
  raise_to(q.log.durable, segment.base + count);
  q.log.gen.fetch_add(1);
  if (q.log.waiters.load()) futex_wake_all(q.log.gen);
  segment.header().seal.store(make_seal(end, count), std::memory_order_release);
  GW_TRY(sync_data(segment.idx.get(), segment.shown + ".idx"));
  uint64_t keep = (end + page_bytes - 1) / page_bytes * page_bytes;
  if (keep < segment.header().log_bytes) punch_hole(segment.log.get(), keep, segment.header().log_bytes - keep);
  return {};
}

Result<SegmentPtr> QueueImpl::next_segment(const SegmentPtr& tail, uint64_t need, bool shrink) {
  QueueShared& q = shared();
  uint64_t base = q.next_seq.load();
  if (tail && !tail->sealed()) GW_TRY(seal(*tail, q.appended.load(), base - tail->base));
  GW_TRY_ASSIGN(SegmentPtr segment, create_segment(base, next_log_bytes(tail ? tail->header().log_bytes : 0, need, shrink)));
  q.append_end.store(0);
  q.appended.store(0);
  if (q.head_base.load() == 0) q.head_base.store(base);
  q.tail_base.store(base, std::memory_order_release);
  std::lock_guard guard(cache_mutex_);
  // An object of the same base from before a killed appender's leftover was replaced must not be found.
  if (cache_.insert_or_assign(base, segment).second) cache_order_.push_back(base);
  return segment;
}

// --- giving space back ---------------------------------------------------------------------------------------------

bool QueueImpl::finished_all(const Segment& segment) const {
  uint64_t end = segment.sealed() ? segment.end_seq() : shared().next_seq.load();
  for (uint64_t seq = segment.base; seq < end; seq++) {
    State s = segment.state(segment.entry(seq).word.load(std::memory_order_acquire));
    if (s != State::done && s != State::void_) return false;
  }
  return true;
}

void QueueImpl::punch(Segment& segment) {
  // Small holes where they are few, large ones where they would be many: some hundred a segment at most.
  const uint64_t run_min = std::clamp<uint64_t>(segment.header().log_bytes / 256, page_bytes, 64 * 1024);
  if (!segment.sealed()) return;
  uint64_t finished = segment.claims_header().finished.load(), count = seal_count(segment.header().seal.load());
  uint64_t before = segment.claims_header().finished_punched.load();
  if (finished < before + std::max<uint64_t>(1, count / 8)) return;  // little to gain
  if (!segment.claims_header().finished_punched.compare_exchange_strong(before, finished)) return;
  auto is_finished = [&](uint64_t seq) {
    State s = segment.state(segment.entry(seq).word.load(std::memory_order_acquire));
    return s == State::done || s == State::void_;
  };
  // Log: runs of finished frames, found before the sync: a word that becomes DONE behind it may not be on disk before the hole is.
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  uint64_t run_start = 0, run_end = 0;
  auto end_run = [&] {
    uint64_t from = (run_start + page_bytes - 1) / page_bytes * page_bytes, to = run_end / page_bytes * page_bytes;
    if (to > from && to - from >= run_min) runs.emplace_back(from, to - from);
  };
  for (uint64_t seq = segment.base; seq < segment.end_seq(); seq++) {
    uint64_t where = segment.entry(seq).where.load(std::memory_order_relaxed);
    if (where == 0) continue;
    if (!is_finished(seq)) {
      end_run();
      run_start = run_end = where_offset(where) + uint64_t{where_length(where)};
    } else {
      run_end = where_offset(where) + uint64_t{where_length(where)};
    }
  }
  end_run();
  if (!sync_data(segment.idx.get(), segment.shown + ".idx")) return;
  for (auto [from, bytes] : runs) punch_hole(segment.log.get(), from, bytes);
  // Index and claims: whole pages of finished words. From then on EMPTY means DONE here.
  segment.header().punched.store(1);
  if (!sync_data(segment.idx.get(), segment.shown + ".idx")) return;
  constexpr uint64_t per_page = page_bytes / sizeof(IndexEntry);
  uint64_t first = (page_bytes - sizeof(IndexHeader)) / sizeof(IndexEntry);  // entries on page 0 stay
  for (uint64_t at = first; at + per_page <= count; at += per_page) {
    bool all = true;
    // Pages with counted failures or voids stay: the totals are read from them when the segment is removed.
    for (uint64_t i = at; i < at + per_page && all; i++) {
      uint64_t word = segment.entry(segment.base + i).word.load(std::memory_order_relaxed);
      all = segment.state(word) == State::done && word_failures(word) == 0;
    }
    if (all) punch_hole(segment.idx.get(), sizeof(IndexHeader) + at * sizeof(IndexEntry), page_bytes);
  }
  constexpr uint64_t claims_per_page = page_bytes / sizeof(uint64_t);
  first = (page_bytes - sizeof(ClaimsHeader)) / sizeof(uint64_t);
  for (uint64_t at = first; at < segment.capacity(); at += claims_per_page) {
    bool all = true;
    for (uint64_t i = at; i < std::min(at + claims_per_page, count) && all; i++) all = is_finished(segment.base + i);
    if (all) punch_hole(segment.v.get(), sizeof(ClaimsHeader) + at * sizeof(uint64_t), page_bytes);
  }
}

void QueueImpl::unlink_segment(uint64_t base) {
  for (auto suffix : {".idx", ".v", ".log"}) unlinkat(dir_.get(), segment_name(base, suffix).c_str(), 0);
  std::lock_guard guard(cache_mutex_);
  cache_.erase(base);
  std::erase(cache_order_, base);
}

bool QueueImpl::tail_too_large(const Segment& tail, bool idle) const {
  uint64_t bytes = tail.header().log_bytes, live = static_cast<uint64_t>(std::max<int64_t>(0, shared().live_bytes.load()));
  if (bytes > 2 * segment_log_bytes_steady && bytes > 2 * live) return true;
  uint64_t held = shared().next_seq.load() - tail.base;
  return idle && bytes > 4 * segment_log_bytes_min && tail.claims_header().finished.load() >= held && finished_all(tail);
}

Result<void> QueueImpl::shrink_tail() {
  QueueShared& q = shared();
  if (!append_lock_->try_lock()) return {};
  Result<void> done;
  uint64_t tail_base = q.tail_base.load();
  if (auto tail = segment_of(tail_base); tail && q.append_end.load() == q.appended.load() && q.pending_seq.load() <= q.next_seq.load() &&
                                         !q.log_broken.load() && tail_too_large(**tail, true))
    if (auto next = next_segment(*tail, 0, true); !next) done = std::move(next).error();
  append_lock_->unlock();
  return done;
}

uint64_t QueueImpl::disk_bytes() const {
  uint64_t bytes = 0;
  for (auto& file : list_dir(dir_.get())) {
    struct stat st;
    if (fstatat(dir_.get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) bytes += static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return bytes;
}

Result<void> QueueImpl::give_back(const SegmentPtr& segment, bool all_finished) {
  // A punch costs two syncs, and most segments are soon gone as a whole: it is made when the promise on disk space asks for it.
  constexpr size_t looked_at_max = 64;  // with more, a look at all of them costs more than it saves, but for one look a segment
  constexpr uint64_t promised = (1u << 20) - 2 * page_bytes;
  if (!all_finished && segment_bases().size() > looked_at_max) {
    punch(*segment);
    return {};
  }
  // The live bytes count once: they contain bodies, which are live disk as well.
  if (disk_bytes() <= promised + static_cast<uint64_t>(std::max<int64_t>(0, shared().live_bytes.load()))) return {};
  return maintain(false, true);
}

Result<uint64_t> QueueImpl::remove_head(const std::vector<uint64_t>& bases, uint64_t tail_base) {
  // A segment goes as a whole when no word of it can change any more. That its words are synced is not asked for: nothing was made
  // DONE or VOID before its evidence was durable, and the lower bound in `meta` says so of all of them (gw-queue(5), REMOVE).
  GW_TRY_ASSIGN(MetaRecord meta, read_meta());
  std::vector<uint64_t> gone;
  uint64_t end = meta.removed_below;
  for (uint64_t base : bases) {
    if (base >= tail_base) break;
    if (base >= meta.removed_below) {  // else somebody was killed between the totals and the names
      GW_TRY_ASSIGN(SegmentPtr segment, open_segment(base, false));
      if (!segment->sealed() || !finished_all(*segment)) break;
      for (uint64_t seq = base; seq < segment->end_seq(); seq++) {
        uint64_t word = segment->entry(seq).word.load();
        (segment->state(word) == State::void_ ? meta.void_removed : meta.done_removed)++;
        meta.failed_removed += word_failures(word);
      }
      end = segment->end_seq();
    }
    gone.push_back(base);
  }
  if (gone.empty()) return end;
  if (end > meta.removed_below) {
    meta.removed_below = end;
    GW_TRY(write_meta(meta));
  }
  raise_to(shared().head_base, end);
  for (uint64_t base : gone) unlink_segment(base);
  GW_TRY(sync_file(dir_.get(), shown("")));
  return end;
}

Result<void> QueueImpl::maintain(bool idle, bool everything) {
  QueueShared& q = shared();
  uint64_t tail_base = q.tail_base.load();
  if (tail_base == 0 || q.removed.load()) return {};
  GW_TRY_ASSIGN(SegmentPtr tail, segment_of(tail_base));
  if (tail_too_large(*tail, idle)) GW_TRY(shrink_tail());
  if (!maintenance_lock_->try_lock()) return {};
  struct Unlock {
    FileLock* lock;
    ~Unlock() { lock->unlock(); }
  } unlock{maintenance_lock_.get()};
  auto bases = segment_bases();
  tail_base = q.tail_base.load();
  GW_TRY_ASSIGN(uint64_t head, remove_head(bases, tail_base));
  for (uint64_t base : bases) {
    if (base < head) continue;
    if (base >= tail_base) break;
    GW_TRY_ASSIGN(SegmentPtr segment, open_segment(base, false));
    punch(*segment);
    if (!everything) break;  // those behind the head were looked at when their messages were finished
  }
  return {};
}

}  // namespace gw::queue_detail
