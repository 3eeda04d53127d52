// One queue: appending, claiming, the words of a held message, reading.
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <climits>

#include "../diag.hpp"
#include "../gw_assert.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

std::string QueueImpl::shown(const std::string& file) const {
  return root_.path() + "/queues/" + name_ + (file.empty() ? "" : "/" + file);
}

Error QueueImpl::removed_error() const { return {ExitCode::no_input, 0, "queue '" + name_ + "' was removed"}; }

Error QueueImpl::held_error(const char* what) const {
  std::string reason;
  if (auto meta = read_meta()) reason.assign(meta->hold_reason, strnlen(meta->hold_reason, sizeof meta->hold_reason));
  return {ExitCode::not_now, 0, "queue '" + name_ + "' is held: no " + what + (reason.empty() ? "" : " (" + reason + ")") + "; see 'queue-inspect release'"};
}

void QueueImpl::ring() {
  QueueShared& q = shared();
  q.bell.fetch_add(1);
  if (q.waiters.load()) futex_wake_all(q.bell);
  root_.ring();
}

// --- appending -----------------------------------------------------------------------------------------------------

Result<void> QueueImpl::repair_append(Segment& tail) {
  // An appender died between announcing and publishing. Nobody was told that its frames are there and no seq was given out:
  // they are wiped, so that the log is whole frames again before anything is written behind them.
  QueueShared& q = shared();
  uint64_t from = q.appended.load(), to = std::min<uint64_t>(q.append_end.load(), tail.header().log_bytes);
  if (to > from) GW_TRY(write_at(tail.log.get(), std::string(to - from, '\0'), from, tail.shown + ".log"));
  q.pending_seq.store(q.next_seq.load());
  q.append_end.store(from);
  return {};
}

Result<void> QueueImpl::rotate_broken(Segment& tail) {
  // A sync of this log failed. What is above the watermark was answered with "in doubt" and counts as not stored: it is voided
  // before anybody could see it, and the file gets no more frames.
  QueueShared& q = shared();
  uint64_t next = q.next_seq.load();
  for (uint64_t seq = std::max(q.log.durable.load(), tail.base); seq < next; seq++) {
    tail.entry(seq).word.store(make_word(State::void_, 0, 0), std::memory_order_release);
    tail.claim(seq).store(0);
    q.live_bytes.fetch_sub(where_length(tail.entry(seq).where.load()));
    tail.claims_header().finished.fetch_add(1);
  }
  tail.header().seal.store(make_seal(q.appended.load(), next - tail.base), std::memory_order_release);
  if (auto synced = sync_data(tail.idx.get(), tail.shown + ".idx"); !synced)
    event(Level::error, "sync-failed", {{"queue", name_}, {"path", tail.shown + ".idx"}, {"reason", synced.error().text}});
  raise_to(q.log.durable, next);
  return {};
}

Result<SegmentPtr> QueueImpl::tail_for_append() {
  QueueShared& q = shared();
  if (q.removed.load()) return removed_error();
  uint64_t base = q.tail_base.load();
  if (base == 0) return next_segment(nullptr, 0, false);
  GW_TRY_ASSIGN(SegmentPtr tail, segment_of(base));
  if (tail->base != base) {  // a leftover in the cache
    GW_TRY_ASSIGN(tail, open_segment(base, false));
  }
  if (q.append_end.load() != q.appended.load()) GW_TRY(repair_append(*tail));
  else if (q.pending_seq.load() > q.next_seq.load()) q.next_seq.store(q.pending_seq.load(), std::memory_order_release);
  if (q.log_broken.load()) {
    if (!tail->sealed()) GW_TRY(rotate_broken(*tail));
    q.log_broken.store(0);
  }
  if (tail->sealed()) return next_segment(tail, 0, false);
  return tail;
}

