// Recovery of one queue: after a boot (new epoch), and after the death of an owner.
//
// Boot recovery has applied every commit record before a queue is opened by anybody else, so what is still STAGED under the
// commit log's authority was never committed.
#include <fcntl.h>
#include <string.h>

#include <climits>

#include "../diag.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

void QueueImpl::set_aside(const Segment& segment, uint64_t seq, uint64_t offset, uint64_t length, const char* why) {
  std::string name = segment_name(segment.base, "") + "-" + std::to_string(seq ? seq : offset) + ".bad";
  event(Level::error, "corrupt-record", {{"queue", name_}, {"seq", seq}, {"path", segment.shown + ".log"}, {"offset", offset}, {"bytes", length}, {"kept_as", shown("bad/" + name)}, {"reason", why}});
  if (auto made = make_dir(dir_.get(), "bad", root_.modes(), shown("bad")); !made) return;
  auto bytes = read_at(segment.log.get(), offset, length, segment.shown + ".log");
  if (!bytes) return;
  auto bad = open_beneath(dir_.get(), "bad", O_RDONLY | O_DIRECTORY, 0, shown("bad"));
  if (!bad) return;
  if (auto file = create_filled(bad->get(), name, *bytes, bytes->size(), root_.modes(), true, shown("bad/" + name)); file)
    if (auto synced = sync_file(bad->get(), shown("bad")); !synced) return;
}

void QueueImpl::walk_open_segment(Segment& segment) {
  IndexHeader& h = segment.header();
  auto log = read_at(segment.log.get(), 0, h.log_bytes, segment.shown + ".log");
  uint64_t count = 0, end = 0, gap = UINT64_MAX;
  std::set<uint64_t> seen;
  auto flush_gap = [&](uint64_t to) {
    if (gap == UINT64_MAX) return;
    std::string_view bytes(log->data() + gap, to - gap);
    // Torn frames of puts that never returned. Zeros were never written at all.
    if (bytes.find_first_not_of('\0') != std::string_view::npos) set_aside(segment, 0, gap, to - gap, "not a whole frame; its put did not return");
    gap = UINT64_MAX;
  };
  if (log) {
    for (uint64_t at = 0; at + sizeof(FrameHeader) <= log->size();) {
      auto frame = parse_frame(std::string_view(*log).substr(at), segment.crc_seed());
      bool ours = frame && frame->header.kind != FrameKind::commit && frame->header.seq >= segment.base && frame->header.seq - segment.base < h.capacity &&
                  !seen.count(frame->header.seq);
      if (!ours) {
        if (gap == UINT64_MAX) gap = at;
        at += frame_align;
        continue;
      }
      flush_gap(at);
      uint64_t seq = frame->header.seq;
      uint64_t total = (sizeof(FrameHeader) + frame->header.payload_bytes + frame_align - 1) / frame_align * frame_align;
      seen.insert(seq);
      IndexEntry& entry = segment.entry(seq);
      uint64_t word = entry.word.load();
      State state = word_ok(word) ? word_state(word) : State::bad;  // damaged: decide_words sets it aside
      entry.where.store(make_where(at, total, frame->files().any()));
      if (state == State::empty) {
        entry.word.store(frame->header.kind == FrameKind::staged ? make_word(State::staged, 0, 0) : offered_word(frame->head));
      }
      count = std::max(count, seq - segment.base + 1);
      end = at + total;
      at = end;
    }
    // The unwritten rest is zeros; a torn last frame lies in it.
    flush_gap(log->size());
  }
  for (uint64_t i = 0; i < h.capacity; i++) {
    if (seen.count(segment.base + i)) continue;
    IndexEntry& entry = segment.entry(segment.base + i);
    if (i < count) entry.word.store(make_word(State::void_, 0, 0));
    else if (entry.word.load() != 0) entry.word.store(0);
    entry.where.store(0);
  }
  h.seal.store(make_seal(end, count));
}

void QueueImpl::decide_words(Segment& segment, const Decisions* decisions) {
  for (uint64_t seq = segment.base; seq < segment.end_seq(); seq++) {
    auto& word = segment.entry(seq).word;
    uint64_t w = word.load();
    if (!word_ok(w)) {
      word.store(make_word(State::bad, 0, 0));
      set_aside(segment, seq, where_offset(segment.entry(seq).where.load()), std::min<uint64_t>(where_length(segment.entry(seq).where.load()), 1 << 20), "its index word is damaged");
      continue;
    }
    if (decisions) {
      if (auto it = decisions->targets.find(seq); it != decisions->targets.end() && word_state(w) == State::staged) word.store(w = it->second);
      // Exactly from the word before, so that an old record cannot undo what came after it; a DONE is final in any case.
      for (auto [it, last] = decisions->sources.equal_range(seq); it != last; ++it) {
        State now = word_state(w);
        bool open = now == State::ready || now == State::deferred || now == State::staged;
        if (open && (word_state(it->second.after) == State::done || it->second.before == w)) word.store(w = it->second.after);
      }
    }
    if (word_state(w) == State::staged) {
      auto decided = staged_decision(segment, seq);
      if (!decided)
        event(Level::error, "undecided", {{"queue", name_}, {"seq", seq}, {"reason", decided.error().text}});
    }
  }
}

