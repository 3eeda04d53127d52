// Transactions. One sync of each kind serves all transactions of a call, and, through the group syncs, all other callers.
//
//   plain    one put without a key: a MSG frame; committed by the sync of the log
//   single   one ack or defer: an index word; committed by the sync of the index
//   logged   everything else: STAGED frames, claims set leaving, one commit record; committed by the sync of the commit log.
//            Keys among its puts: their rows are inserted before the record, and withdrawn if it does not come to that
//   keyed    puts that all have de-duplication keys: STAGED frames; committed by the transaction of the dedup store
#include <string.h>
#include <unistd.h>

#include "../databus.hpp"
#include "../diag.hpp"
#include "../gw_assert.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {

enum class Kind { nothing, plain, single, logged, keyed };

struct Work {
  Transaction* transaction = nullptr;
  Kind kind = Kind::nothing;
  std::optional<Error> error;
  bool in_doubt = false;  // recovery decides; leave everything as it is
  Xid xid;
  bool has_xid = false;
  CommitRecord record;
  std::vector<PutResult> puts;
  std::vector<MessageFiles> files;  // parallel to puts
  std::vector<uint64_t> seqs;  // of the appended puts, parallel to puts; 0: not appended
  std::vector<size_t> targets;  // logged: the puts in record.targets, in its order (duplicates are none)
  std::map<std::string, std::vector<DedupRow>> claimed_ids;  // logged: rows that are void if the record is not written, by store
  bool alive() const { return !error; }
  void fail(Error e) {
    if (!error) error = std::move(e);
  }
};

uint64_t word_after(const std::optional<Defer>& how, uint64_t before) {
  if (!how) return make_word(State::done, word_failures(before), 0);
  unsigned failures = word_failures(before) + (how->failed ? 1 : 0);
  return how->due_at_ms > 0 ? make_word(State::deferred, failures, how->due_at_ms) : make_word(State::ready, failures, 0);
}

/// Appends and syncs per queue.
struct QueueBatch {
  std::shared_ptr<QueueImpl> queue;
  std::vector<std::pair<Work*, size_t>> members;  // parallel to drafts
  std::vector<DraftFrame> drafts;
  QueueImpl::Appended appended;
};

}  // namespace

/// One call of commit_all.
class Committer {
 public:
  Committer(RootImpl& root, std::vector<Transaction>& transactions) : root_(root) {
    works_.resize(transactions.size());
    for (size_t i = 0; i < transactions.size(); i++) works_[i].transaction = &transactions[i];
  }
  std::vector<Result<CommitResult>> run();

 private:
  using Source = Transaction::Source;
  using Put = Transaction::Put;
  std::vector<Source>& sources(Work& w) { return w.transaction->sources_; }
  std::vector<Put>& puts(Work& w) { return w.transaction->puts_; }

  void to_root_time();
  void classify(Work& work);
  void link_files();
  Result<void> link_blobs(Work& work, size_t put);
  void build_batches();
  void append_all();
  void sync_batches();
  void leave_sources(Work& work);
  DedupRow row_of(Work& work, size_t put);
  void claim_ids(Work& work);
  void judge(Work& work, size_t put, const DedupStore::Decision& decision, const DedupRow& row);
  bool withdraw_ids(Work& work);
  bool really_there(const std::string& store, const DedupRow& row);
  void commit_singles();
  void commit_logged();
  void commit_keyed();
  void publish(Work& work);
  void give_up(Work& work);
  template <class Pred>
  std::vector<Work*> select(Pred pred) {
    std::vector<Work*> found;
    for (auto& w : works_)
      if (w.alive() && pred(w)) found.push_back(&w);
    return found;
  }

  bool space_left() {
    if (!looked_) {
      looked_ = true;
      reserve_ = root_.reserve_bytes();
      free_ = root_.free_bytes();
    }
    return free_ >= reserve_;
  }

  RootImpl& root_;
  int64_t now_ms_ = 0;  // of all rows of this call
  bool looked_ = false;
  uint64_t reserve_ = 0, free_ = 0;
  std::vector<Work> works_;
  std::map<uint32_t, QueueBatch> batches_;  // by queue number: the lock order
  std::set<std::string> dirs_;                 // of bodies/: to be synced
  std::map<std::string, std::string> copies_;  // of blobs with too many links
};