Result<size_t> QueueImpl::append_some(std::vector<DraftFrame>& drafts, size_t from, Appended& into) {
  QueueShared& q = shared();
  GW_TRY_ASSIGN(SegmentPtr tail, tail_for_append());
  uint64_t at = q.appended.load(), seq = q.next_seq.load();
  uint64_t max_bytes = q.max_bytes.load();
  // Kept: memory of this size that comes and goes makes malloc tidy up all of its own each time.
  thread_local std::string buffer;
  buffer.clear();
  if (buffer.capacity() > (2u << 20)) buffer.shrink_to_fit();
  size_t n = 0;
  int64_t bytes = 0;
  for (; from + n < drafts.size(); n++) {
    DraftFrame& draft = drafts[from + n];
    bool fits = at + buffer.size() + draft.total() <= tail->header().log_bytes && seq + n - tail->base < tail->capacity();
    if (!fits) {
      if (n > 0) break;
      GW_TRY_ASSIGN(tail, next_segment(tail, draft.total(), false));
      at = 0;
    }
    if (max_bytes && static_cast<uint64_t>(std::max<int64_t>(0, q.live_bytes.load() + bytes)) + draft.live_bytes > max_bytes) {
      if (n > 0) break;
      return Error{ExitCode::not_now, 0, "queue '" + name_ + "' is full: its limit of " + human_size(max_bytes) + " is reached"};
    }
    seal_frame(draft, seq + n, root_.incarnation_.load(), tail->crc_seed(), buffer);
    bytes += static_cast<int64_t>(draft.live_bytes);
    if (buffer.size() >= (1u << 20)) {
      n++;
      break;
    }
  }
  q.append_end.store(at + buffer.size());
  if (auto written = write_at(tail->log.get(), buffer, at, tail->shown + ".log"); !written) {
    if (auto wiped = repair_append(*tail); !wiped) q.log_broken.store(1);
    return std::move(written).error();
  }
  uint64_t offset = at, mine = make_claim(root_.incarnation_.load(), root_.own_slot(), 0, 0, false);
  bool any_staged = false;
  for (size_t i = 0; i < n; i++) {
    DraftFrame& draft = drafts[from + i];
    PayloadHead head;
    memcpy(&head, draft.payload.data(), sizeof head);
    bool staged = draft.header.kind == FrameKind::staged;
    any_staged |= staged;
    uint64_t word = staged ? make_word(State::staged, 0, 0) : offered_word(head);
    bool deferred = word_state(word) == State::deferred;
    if (deferred) lower_min_due(*tail, word_due(word));
    IndexEntry& entry = tail->entry(seq + i);
    tail->claim(seq + i).store(staged ? mine : 0, std::memory_order_relaxed);
    entry.where.store(make_where(offset, draft.total(), draft.body_file), std::memory_order_relaxed);
    entry.word.store(word, std::memory_order_release);
    if (deferred) lower_min_due(*tail, word_due(word));
    offset += draft.total();
    into.seqs.push_back(seq + i);
  }
  if (any_staged) raise_to(q.claim_high, seq + n);
  q.live_bytes.fetch_add(bytes);
  q.last_put_ms.store(root_.to_root_time(now_ms()), std::memory_order_relaxed);
  // `appended` publishes the frames. Whoever finds it stored and next_seq not (we were killed here) takes next_seq from pending_seq:
  // a number that stands in a whole frame is never given out again.
  q.pending_seq.store(seq + n);
  q.appended.store(at + buffer.size());
  q.next_seq.store(seq + n, std::memory_order_release);
  return n;
}

QueueImpl::Appended QueueImpl::append(std::vector<DraftFrame>& drafts) {
  QueueShared& q = shared();
  Appended result;
  if (q.puts_off.load()) {
    result.error = held_error("puts");
    return result;
  }
  append_lock_->lock();
  result.failures_seen = q.log.failures.load();  // before log_broken is looked at
  for (size_t from = 0; from < drafts.size();) {
    auto n = append_some(drafts, from, result);
    if (!n) {
      result.error = std::move(n).error();
      break;
    }
    from += *n;
  }
  append_lock_->unlock();
  return result;
}

std::pair<uint64_t, uint64_t> QueueImpl::log_end() const {
  // Everything in earlier segments was synced when they were sealed.
  QueueShared& q = shared();
  for (;;) {
    uint64_t tail = q.tail_base.load(std::memory_order_acquire);
    uint64_t end = q.next_seq.load(std::memory_order_acquire);
    if (q.tail_base.load(std::memory_order_acquire) == tail) return {end, tail};
  }
}

Result<void> QueueImpl::sync_log(uint64_t seq, uint32_t failures_seen) {
  QueueShared& q = shared();
  uint64_t tail = 0;
  auto counter = [&] {
    auto end = log_end();
    tail = end.second;
    return end.first;
  };
  auto sync = [&]() -> Result<void> {
    GW_TRY_ASSIGN(SegmentPtr segment, segment_of(tail));
    auto done = sync_data(segment->log.get(), segment->shown + ".log");
    if (!done) q.log_broken.store(1);
    return done;
  };
  return group_sync(q.log, *log_leader_, seq + 1, failures_seen, counter, sync);
}