Result<bool> QueueImpl::undecided(uint64_t seq) {
  auto segment = segment_of(seq);
  if (!segment && segment.error().code == ExitCode::no_input) return false;  // removed: it was decided
  GW_TRY(segment);
  const IndexEntry& entry = (*segment)->entry(seq);
  const State state = (*segment)->state(entry.word.load(std::memory_order_acquire));
  if (state == State::void_) return true;
  if (state != State::staged) return false;
  GW_TRY_ASSIGN(auto loaded, load(**segment, seq, entry.where.load()));
  return loaded->frame.header.authority == Authority::commit_log;
}

Result<void> QueueImpl::withdraw_id(const Frame& frame, uint64_t seq) {
  auto key = parse_extra(frame.extra);
  if (!key) return {};
  auto store = root_.dedup_store(key->store, false);
  if (!store && store.error().code == ExitCode::no_input) return {};
  GW_TRY(store);
  DedupRow row;
  row.scope = key->scope;
  row.id = key->id;
  row.xid = {frame.header.xid_high, frame.header.xid_low};
  row.queue = name_;
  row.seq = seq;
  return (*store)->withdraw({&row, 1});
}

Result<bool> QueueImpl::staged_decision(const Segment& segment, uint64_t seq) {
  auto& word = segment.entry(seq).word;
  auto loaded = load(segment, seq, segment.entry(seq).where.load());
  bool committed = false;
  PayloadHead head{};
  if (loaded && (*loaded)->frame.header.authority == Authority::dedup_store) {
    const Frame& frame = (*loaded)->frame;
    head = frame.head;
    auto key = parse_extra(frame.extra);
    if (key) {
      auto opened = root_.dedup_store(key->store, false);
      if (!opened && opened.error().code == ExitCode::no_input) {
        // Stores are made before a message is staged, so somebody removed it. Neither lost nor doubled: it stays as it is.
        event(Level::error, "undecided", {{"queue", name_}, {"seq", seq}, {"id", key->id}, {"reason", "its de-duplication store '" + key->store + "' is gone: restore the file"}});
        return false;
      }
      GW_TRY_ASSIGN(DedupStore * store, std::move(opened));
      GW_TRY_ASSIGN(auto row, store->find(key->scope, key->id));
      committed = row && row->xid == Xid{frame.header.xid_high, frame.header.xid_low} && row->seq == seq && row->queue == name_;
      // Its writer may have been killed before its sync: nobody acts on evidence that is not durable.
      if (committed) GW_TRY(store->confirm());
    }
  }
  // Of a transaction of the commit log that came to nothing: its ids are free again before its message is void.
  if (loaded && (*loaded)->frame.header.authority == Authority::commit_log && !(*loaded)->frame.extra.empty())
    GW_TRY(withdraw_id((*loaded)->frame, seq));
  uint64_t staged = make_word(State::staged, 0, 0);
  uint64_t after = committed ? offered_word(head) : make_word(State::void_, 0, 0);
  word.compare_exchange_strong(staged, after);
  return committed;
}

Result<void> QueueImpl::recover_segment(Segment& segment, const Decisions* decisions) {
  if (!segment.sealed()) walk_open_segment(segment);
  decide_words(segment, decisions);
  GW_TRY(sync_data(segment.idx.get(), segment.shown + ".idx"));
  uint64_t end = (seal_end(segment.header().seal.load()) + page_bytes - 1) / page_bytes * page_bytes;
  if (end < segment.header().log_bytes) punch_hole(segment.log.get(), end, segment.header().log_bytes - end);
  ClaimsHeader& v = segment.claims_header();
  uint64_t finished = 0;
  int64_t min_due = INT64_MAX;
  for (uint64_t seq = segment.base; seq < segment.end_seq(); seq++) {
    uint64_t word = segment.entry(seq).word.load();
    State s = segment.state(word);
    if (s == State::done || s == State::void_) finished++;
    if (s == State::deferred) min_due = std::min(min_due, word_due(word));
  }
  v.finished.store(finished);
  v.min_due_ms.store(min_due);
  return {};
}