void Committer::classify(Work& work) {
  auto& from = sources(work);
  auto& into = puts(work);
  auto has_key = [](const Put& p) { return p.options.dedup.has_value(); };
  auto same_store = [&](const Put& p) { return p.options.dedup->store == into[0].options.dedup->store; };
  bool keyed = from.empty() && !into.empty() && std::all_of(into.begin(), into.end(), has_key) && std::all_of(into.begin(), into.end(), same_store);
  for (auto& p : into) work.puts.push_back({PutOutcome::stored, p.queue ? p.queue.name() : "", 0});
  work.files.resize(into.size());
  work.seqs.resize(into.size());
  if (from.size() + into.size() > transaction_targets_max)
    return work.fail({ExitCode::bad_data, 0, "a transaction of " + std::to_string(from.size() + into.size()) + " messages: at most " + std::to_string(transaction_targets_max)});
  for (auto& p : into) {
    GW_ASSERT(p.queue);
    size_t bytes = 0;
    for (auto& h : p.message.headers.entries()) bytes += h.name.size() + h.value.size();
    if (bytes > headers_bytes_max) return work.fail({ExitCode::bad_data, 0, "a message with " + human_size(bytes) + " of headers: at most " + human_size(headers_bytes_max)});
  }
  // Before anything is staged: recovery asks the store, so it must be there.
  for (auto& p : into)
    if (p.options.dedup)
      if (auto store = root_.dedup_store(p.options.dedup->store, true); !store) return work.fail(std::move(store).error());
  if (keyed) {
    work.kind = Kind::keyed;
  } else if (from.empty() && into.size() == 1) {
    work.kind = Kind::plain;
  } else if (from.size() == 1 && into.empty()) {
    work.kind = Kind::single;
  } else if (!from.empty() || !into.empty()) {
    work.kind = Kind::logged;
  }
  // Whoever moves a message frees as much as it takes: only new ones must keep the reserve.
  if (!into.empty() && from.empty() && !space_left())
    return work.fail({ExitCode::not_now, ENOSPC, "'" + root_.path() + "' has " + human_size(free_) + " free, less than the reserve of " + human_size(reserve_) + " (--min-free): nothing is stored; takes go on"});
  if (work.kind == Kind::logged || work.kind == Kind::keyed) {
    if (auto me = root_.incarnation(); !me) return work.fail(std::move(me).error());
    for (auto& p : into)
      if (auto marked = root_.mark_queue(p.queue.impl_->number()); !marked) return work.fail(std::move(marked).error());
    work.xid = root_.new_xid();
    work.has_xid = true;
  }
}

Result<void> Committer::link_blobs(Work& work, size_t i) {
  Put& put = puts(work)[i];
  std::vector<BlobRef>& blobs = work.files[i].blobs;
  for (auto& entry : put.message.headers.entries()) {
    if (attachment_name(entry.name).empty() || !blob_key_ok(entry.value)) continue;
    if (std::any_of(blobs.begin(), blobs.end(), [&](const BlobRef& b) { return b.key == entry.value; })) continue;
    GW_TRY_ASSIGN(auto blob, root_.link_blob(entry.value, *put.queue.impl_, put.options.expires_at_ms, dirs_, copies_));
    if (blob) blobs.push_back(*std::move(blob));
  }
  return {};
}

void Committer::link_files() {
  for (auto& work : works_) {
    for (size_t i = 0; i < puts(work).size() && work.alive(); i++) {
      Put& put = puts(work)[i];
      if (auto linked = link_blobs(work, i); !linked) {
        work.fail(std::move(linked).error());
        break;
      }
      Body& body = put.message.body;
      if (!body.is_file() && body.bytes().size() <= inline_body_bytes_max) continue;
      if (!body.is_file()) {
        auto file = root_.new_body_file();
        auto write = file ? write_at((*file)->fd.get(), body.bytes(), 0, (*file)->path) : Result<void>(file.error());
        if (!write) {
          work.fail(std::move(write).error());
          break;
        }
        (*file)->bytes = body.bytes().size();
        (*file)->crc = crc32c(0, body.bytes().data(), body.bytes().size());
        body = Body(*file);
      }
      if (auto ref = root_.link_body(*body.file(), *put.queue.impl_, dirs_)) work.files[i].body = *std::move(ref);
      else work.fail(std::move(ref).error());
    }
  }
  if (dirs_.empty()) return;
  if (auto synced = root_.sync_body_dirs(dirs_); !synced)
    for (auto& work : works_)
      for (auto& files : work.files)
        if (files.any()) work.fail(synced.error());
}