// --- hints, due times ------------------------------------------------------------------------------------------------

void QueueImpl::lower_hint(uint64_t seq) {
  // The version goes up in any case: a scan that passed this message before it became free must not raise the hint over it.
  auto& hint = shared().hint;
  uint64_t h = hint.load();
  for (;;) {
    uint64_t low = std::min(h & hint_seq_mask, seq);
    uint64_t next = (((h >> 48) + 1) << 48) | low;
    if (hint.compare_exchange_weak(h, next)) return;
  }
}

void QueueImpl::lower_min_due(Segment& segment, int64_t due_ms) {
  lower_to(segment.claims_header().min_due_ms, due_ms);
  lower_to(shared().min_due_ms, due_ms);
}

// --- claiming ----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<QueueImpl::Loaded>> QueueImpl::load(const Segment& segment, uint64_t seq, uint64_t where) const {
  auto corrupt = [&](const std::string& why) {
    return Error{ExitCode::bad_data, 0, "message :" + std::to_string(seq) + " of queue '" + name_ + "' (" + segment.shown + ".log, offset " +
                                            std::to_string(where_offset(where)) + "): " + why};
  };
  uint64_t length = where_length(where);
  if (length < sizeof(FrameHeader) || where_offset(where) + length > segment.header().log_bytes) return corrupt("its index entry points nowhere");
  auto loaded = std::make_unique<Loaded>();
  GW_TRY_ASSIGN(loaded->buffer, read_at(segment.log.get(), where_offset(where), length, segment.shown + ".log"));
  auto frame = parse_frame(loaded->buffer, segment.crc_seed());
  if (!frame || frame->header.seq != seq || frame->header.kind == FrameKind::commit) return corrupt("its checksum is wrong");
  loaded->frame = std::move(*frame);
  return loaded;
}

Result<Message> QueueImpl::to_message(const Loaded& loaded) const {
  Message message;
  GW_TRY_ASSIGN(message.headers, decode_headers(loaded.frame.headers));
  if (loaded.frame.body_ref) {
    GW_TRY_ASSIGN(auto file, root_.open_body(*loaded.frame.body_ref));
    message.body = Body(std::move(file));
  } else {
    message.body = Body(std::string(loaded.frame.body));
  }
  return message;
}

MessageInfo QueueImpl::info_of(const Segment& segment, uint64_t seq, uint64_t word, uint64_t claim, const Frame* frame, int64_t now) const {
  MessageInfo info;
  info.seq = seq;
  State state = segment.state(word);
  bool claimed = claim_incarnation(claim) != 0;
  const bool deferred = state == State::deferred && (claimed || word_due(word) > now);
  info.state = claimed ? MessageState::claimed : deferred ? MessageState::deferred : MessageState::ready;
  if (deferred) info.due_at_ms = root_.to_wall_time(word_due(word));
  info.failures = word_failures(word);
  info.deliveries = claim_deliveries(claim);
  if (claimed) {
    OwnerSlot& slot = root_.slot(claim_slot(claim));
    if (slot.incarnation.load() == claim_incarnation(claim)) info.owner_pid = static_cast<int>(slot.pid.load());
  }
  if (frame) {
    info.put_at_ms = root_.to_wall_time(frame->header.put_at_ms);
    info.expires_at_ms = root_.to_wall_time(frame->head.expires_at_ms);
    info.body_bytes = frame->body_ref ? frame->body_ref->bytes : frame->body.size();
  }
  return info;
}

void QueueImpl::mark_bad(const Segment& segment, uint64_t seq, const std::string& why) {
  uint64_t word = segment.entry(seq).word.load();
  segment.entry(seq).word.store(make_word(State::bad, word_failures(word), 0), std::memory_order_release);
  uint64_t where = segment.entry(seq).where.load();
  set_aside(segment, seq, where_offset(where), where_length(where), why.c_str());
  // Best effort: unsynced, the next reader finds the same and says the same.
  if (auto synced = sync_data(segment.idx.get(), segment.shown + ".idx"); !synced) return;
}

