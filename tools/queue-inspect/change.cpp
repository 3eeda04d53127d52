// move and purge: what leaves a queue by selection.
#include "commands.hpp"
#include "diag.hpp"
#include "outbox.hpp"
#include "outcome_store.hpp"
#include "put_notes.hpp"
#include "support.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t batch_messages = 64;

// What one command does to each message, and what it tells of it.
struct Change {
  const char* done;     ///< "moved"
  const char* planned;  ///< "would-move"
  std::string to;       ///< the queue it went to; empty: none
  Happened happened;    ///< for the journal
  /// Adds what is to happen to the claimed message. `before` is what was known when it was selected.
  std::function<void(Transaction&, Claim&&, const MessageInfo& before)> apply;
  /// Called with the claims of a batch before it is committed.
  std::function<Result<void>(const std::vector<Claim>&)> before_commit;
};

struct Counts {
  uint64_t done = 0, skipped = 0;
  std::optional<Error> error;
};

void tell(const Change& change, const std::string& id, uint64_t seq, const char* result, const CommonOptions& common, bool listed) {
  if (common.json) {
    JsonObject object;
    object.add("id", id).add("seq", seq).add("result", result);
    if (!change.to.empty()) object.add("to", change.to);
    out(object.str() + "\n");
  } else if (listed) {
    out((id.empty() ? ":" + std::to_string(seq) : id) + "\t" + result + (change.to.empty() ? "" : "\t" + change.to) + "\n");
  }
}

// One batch: claims what is still there, commits each message on its own with shared syncs.
Result<void> change_batch(Root& root, Queue& queue, std::span<const Selected> batch, const Change& change, const CommonOptions& common, Counts& counts) {
  std::vector<Claim> claims;
  std::vector<const MessageInfo*> infos;
  for (const Selected& one : batch) {
    GW_TRY_ASSIGN(auto claim, queue.claim_seq(one.info.seq));
    if (!claim) {
      ++counts.skipped;
      tell(change, "", one.info.seq, "skipped", common, !common.quiet);
      continue;
    }
    claims.push_back(std::move(*claim));
    infos.push_back(&one.info);
  }
  if (change.before_commit) GW_TRY(change.before_commit(claims));
  std::vector<Transaction> transactions(claims.size());
  std::vector<PutNote> notes;
  for (size_t i = 0; i < claims.size(); ++i) {
    notes.push_back(note_put(queue, claims[i].message()));
    change.apply(transactions[i], std::move(claims[i]), *infos[i]);
  }
  auto results = root.commit_all(std::move(transactions));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) {
      if (!counts.error) counts.error = std::move(results[i]).error();
      continue;
    }
    ++counts.done;
    tell(change, notes[i].id, infos[i]->seq, change.done, common, common.verbose);
    JournalLine line = notes[i].line(change.happened, results[i]->puts.empty() ? infos[i]->seq : results[i]->puts[0].seq);
    line.to = change.to;
    root.journal().add(line);
  }
  root.journal().write();
  if (counts.error) return *counts.error;
  return {};
}

Result<ExitCode> plan(const Queue& queue, Selection& selection, const Change& change, const CommonOptions& common) {
  bool any = false;
  GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    bool claimed = one.info.state == MessageState::claimed;
    tell(change, one.message->id(), one.info.seq, claimed ? "would-skip" : change.planned, common, true);
    any = true;
    return true;
  }));
  return report_missing(selection, queue.name(), any);
}

Result<ExitCode> run(Root& root, Queue& queue, Selection& selection, const Change& change, const CommonOptions& common) {
  if (common.dry_run) return plan(queue, selection, change, common);
  GW_TRY_ASSIGN(auto chosen, select_messages(queue, selection));
  Counts counts;
  Result<void> ended;
  {
    Progress progress(change.done, chosen.size(), common.quiet || common.json ? Progress::Show::never : Progress::Show::if_terminal);
    for (size_t at = 0; at < chosen.size() && ended; at += batch_messages) {
      size_t count = std::min(batch_messages, chosen.size() - at);
      ended = change_batch(root, queue, std::span(chosen).subspan(at, count), change, common, counts);
      progress.add(count);
    }
  }
  event(Level::info, change.done, {{"queue", queue.name()}, {"count", counts.done}, {"skipped", counts.skipped}});
  if (!ended) return std::move(ended).error();
  ExitCode missing = report_missing(selection, queue.name(), !chosen.empty());
  return missing != ExitCode::ok ? missing : counts.skipped > 0 ? ExitCode::no : ExitCode::ok;
}

// Whoever waits for a message to arrive at its site must learn that it never will.
Result<void> record_purged(Root& root, const std::string& site, const std::vector<Claim>& claims) {
  std::vector<Outcome> outcomes;
  for (const Claim& claim : claims) {
    Outcome one;
    one.id = claim.message().id();
    one.site = site;
    one.state = OutcomeState::purged;
    one.since_ms = now_ms();
    one.attempts = claim.info().failures;
    one.reason = "removed by 'queue-inspect purge'";
    outcomes.push_back(std::move(one));
  }
  GW_TRY_ASSIGN(auto store, OutcomeStore::open(root.path(), true));
  return store->record(root.clock(), outcomes);
}

}  // namespace

Result<ExitCode> move(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "SRC"));
  GW_TRY(require(options.target, "DST"));
  GW_TRY(require_selection(options.selection));
  if (options.queue == options.target) return Error{ExitCode::usage, 0, "SRC and DST are the same queue '" + options.queue + "'"};
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue source, open_settled_queue(*root, options.queue));
  GW_TRY_ASSIGN(Queue target, open_settled_queue(*root, options.target));
  Change change{"moved", "would-move", target.name(), Happened::moved, {}, {}};
  change.apply = [&target](Transaction& transaction, Claim&& claim, const MessageInfo& before) {
    PutOptions how;
    how.due_at_ms = before.state == MessageState::deferred ? before.due_at_ms : 0;
    how.expires_at_ms = before.expires_at_ms;
    transaction.put(target, claim.message(), how);
    transaction.ack(std::move(claim));
  };
  return run(*root, source, selection, change, common);
}

Result<ExitCode> purge(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(require_selection(options.selection));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  Change change{"purged", "would-purge", "", Happened::purged, {}, {}};
  change.apply = [](Transaction& transaction, Claim&& claim, const MessageInfo&) { transaction.ack(std::move(claim)); };
  if (auto site = site_of_outbox(queue.name()))
    change.before_commit = [&root, site](const std::vector<Claim>& claims) { return record_purged(*root, *site, claims); };
  return run(*root, queue, selection, change, common);
}

}  // namespace gw::inspect