void Committer::build_batches() {
  for (auto& work : works_) {
    if (!work.alive()) continue;
    bool staged = work.kind != Kind::plain;
    Authority authority = work.kind == Kind::keyed ? Authority::dedup_store : staged ? Authority::commit_log : Authority::none;
    for (size_t i = 0; i < puts(work).size(); i++) {
      Put& put = puts(work)[i];
      QueueBatch& batch = batches_[put.queue.impl_->number()];
      batch.queue = put.queue.impl_;
      batch.members.emplace_back(&work, i);
      batch.drafts.push_back(draft_message(put.message, staged ? FrameKind::staged : FrameKind::message, authority, work.xid, put.options, work.files[i]));
      batch.drafts.back().header.put_at_ms = root_.to_root_time(now_ms());
    }
  }
}

void Committer::append_all() {
  for (auto& [number, batch] : batches_) {
    // A transaction that failed in an earlier queue is appended here all the same and voided; it is rare.
    batch.appended = batch.queue->append(batch.drafts);
    for (size_t k = 0; k < batch.members.size(); k++) {
      auto [work, i] = batch.members[k];
      if (k < batch.appended.seqs.size()) {
        work->seqs[i] = work->puts[i].seq = batch.appended.seqs[k];
      } else {
        work->fail(*batch.appended.error);
      }
    }
  }
}

void Committer::sync_batches() {
  constexpr size_t syncfs_above = 24;  // so many logs are synced sooner through one syncfs
  std::map<uint32_t, uint64_t> covered;
  size_t count = 0;
  for (auto& [number, batch] : batches_) count += !batch.appended.seqs.empty();
  Result<void> together;
  if (count > syncfs_above) {
    for (auto& [number, batch] : batches_) covered[number] = batch.queue->log_end().first;
    if (syncfs(root_.queues_dir()) < 0) together = Error{ExitCode::io_error, errno, "sync the file system of '" + root_.path() + "': " + strerror(errno)};
  }
  for (auto& [number, batch] : batches_) {
    if (batch.appended.seqs.empty()) continue;
    QueueShared& q = batch.queue->shared();
    if (count > syncfs_above && together && q.log.failures.load() == batch.appended.failures_seen) raise_to(q.log.durable, covered[number]);
    if (count > syncfs_above && !together) {
      q.log_broken.store(1);
      q.log.failures.fetch_add(1);
    }
    auto synced = batch.queue->sync_log(batch.appended.seqs.back(), batch.appended.failures_seen);
    bool any_plain = false;
    for (size_t k = 0; k < batch.appended.seqs.size(); k++) {
      Work& work = *batch.members[k].first;
      if (work.kind == Kind::plain) any_plain = true;
      if (!synced) work.fail(synced.error());
    }
    if (synced && any_plain) batch.queue->ring();
  }
}

void Committer::leave_sources(Work& work) {
  for (auto& source : sources(work)) {
    ClaimState& state = *source.claim.state_;
    if (!state.queue->leave(state))
      return work.fail({ExitCode::not_now, 0, "message :" + std::to_string(state.seq) + " of queue '" + state.queue->name() + "' is no longer held by this process"});
  }
}