std::optional<Claim> QueueImpl::try_claim(const SegmentPtr& segment, uint64_t seq, int64_t now, bool any_due, bool keep_expired) {
  auto claimable = [&](uint64_t word) {
    State s = segment->state(word);
    return s == State::ready || (s == State::deferred && (any_due || word_due(word) <= now));
  };
  auto& claim = segment->claim(seq);
  auto& entry = segment->entry(seq);
  uint64_t free = claim.load(std::memory_order_acquire);
  if (claim_incarnation(free) != 0 || !claimable(entry.word.load(std::memory_order_acquire))) return std::nullopt;
  raise_to(shared().claim_high, seq + 1);
  uint64_t mine = make_claim(root_.incarnation_.load(), root_.own_slot(), claim_gen(free) + 1, claim_deliveries(free) + 1, false);
  if (!claim.compare_exchange_strong(free, mine, std::memory_order_acq_rel)) return std::nullopt;
  uint64_t word = entry.word.load(std::memory_order_acquire);
  auto undo = [&] { claim.compare_exchange_strong(mine, make_claim(0, 0, claim_gen(mine), claim_deliveries(free), false)); };
  if (!claimable(word)) {
    undo();
    return std::nullopt;
  }
  auto loaded = load(*segment, seq, entry.where.load(std::memory_order_relaxed));
  Result<Message> message = loaded ? to_message(**loaded) : Result<Message>(loaded.error());
  if (!message) {
    mark_bad(*segment, seq, message.error().text);
    undo();
    return std::nullopt;
  }
  auto state = std::make_unique<ClaimState>();
  state->queue = shared_from_this();
  state->segment = segment;
  state->seq = seq;
  state->claim = mine;
  state->info = info_of(*segment, seq, word, mine, &(*loaded)->frame, now);
  state->message = *std::move(message);
  if (!keep_expired && root_.expired(state->info)) {
    drop_expired(*state);
    return std::nullopt;
  }
  return Claim(std::move(state));
}

bool QueueImpl::drop_expired(ClaimState& state) {
  if (!leave(state)) return false;
  event(Level::info, "expired", {{"queue", name_}, {"id", state.message.id()}, {"seq", state.seq}, {"expires_at", format_rfc3339(state.info.expires_at_ms)}});
  auto& word = state.segment->entry(state.seq).word;
  auto left = files_of(*state.segment, state.seq);
  word.store(make_word(State::done, word_failures(word.load()), 0), std::memory_order_release);
  // Not synced, because after a power loss it is expired all the same; but a body file goes only behind a durable word.
  if (state.segment->entry(state.seq).where.load() & where_body_file)
    if (auto synced = sync_data(state.segment->idx.get(), state.segment->shown + ".idx"); !synced) return false;
  state.held = false;
  finished(state.seq, state.segment, left);
  JournalLine line;
  line.event = Happened::expired;
  const std::string id = state.message.id();
  line.id = id;
  line.queue = name_;
  line.seq = state.seq;
  line.traceparent = state.message.headers.get("traceparent");
  root_.journal().add(line);
  return true;
}

Result<bool> QueueImpl::scan_ready(size_t max, int64_t now, bool keep_expired, std::vector<Claim>& into) {
  QueueShared& q = shared();
  uint64_t limit = q.log.durable.load(std::memory_order_acquire);  // before the scan: order (gw-queue(5), CLAIM)
  if (q.tail_base.load(std::memory_order_acquire) == 0) return false;
  uint64_t h = q.hint.load();
  uint64_t seq = std::max<uint64_t>(h & hint_seq_mask, q.head_base.load(std::memory_order_acquire));
  std::vector<uint64_t> passed_staged;
  bool saw_claims = false;
  SegmentPtr segment;
  while (seq < limit && into.size() < max) {
    if (!segment || (segment->sealed() && seq >= segment->end_seq()) || seq < segment->base) {
      auto found = segment_of(seq);
      if (!found) {  // removed meanwhile
        uint64_t head = q.head_base.load(std::memory_order_acquire);
        if (head <= seq) return std::move(found).error();
        seq = head;
        continue;
      }
      segment = *found;
    }
    uint64_t claim = segment->claim(seq).load(std::memory_order_acquire);
    uint64_t word = segment->entry(seq).word.load(std::memory_order_acquire);
    State state = segment->state(word);
    if (state == State::staged) passed_staged.push_back(seq);
    if (state == State::ready || (state == State::deferred && word_due(word) <= now)) {
      if (claim_incarnation(claim) != 0) {
        saw_claims = true;
      } else {
        uint64_t earlier = 0;
        for (uint64_t p : passed_staged)
          if (auto s = segment_of(p); s && (*s)->state((*s)->entry(p).word.load(std::memory_order_acquire)) != State::staged) {
            earlier = p;
            break;
          }
        if (earlier) {  // published while we scanned: it comes first
          seq = earlier;
          segment.reset();
          passed_staged.clear();
          continue;
        }
        if (auto got = try_claim(segment, seq, now, false, keep_expired)) into.push_back(std::move(*got));
      }
    } else if (claim_incarnation(claim) != 0) {
      saw_claims = true;
    }
    seq++;
  }
  // Everything up to seq is claimed, finished, or comes back with lower_hint or min_due.
  uint64_t raised = (h & ~hint_seq_mask) | std::max(seq, h & hint_seq_mask);
  if (raised != h) q.hint.compare_exchange_strong(h, raised);
  return saw_claims;
}