Result<void> QueueImpl::recover(const Decisions* decisions) {
  GW_TRY_ASSIGN(MetaRecord meta, read_meta());
  {
    std::lock_guard guard(cache_mutex_);
    cache_.clear();
    cache_order_.clear();
  }
  std::set<uint64_t> with_index;
  for (uint64_t base : segment_bases()) {
    if (base < meta.removed_below)
      for (auto suffix : {".idx", ".v", ".log"}) unlinkat(dir_.get(), segment_name(base, suffix).c_str(), 0);
    else
      with_index.insert(base);
  }
  for (auto& name : list_dir(dir_.get())) {
    bool temporary = name.ends_with(".new");
    for (auto suffix : {".log", ".v"})
      if (auto base = parse_segment_name(name, suffix); base && !with_index.count(*base)) temporary = true;
    if (temporary) unlinkat(dir_.get(), name.c_str(), 0);
  }
  std::string page(page_bytes, '\0');
  auto* q = new (page.data()) QueueShared{};
  q->magic = queue_shared_magic;
  q->epoch = root_.epoch();
  uint64_t next = meta.removed_below;
  int64_t live = 0, min_due = INT64_MAX, last_put = 0;
  for (uint64_t base : with_index) {
    // The capacity is in the index header; the claims file of another epoch is replaced before the segment is opened.
    GW_TRY_ASSIGN(UniqueFd idx, open_beneath(dir_.get(), segment_name(base, ".idx"), O_RDONLY | O_NONBLOCK, 0, shown(segment_name(base, ".idx"))));
    GW_TRY_ASSIGN(std::string head, read_at(idx.get(), 0, sizeof(IndexHeader), shown(segment_name(base, ".idx"))));
    uint32_t capacity = 0;
    memcpy(&capacity, head.data() + offsetof(IndexHeader, capacity), sizeof capacity);
    if (capacity > index_capacity(segment_log_bytes_max) * 2)
      return Error{ExitCode::system, 0, "'" + shown(segment_name(base, ".idx")) + "' is damaged: move it away, then run 'queue-inspect check --repair'"};
    GW_TRY(make_claims_file(base, capacity));
    GW_TRY_ASSIGN(SegmentPtr segment, open_segment(base, true));
    GW_TRY(recover_segment(*segment, decisions));
    if (base != next && base != meta.removed_below)
      event(Level::error, "missing-segment", {{"queue", name_}, {"expected", next}, {"found", base}});
    for (uint64_t seq = base; seq < segment->end_seq(); seq++) {
      State s = segment->state(segment->entry(seq).word.load());
      uint64_t where = segment->entry(seq).where.load();
      if (s == State::done || s == State::void_ || s == State::bad) continue;
      live += where_length(where);
      if (where & where_body_file)
        if (auto loaded = load(*segment, seq, where); loaded && (*loaded)->frame.body_ref) live += static_cast<int64_t>((*loaded)->frame.body_ref->bytes);
    }
    if (segment->end_seq() > base)
      if (auto loaded = load(*segment, segment->end_seq() - 1, segment->entry(segment->end_seq() - 1).where.load())) last_put = (*loaded)->frame.header.put_at_ms;
    min_due = std::min(min_due, segment->claims_header().min_due_ms.load());
    next = segment->end_seq();
    q->tail_base.store(base);
    q->append_end.store(seal_end(segment->header().seal.load()));
    q->appended.store(q->append_end.load());
  }
  q->head_base.store(with_index.empty() ? 0 : *with_index.begin());
  q->next_seq.store(next);
  q->pending_seq.store(next);
  q->log.durable.store(next);
  q->hint.store(q->head_base.load());
  q->min_due_ms.store(min_due);
  q->takes_off.store(meta.takes_off);
  q->puts_off.store(meta.puts_off);
  q->max_bytes.store(meta.max_bytes);
  q->live_bytes.store(live);
  q->last_put_ms.store(last_put);
  unlinkat(dir_.get(), "q.v", 0);
  GW_TRY(create_filled(dir_.get(), "q.v.new", page, page_bytes, root_.modes(), false, shown("q.v")));
  return rename_at(dir_.get(), "q.v.new", "q.v", shown("q.v"));
}

// --- a dead owner ------------------------------------------------------------------------------------------------------

Result<SegmentPtr> QueueImpl::segment_of_ref(const Ref& ref) const {
  // Another queue of that name, or a segment that is gone: finished long ago. Anything else must not pass for that.
  if (ref.uuid != uuid_ || ref.seq < shared().head_base.load()) return SegmentPtr();
  auto segment = segment_of(ref.seq);
  if (!segment && segment.error().code == ExitCode::no_input) return SegmentPtr();
  return segment;
}