void Committer::commit_singles() {
  struct Synced {
    SegmentPtr segment;
    std::shared_ptr<QueueImpl> queue;
    uint64_t ticket = 0;
    uint32_t failures_seen = 0;
    std::vector<std::pair<Work*, std::optional<LeftFiles>>> works;
  };
  std::map<Segment*, Synced> segments;
  for (Work* work : select([](Work& w) { return w.kind == Kind::single; })) {
    leave_sources(*work);
    if (!work->alive()) continue;
    Source& source = sources(*work)[0];
    ClaimState& state = *source.claim.state_;
    Synced& s = segments[state.segment.get()];
    if (!s.segment) {
      s.segment = state.segment;
      s.queue = state.queue;
      s.failures_seen = state.segment->claims_header().sync.failures.load();  // before the first store
    }
    auto& word = state.segment->entry(state.seq).word;
    uint64_t after = word_after(source.defer, word.load());
    if (word_state(after) == State::deferred) state.queue->lower_min_due(*state.segment, word_due(after));
    auto left = source.defer ? std::nullopt : state.queue->files_of(*state.segment, state.seq);
    word.store(after, std::memory_order_release);
    s.works.emplace_back(work, std::move(left));
  }
  for (auto& [key, s] : segments) {
    s.ticket = s.segment->claims_header().ticket.fetch_add(1, std::memory_order_acq_rel) + 1;
    auto synced = s.queue->sync_idx(*s.segment, s.ticket, s.failures_seen);
    for (auto& [work, left] : s.works) {
      Source& source = sources(*work)[0];
      ClaimState& state = *source.claim.state_;
      if (!synced) work->fail(synced.error());
      if (source.defer) {
        state.queue->release(state);
      } else {
        // Also in doubt: the word says DONE here and now; after a power loss the disk decides.
        state.held = false;
        state.queue->finished(state.seq, state.segment, left);
      }
    }
    s.queue->ring();
  }
}

DedupRow Committer::row_of(Work& work, size_t put) {
  auto& key = *puts(work)[put].options.dedup;
  return {key.scope, key.id, work.xid, work.puts[put].queue, work.seqs[put], key.body_sha256, now_ms_, key.first_sent_ms};
}

/// What the store says of one put of a logged transaction. Only new ids and true duplicates let the transaction go on.
void Committer::judge(Work& work, size_t put, const DedupStore::Decision& decision, const DedupRow& row) {
  const std::string& store = puts(work)[put].options.dedup->store;
  if (decision.inserted) {
    work.claimed_ids[store].push_back(row);
    return;
  }
  if (!decision.too_old && decision.existing.id.empty()) return;  // held back by another one of the transaction, which says why
  if (decision.too_old || decision.existing.id != row.id || decision.existing.other_body(row))
    return work.fail({ExitCode::bad_data, 0, "id '" + row.id + "' was used in queue '" + row.queue + "' for a message with another body: nothing of this transaction is stored"});
  if (decision.existing.xid != row.xid && !really_there(store, decision.existing))
    return work.fail({ExitCode::not_now, 0, "another transaction is just about to store id '" + row.id + "' in queue '" + row.queue + "': try again"});
  work.puts[put].outcome = PutOutcome::duplicate;
  work.puts[put].seq = decision.existing.seq;
}

/// Inserts the rows of a logged transaction. Until its record is written they stand for messages that nobody may see yet.
void Committer::claim_ids(Work& work) {
  std::map<std::string, std::vector<size_t>> by_store;
  for (size_t i = 0; i < puts(work).size(); i++)
    if (puts(work)[i].options.dedup) by_store[puts(work)[i].options.dedup->store].push_back(i);
  for (auto& [name, members] : by_store) {
    std::vector<DedupRow> rows;
    for (size_t i : members) rows.push_back(row_of(work, i));
    const std::vector<uint32_t> one_group(rows.size(), 0);
    auto store = root_.dedup_store(name, true);
    auto decided = store ? (*store)->decide(rows, one_group) : Result<std::vector<DedupStore::Decision>>(store.error());
    if (!decided) {
      work.in_doubt = decided.error().code == ExitCode::io_error;
      return work.fail(decided.error());
    }
    for (size_t k = 0; k < members.size(); k++) judge(work, members[k], (*decided)[k], rows[k]);
    if (!work.alive()) return;
  }
}

/// True: no row of it is left. Else recovery withdraws them, when we are gone.
bool Committer::withdraw_ids(Work& work) {
  for (auto& [name, rows] : work.claimed_ids) {
    auto store = root_.dedup_store(name, false);
    Result<void> done = store ? (*store)->withdraw(rows) : Result<void>(store.error());
    if (done) continue;
    event(Level::error, "ids-not-withdrawn", {{"store", name}, {"reason", done.error().text}});
    return false;
  }
  work.claimed_ids.clear();
  return true;
}