Result<void> QueueImpl::due_pass(size_t max, int64_t now, bool keep_expired, std::vector<Claim>& into) {
  // The bound is taken away first and put back from what was seen; a defer lowers it after its own store, so none is lost. If we
  // die in between, recovery of this owner sets it to zero.
  QueueShared& q = shared();
  q.min_due_ms.exchange(INT64_MAX);
  uint64_t limit = q.log.durable.load(std::memory_order_acquire);
  int64_t lowest = INT64_MAX;
  for (uint64_t base = q.head_base.load(std::memory_order_acquire); base && base < limit;) {
    auto found = segment_of(base);
    if (!found) break;
    SegmentPtr segment = *found;
    uint64_t end = std::min(limit, segment->sealed() ? segment->end_seq() : limit);
    auto& bound = segment->claims_header().min_due_ms;
    if (bound.load() <= now) {
      bound.exchange(INT64_MAX);
      int64_t here = INT64_MAX;
      for (uint64_t seq = segment->base; seq < end; seq++) {
        uint64_t word = segment->entry(seq).word.load(std::memory_order_acquire);
        if (segment->state(word) != State::deferred) continue;
        if (word_due(word) <= now && into.size() < max) {
          if (claim_incarnation(segment->claim(seq).load()) != 0) {
            continue;  // its holder puts a bound back when it gives it back
          }
          if (auto got = try_claim(segment, seq, now, false, keep_expired)) into.push_back(std::move(*got));
          continue;
        }
        here = std::min(here, word_due(word));
      }
      lower_to(bound, here);
      lowest = std::min(lowest, here);
    } else {
      lowest = std::min(lowest, bound.load());
    }
    if (!segment->sealed()) break;
    base = segment->end_seq();
  }
  lower_to(q.min_due_ms, lowest);
  return {};
}

Result<std::vector<Claim>> QueueImpl::claim(size_t max, bool keep_expired) {
  QueueShared& q = shared();
  if (q.removed.load()) return removed_error();  // whoever waits here would wait for ever
  if (q.takes_off.load()) return held_error("takes");
  GW_TRY(root_.incarnation());
  if (!owner_marked_.load()) {
    GW_TRY(root_.mark_queue(number_));
    owner_marked_.store(true);
  }
  std::vector<Claim> claims;
  for (int round = 0;; round++) {
    int64_t now = root_.clock_ms();
    if (now >= q.min_due_ms.load()) GW_TRY(due_pass(max, now, keep_expired, claims));
    bool saw_claims = false;
    if (claims.size() < max) {
      GW_TRY_ASSIGN(saw_claims, scan_ready(max, now, keep_expired, claims));
    }
    if (!claims.empty() || round > 0) return claims;
    int64_t tick = monotonic_ms();
    if (tick - last_full_scan_ms_.load() >= 1000) {
      // A hint is only a hint: once a second an empty-handed reader looks at everything.
      last_full_scan_ms_.store(tick);
      if ((q.hint.load() & hint_seq_mask) > q.head_base.load()) {
        lower_hint(q.head_base.load());
        GW_TRY_ASSIGN(saw_claims, scan_ready(max, now, keep_expired, claims));
        if (!claims.empty()) return claims;
      }
    }
    // Nothing free: perhaps a holder died. Not on every call: a worker that polls must not search a thousand owners each time.
    if (!saw_claims && q.claim_high.load() <= q.head_base.load()) return claims;
    if (tick - last_reap_ms_.load() < 250) return claims;
    last_reap_ms_.store(tick);
    if (!root_.try_recover(true)) return claims;
  }
}