Result<void> QueueImpl::apply_source(const Ref& ref, uint32_t incarnation, bool ring_now) {
  auto segment = segment_of_ref(ref);
  if (!segment) return std::move(segment).error();
  if (!*segment) return {};
  uint64_t claim = (*segment)->claim(ref.seq).load(std::memory_order_acquire);
  if (claim_incarnation(claim) != incarnation || !claim_leaving(claim)) return {};  // applied already
  uint64_t before = ref.before;
  auto left = word_state(ref.after) == State::done ? files_of(**segment, ref.seq) : std::nullopt;
  if (!(*segment)->entry(ref.seq).word.compare_exchange_strong(before, ref.after, std::memory_order_acq_rel)) return {};
  if (word_state(ref.after) == State::done) {
    finished(ref.seq, *segment, left);
  } else {
    if (word_state(ref.after) == State::deferred) lower_min_due(**segment, word_due(ref.after));
    (*segment)->claim(ref.seq).compare_exchange_strong(claim, make_claim(0, 0, claim_gen(claim), claim_deliveries(claim), false));
    if (word_state(ref.after) == State::deferred) lower_min_due(**segment, word_due(ref.after));
    lower_hint(ref.seq);
  }
  if (ring_now) ring();
  return {};
}

Result<void> QueueImpl::apply_target(const Ref& ref, bool ring_now) {
  GW_TRY_ASSIGN(SegmentPtr segment, segment_of_ref(ref));
  if (segment && publish(*segment, ref.seq, ref.after) && ring_now) ring();
  return {};
}

Result<void> QueueImpl::recover_owner(uint32_t incarnation) {
  QueueShared& q = shared();
  uint64_t head = q.head_base.load();
  if (head == 0) return {};
  uint64_t high = std::min(q.claim_high.load(), q.next_seq.load()), first = UINT64_MAX;
  for (uint64_t seq = head; seq < high;) {
    auto found = segment_of(seq);
    if (!found) {
      if (uint64_t now = q.head_base.load(); now > seq) {
        seq = now;
        continue;
      }
      return std::move(found).error();
    }
    SegmentPtr segment = *found;
    uint64_t end = segment->sealed() ? std::min(high, segment->end_seq()) : high;
    for (; seq < end; seq++) {
      auto& claim = segment->claim(seq);
      uint64_t mine = claim.load(std::memory_order_acquire);
      if (claim_incarnation(mine) != incarnation) continue;
      State state = segment->state(segment->entry(seq).word.load(std::memory_order_acquire));
      if (state == State::staged) {
        auto left = files_of(*segment, seq);
        GW_TRY(staged_decision(*segment, seq));
        state = segment->state(segment->entry(seq).word.load(std::memory_order_acquire));
        if (state == State::void_) finished(seq, segment, left);
        if (state == State::staged) continue;
      } else if (state == State::done && (segment->entry(seq).where.load() & where_body_file)) {
        // It may have died between the ack and the removal of the names, or before the sync of the ack.
        GW_TRY(sync_data(segment->idx.get(), segment->shown + ".idx"));
        if (auto loaded = load(*segment, seq, segment->entry(seq).where.load()))
          root_.drop_files((*loaded)->frame.files(), (*loaded)->frame.head.expires_at_ms, true);
      }
      claim.compare_exchange_strong(mine, make_claim(0, 0, claim_gen(mine), claim_deliveries(mine), false));
      if (state == State::ready || state == State::deferred) first = std::min(first, seq);
    }
    if (!segment->sealed()) break;
  }
  // It may have died with a lower bound in its hand (due_pass), or before it lowered a hint (release, publish).
  for (uint64_t base : segment_bases())
    if (base >= head)
      if (auto segment = segment_of(base)) lower_to((*segment)->claims_header().min_due_ms, 0);
  lower_to(q.min_due_ms, 0);
  lower_hint(std::min(first, head));
  ring();
  return {};
}

Result<void> QueueImpl::sync_indexes(const std::vector<uint64_t>& seqs) {
  uint64_t synced_below = 0;
  for (uint64_t seq : seqs) {
    if (seq < synced_below || seq < shared().head_base.load()) continue;  // what is removed is durable
    auto segment = segment_of(seq);
    if (!segment) {
      if (segment.error().code == ExitCode::no_input) continue;
      return std::move(segment).error();
    }
    GW_TRY(sync_data((*segment)->idx.get(), (*segment)->shown + ".idx"));
    synced_below = (*segment)->sealed() ? (*segment)->end_seq() : UINT64_MAX;
  }
  return {};
}

}  // namespace gw::queue_detail