/// Is the message of this row there (or was it), or is it one of a logged transaction that may still come to nothing?
bool Committer::really_there(const std::string& store, const DedupRow& row) {
  if (row.xid == Xid{}) return true;  // only marked
  auto undecided = root_.undecided(row);
  if (undecided && *undecided) {
    root_.try_recover(true);  // its owner may be dead
    undecided = root_.undecided(row);
  }
  if (!undecided || *undecided) return false;
  // A row is withdrawn before its message is void: who finds the row after the message was decided knows that it was committed.
  auto opened = root_.dedup_store(store, false);
  auto again = opened ? (*opened)->find(row.scope, row.id) : Result<std::optional<DedupRow>>(opened.error());
  return again && *again && (*again)->xid == row.xid && (*again)->seq == row.seq;
}

void Committer::commit_logged() {
  auto works = select([](Work& w) { return w.kind == Kind::logged; });
  std::vector<CommitRecord> records;
  std::vector<Work*> committing;
  for (Work* work : works) {
    claim_ids(*work);
    if (work->alive()) leave_sources(*work);
    if (!work->alive()) continue;
    CommitRecord& record = work->record;
    record.xid = work->xid;
    record.incarnation = root_.incarnation().has_value() ? *root_.incarnation() : 0;
    for (auto& source : sources(*work)) {
      ClaimState& state = *source.claim.state_;
      uint64_t before = state.segment->entry(state.seq).word.load();
      record.sources.push_back({state.queue->name(), state.queue->uuid(), state.seq, before, word_after(source.defer, before)});
    }
    for (size_t i = 0; i < puts(*work).size(); i++) {
      auto& put = puts(*work)[i];
      if (work->puts[i].outcome != PutOutcome::stored) continue;
      uint64_t after = offered_word(put.options.failures, put.options.due_at_ms);
      record.targets.push_back({put.queue.name(), put.queue.impl_->uuid(), work->seqs[i], make_word(State::staged, 0, 0), after});
      work->targets.push_back(i);
    }
    records.push_back(record);
    committing.push_back(work);
  }
  if (committing.empty()) return;
  auto position = root_.append_commits(records);
  Result<void> synced = position ? root_.sync_commits(*position) : Result<void>(position.error());
  for (Work* work : committing) {
    if (synced) {
      publish(*work);
    } else {
      // Once a record may stand in the log, nobody but recovery may decide: our death makes it do so.
      work->in_doubt = true;
      synced.error().code = ExitCode::io_error;
      work->fail(synced.error());
    }
  }
}

void Committer::publish(Work& work) {
  // It is committed whatever happens now. What we cannot apply is applied by whoever recovers us: the xid stays open.
  Result<void> applied;
  std::set<QueueImpl*> changed;  // each is rung once: a ring wakes everybody who waits for the root
  for (size_t i = 0; i < work.record.targets.size(); i++) {
    QueueImpl& queue = *puts(work)[work.targets[i]].queue.impl_;
    if (auto done = queue.apply_target(work.record.targets[i], false); !done) applied = std::move(done);
    changed.insert(&queue);
  }
  for (size_t i = 0; i < work.puts.size(); i++)
    if (work.puts[i].outcome == PutOutcome::duplicate) puts(work)[i].queue.impl_->void_staged(work.seqs[i]);
  for (size_t i = 0; i < work.record.sources.size(); i++) {
    ClaimState& state = *sources(work)[i].claim.state_;
    if (auto done = state.queue->apply_source(work.record.sources[i], work.record.incarnation, false); !done) applied = std::move(done);
    changed.insert(state.queue.get());
    state.held = false;
  }
  for (QueueImpl* queue : changed) queue->ring();
  if (applied) return;
  event(Level::error, "not-applied", {{"reason", applied.error().text}});
  work.has_xid = false;
}