Result<std::optional<Claim>> QueueImpl::claim_seq(uint64_t seq) {
  QueueShared& q = shared();
  GW_TRY(root_.incarnation());
  if (!owner_marked_.load()) {
    GW_TRY(root_.mark_queue(number_));
    owner_marked_.store(true);
  }
  if (seq < q.head_base.load() || seq >= q.log.durable.load()) return std::optional<Claim>();
  auto segment = segment_of(seq);
  if (!segment) {
    if (segment.error().code == ExitCode::no_input) return std::optional<Claim>();
    return std::move(segment).error();
  }
  return try_claim(*segment, seq, root_.clock_ms(), true, true);
}

// --- the words of a held message -----------------------------------------------------------------------------------------

void QueueImpl::release(ClaimState& state) {
  if (!state.held) return;
  state.held = false;
  uint64_t mine = state.claim;
  if (!state.segment->claim(state.seq).compare_exchange_strong(mine, make_claim(0, 0, claim_gen(mine), claim_deliveries(mine), false))) return;
  uint64_t word = state.segment->entry(state.seq).word.load(std::memory_order_acquire);
  if (state.segment->state(word) == State::deferred) lower_min_due(*state.segment, word_due(word));
  lower_hint(state.seq);
  ring();
}

bool QueueImpl::leave(ClaimState& state) {
  uint64_t mine = state.claim;
  if (!state.held || !state.segment->claim(state.seq).compare_exchange_strong(mine, mine | 1)) return false;
  state.claim |= 1;
  return true;
}

void QueueImpl::unleave(ClaimState& state) {
  uint64_t leaving = state.claim;
  if (state.segment->claim(state.seq).compare_exchange_strong(leaving, leaving & ~1ull)) state.claim &= ~1ull;
}

bool QueueImpl::publish(Segment& segment, uint64_t seq, uint64_t word) {
  uint64_t staged = make_word(State::staged, 0, 0);
  // The stager's claim, from before the word changes: once it is READY a recoverer may free it and a consumer take it, and
  // that consumer's claim is not ours to free. Stagers' claims have generation 0, consumers' ones do not.
  uint64_t claim = segment.claim(seq).load(std::memory_order_acquire);
  if (word_state(word) == State::deferred) lower_min_due(segment, word_due(word));
  bool published = segment.entry(seq).word.compare_exchange_strong(staged, word, std::memory_order_acq_rel);
  // Also if somebody else published it and died before this step.
  bool freed = claim_incarnation(claim) != 0 && claim_gen(claim) == 0 && claim_deliveries(claim) == 0 && (published || staged == word) &&
               segment.claim(seq).compare_exchange_strong(claim, 0, std::memory_order_acq_rel);
  if (!published && !freed) return false;
  if (word_state(word) == State::deferred) lower_min_due(segment, word_due(word));
  lower_hint(seq);
  return true;
}

void QueueImpl::void_staged(uint64_t seq) {
  auto segment = segment_of(seq);
  if (!segment) return;
  uint64_t staged = make_word(State::staged, 0, 0), claim = (*segment)->claim(seq).load(std::memory_order_acquire);
  auto left = files_of(**segment, seq);
  if (!(*segment)->entry(seq).word.compare_exchange_strong(staged, make_word(State::void_, 0, 0), std::memory_order_acq_rel)) return;
  (*segment)->claim(seq).compare_exchange_strong(claim, 0);
  finished(seq, *segment, left);
}

std::optional<LeftFiles> QueueImpl::files_of(const Segment& segment, uint64_t seq) const {
  const uint64_t where = segment.entry(seq).where.load(std::memory_order_relaxed);
  if (!(where & where_body_file)) return std::nullopt;
  auto loaded = load(segment, seq, where);
  if (!loaded) return std::nullopt;
  return LeftFiles{(*loaded)->frame.files(), (*loaded)->frame.head.expires_at_ms};
}

void QueueImpl::finished(uint64_t seq, const SegmentPtr& segment, const std::optional<LeftFiles>& left) {
  QueueShared& q = shared();
  uint64_t where = segment->entry(seq).where.load(std::memory_order_relaxed);
  int64_t bytes = where_length(where);
  if (left) {
    // The word is durable, or evidence that is durable says so: the names may go.
    // What never became a message leaves its blobs to those who stored them.
    bool done = segment->state(segment->entry(seq).word.load(std::memory_order_acquire)) == State::done;
    if (left->files.body) bytes += static_cast<int64_t>(left->files.body->bytes);
    root_.drop_files(left->files, left->expires_at_ms, done);
  }
  q.live_bytes.fetch_sub(bytes);
  uint64_t done = segment->claims_header().finished.fetch_add(1) + 1;
  uint64_t seal = segment->header().seal.load(std::memory_order_acquire);
  Result<void> kept;
  if (seal && done >= seal_count(seal) && segment->base == q.head_base.load()) {
    kept = maintain(false);
  } else if (seal) {
    const bool all = done >= seal_count(seal);
    if (all || done % std::max<uint64_t>(seal_count(seal) / 8, 64) == 0) kept = give_back(segment, all);
  } else if (uint64_t size = segment->header().log_bytes; size > 2 * segment_log_bytes_steady && size > 2 * static_cast<uint64_t>(std::max<int64_t>(0, q.live_bytes.load()))) {
    kept = maintain(false);
  }
  if (!kept) event(Level::warn, "upkeep-failed", {{"queue", name_}, {"reason", kept.error().text}});
}

Result<void> QueueImpl::sync_idx(Segment& segment, uint64_t ticket, uint32_t failures_seen) {
  ClaimsHeader& v = segment.claims_header();
  return group_sync(
      v.sync, *segment.idx_leader, ticket, failures_seen, [&] { return v.ticket.load(std::memory_order_acquire); },
      [&] { return sync_data(segment.idx.get(), segment.shown + ".idx"); });
}

// --- reading -------------------------------------------------------------------------------------------------------------

template <class Visit>
Result<void> QueueImpl::each_word(uint64_t from, Visit&& visit) const {
  QueueShared& q = shared();
  uint64_t limit = q.log.durable.load(std::memory_order_acquire);
  uint64_t seq = std::max(from, q.head_base.load(std::memory_order_acquire));
  if (seq == 0) return {};
  while (seq < limit) {
    auto found = segment_of(seq);
    if (!found) {
      uint64_t head = q.head_base.load(std::memory_order_acquire);
      if (head <= seq) return std::move(found).error();
      seq = head;
      continue;
    }
    SegmentPtr segment = *found;
    uint64_t end = std::min(limit, segment->sealed() ? segment->end_seq() : limit);
    for (; seq < end; seq++) {
      uint64_t claim = segment->claim(seq).load(std::memory_order_acquire);
      uint64_t word = segment->entry(seq).word.load(std::memory_order_acquire);
      if (!visit(segment, seq, word, claim)) return {};
    }
  }
  return {};
}

Result<void> QueueImpl::visit_words(uint64_t from, const std::function<bool(const SegmentPtr&, uint64_t, uint64_t, uint64_t)>& visit) const {
  return each_word(from, visit);
}

Result<void> QueueImpl::scan(const std::function<bool(const MessageInfo&)>& visit, uint64_t from_seq) const {
  const int64_t now = root_.clock_ms();
  return visit_words(from_seq, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t claim) {
    State state = segment->state(word);
    if (state != State::ready && state != State::deferred) return true;
    auto loaded = load(*segment, seq, segment->entry(seq).where.load(std::memory_order_relaxed));
    MessageInfo info = info_of(*segment, seq, word, claim, loaded ? &(*loaded)->frame : nullptr, now);
    return visit(info);
  });
}