void Committer::commit_keyed() {
  // By store; each store decides all of its transactions at once.
  std::map<std::string, std::vector<Work*>> by_store;
  for (Work* work : select([](Work& w) { return w.kind == Kind::keyed; })) {
    by_store[puts(*work)[0].options.dedup->store].push_back(work);
  }
  std::set<QueueImpl*> changed;  // each is rung once
  for (auto& [name, works] : by_store) {
    std::vector<DedupRow> rows;
    std::vector<uint32_t> groups;
    for (uint32_t g = 0; g < works.size(); g++) {
      Work& work = *works[g];
      for (size_t i = 0; i < puts(work).size(); i++) {
        rows.push_back(row_of(work, i));
        groups.push_back(g);
      }
    }
    auto store = root_.dedup_store(name, true);
    auto decided = store ? (*store)->decide(rows, groups) : Result<std::vector<DedupStore::Decision>>(store.error());
    size_t row = 0;
    for (Work* work : works) {
      if (!decided) {
        work->in_doubt = decided.error().code == ExitCode::io_error;
        work->fail(decided.error());
        continue;
      }
      for (size_t i = 0; i < puts(*work).size(); i++, row++) {
        const auto& d = (*decided)[row];
        QueueImpl& queue = *puts(*work)[i].queue.impl_;
        PutResult& result = work->puts[i];
        if (d.inserted) {
          const PutOptions& options = puts(*work)[i].options;
          auto segment = queue.segment_of(work->seqs[i]);
          if (segment && queue.publish(**segment, work->seqs[i], offered_word(options.failures, options.due_at_ms))) changed.insert(&queue);
          if (!segment) work->has_xid = false;  // accepted; recovery publishes it when we are gone
          continue;
        }
        queue.void_staged(work->seqs[i]);
        bool same = d.existing.id == rows[row].id && !d.existing.other_body(rows[row]);
        result.outcome = d.too_old ? PutOutcome::too_old : same ? PutOutcome::duplicate : PutOutcome::conflict;
        result.seq = d.existing.seq;
        if (same && !really_there(name, d.existing))
          work->fail({ExitCode::not_now, 0, "another transaction is just about to store id '" + d.existing.id + "' in queue '" + d.existing.queue + "': try again"});
      }
    }
  }
  for (QueueImpl* queue : changed) queue->ring();
}

void Committer::give_up(Work& work) {
  if (!work.in_doubt && !withdraw_ids(work)) work.in_doubt = true;
  if (work.in_doubt) return;
  for (size_t i = 0; i < work.seqs.size(); i++)
    if (work.seqs[i] && work.kind != Kind::plain) puts(work)[i].queue.impl_->void_staged(work.seqs[i]);
  // What appended messages own went with their words; what was only linked goes now.
  for (size_t i = 0; i < work.files.size(); i++)
    if (!work.seqs[i]) root_.drop_files(work.files[i], 0, false);
  for (auto& source : sources(work)) {
    auto& state = source.claim.state_;
    if (!state || !state->held) continue;
    if (claim_leaving(state->claim)) state->queue->unleave(*state);
    state->queue->release(*state);
  }
}

/// Callers speak of the wall clock; root time is what is stored.
void Committer::to_root_time() {
  now_ms_ = root_.clock().now_ms;
  for (auto& work : works_) {
    for (auto& source : sources(work))
      if (source.defer) source.defer->due_at_ms = root_.to_root_time(source.defer->due_at_ms);
    for (auto& put : puts(work)) {
      put.options.due_at_ms = root_.to_root_time(put.options.due_at_ms);
      int64_t expires = put.options.expires_at_ms ? put.options.expires_at_ms : expires_at_ms(put.message.headers);
      put.options.expires_at_ms = root_.to_root_time(expires);
    }
  }
}

std::vector<Result<CommitResult>> Committer::run() {
  to_root_time();
  for (auto& work : works_) classify(work);
  link_files();
  build_batches();
  append_all();
  sync_batches();
  commit_singles();
  commit_logged();
  commit_keyed();
  std::vector<Result<CommitResult>> results;
  results.reserve(works_.size());
  for (auto& work : works_) {
    if (!work.alive()) give_up(work);
    if (work.has_xid && !work.in_doubt) root_.finished_xid(work.xid);
    if (work.in_doubt)
      for (auto& source : sources(work)) source.claim.state_->held = false;  // stays leaving until recovery
    if (work.alive()) results.emplace_back(CommitResult{std::move(work.puts)});
    else results.emplace_back(std::move(*work.error));
  }
  return results;
}

std::vector<Result<CommitResult>> RootImpl::commit_all(std::vector<Transaction>&& transactions) { return Committer(*this, transactions).run(); }

}  // namespace gw::queue_detail