Result<std::optional<std::pair<MessageInfo, Message>>> QueueImpl::read(uint64_t seq) const {
  using Found = std::optional<std::pair<MessageInfo, Message>>;
  const int64_t now = root_.clock_ms();
  if (seq < shared().head_base.load() || seq == 0 || seq >= shared().log.durable.load()) return Found();
  auto segment = segment_of(seq);
  if (!segment) {
    if (segment.error().code == ExitCode::no_input) return Found();
    return std::move(segment).error();
  }
  uint64_t claim = (*segment)->claim(seq).load(std::memory_order_acquire);
  uint64_t word = (*segment)->entry(seq).word.load(std::memory_order_acquire);
  State state = (*segment)->state(word);
  if (state != State::ready && state != State::deferred) return Found();
  auto loaded = load(**segment, seq, (*segment)->entry(seq).where.load());
  auto message = loaded ? to_message(**loaded) : Result<Message>(loaded.error());
  if (!message) {
    // Acked between our look and our open: then it is simply gone.
    if ((*segment)->state((*segment)->entry(seq).word.load(std::memory_order_acquire)) == State::done) return Found();
    return std::move(message).error();
  }
  return Found(std::in_place, info_of(**segment, seq, word, claim, &(*loaded)->frame, now), *std::move(message));
}

Result<QueueStatus> QueueImpl::count(const MetaRecord& meta, uint64_t& first_ready) const {
  const int64_t now = root_.clock_ms();
  QueueStatus status;
  status.name = name_;
  status.acks_total = meta.done_removed;
  status.failed_total = meta.failed_removed;
  status.bad = meta.bad_removed;
  first_ready = 0;
  GW_TRY(each_word(meta.removed_below, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t claim) {
    status.failed_total += word_failures(word);
    switch (segment->state(word)) {
      case State::ready:
      case State::deferred:
        if (claim_incarnation(claim) != 0) status.claimed++;
        else if (segment->state(word) == State::deferred && word_due(word) > now) status.deferred++;
        else {
          status.ready++;
          if (!first_ready) first_ready = seq;
        }
        break;
      case State::done: status.acks_total++; break;
      case State::bad: status.bad++; break;
      case State::staged:
      case State::void_:
      case State::empty: break;
    }
    return true;
  }));
  status.puts_total = status.acks_total + status.ready + status.claimed + status.deferred + status.bad;
  return status;
}

Result<QueueStatus> QueueImpl::status() const {
  QueueShared& q = shared();
  constexpr int looks_max = 5;
  uint64_t first_ready = 0;
  GW_TRY_ASSIGN(MetaRecord meta, read_meta());
  GW_TRY_ASSIGN(QueueStatus status, count(meta, first_ready));
  // Segments that were removed meanwhile are in neither count: once more.
  for (int look = 1; look < looks_max; look++) {
    GW_TRY_ASSIGN(MetaRecord now, read_meta());
    if (now.removed_below == meta.removed_below) break;
    meta = now;
    GW_TRY_ASSIGN(status, count(meta, first_ready));
  }
  if (first_ready)
    if (auto segment = segment_of(first_ready))
      if (auto loaded = load(**segment, first_ready, (*segment)->entry(first_ready).where.load())) status.oldest_put_at_ms = root_.to_wall_time((*loaded)->frame.header.put_at_ms);
  status.live_bytes = static_cast<uint64_t>(std::max<int64_t>(0, q.live_bytes.load()));
  status.disk_bytes = disk_bytes();
  status.takes_on = !meta.takes_off;
  status.puts_on = !meta.puts_off;
  status.hold_reason.assign(meta.hold_reason, strnlen(meta.hold_reason, sizeof meta.hold_reason));
  status.config = {meta.max_bytes, meta.journal != 0};
  return status;
}

Result<void> QueueImpl::visit_files(uint64_t from, const std::function<void(const Owner&, const MessageFiles&)>& visit) const {
  return visit_words(from, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t claim) {
    State state = segment->state(word);
    uint64_t where = segment->entry(seq).where.load(std::memory_order_relaxed);
    if (!(where & where_body_file) || state == State::done || state == State::void_) return true;
    bool claimed = claim_incarnation(claim) != 0 || state == State::staged;
    if (auto loaded = load(*segment, seq, where)) visit({seq, claimed, (*loaded)->frame.head.expires_at_ms}, (*loaded)->frame.files());
    return true;
  });
}

Result<void> QueueImpl::visit_headers(const std::function<void(const Headers&)>& visit) const {
  return visit_words(0, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t) {
    State state = segment->state(word);
    if (state != State::ready && state != State::deferred && state != State::staged) return true;
    auto loaded = load(*segment, seq, segment->entry(seq).where.load(std::memory_order_relaxed));
    auto headers = loaded ? decode_headers((*loaded)->frame.headers) : Result<Headers>(loaded.error());
    if (headers) visit(*headers);
    return true;
  });
}

}  // namespace gw::queue_detail
