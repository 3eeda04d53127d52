// move and purge: what leaves a queue by selection.
#include "commands.hpp"
#include "diag.hpp"
#include "outbox_outcomes.hpp"
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
  std::string why;      ///< for those who wait for the message at a site
};

struct Counts {
  uint64_t done = 0, skipped = 0;
  std::optional<Error> error;
};

// One batch: claims what is still there, commits each message on its own with shared syncs.
Result<void> change_batch(Root& root, Queue& queue, std::span<const Selected> batch, const Change& change, OutboxOutcomes& outcomes,
                          const CommonOptions& common, Counts& counts) {
  std::vector<Claim> claims;
  std::vector<const MessageInfo*> infos;
  for (const Selected& one : batch) {
    GW_TRY_ASSIGN(auto claim, queue.claim_seq(one.info.seq));
    if (!claim) {
      ++counts.skipped;
      if (common.quiet && !common.json) continue;
      auto found = queue.read(one.info.seq);  // it is there, if it is only claimed
      print_result(found && *found ? (*found)->second.id() : "", one.info.seq, "skipped", change.to, common);
      continue;
    }
    claims.push_back(std::move(*claim));
    infos.push_back(&one.info);
  }
  // What a held queue is going to refuse keeps the outcome that it has.
  const auto target = change.to.empty() ? Result<Queue>(queue) : root.queue(change.to);
  const bool refused = target && !change.to.empty() && !target->puts_on();
  for (const Claim& claim : claims) {
    if (refused) break;
    outcomes.leaves(queue.name(), claim.message().id(), claim.info().failures, change.why);
    outcomes.enters(change.to, claim.message().id(), claim.info().failures, change.why);
  }
  GW_TRY(outcomes.record());
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
    if (common.json || common.verbose) print_result(notes[i].id, infos[i]->seq, change.done, change.to, common);
    JournalLine line = notes[i].line(change.happened, results[i]->puts.empty() ? infos[i]->seq : results[i]->puts[0].seq);
    line.to = change.to;
    root.journal().add(line);
  }
  root.journal().write();
  if (counts.error) return *counts.error;
  return {};
}

Result<ExitCode> plan(const Queue& queue, Selection& selection, const Change& change, const CommonOptions& common) {
  GW_TRY_ASSIGN(Planned planned, print_plan(queue, selection, change.planned, change.to, common));
  const ExitCode missing = report_missing(selection, queue.name(), planned.any());
  return missing != ExitCode::ok ? missing : planned.skipped > 0 ? ExitCode::no : ExitCode::ok;
}

Result<ExitCode> run(Root& root, Queue& queue, Selection& selection, const Change& change, const CommonOptions& common) {
  if (common.dry_run) return plan(queue, selection, change, common);
  GW_TRY_ASSIGN(auto chosen, select_messages(queue, selection));
  Counts counts;
  OutboxOutcomes outcomes(root);
  Result<void> ended;
  {
    Progress progress(change.done, chosen.size(), common.quiet || common.json ? Progress::Show::never : Progress::Show::if_terminal);
    for (size_t at = 0; at < chosen.size() && ended; at += batch_messages) {
      size_t count = std::min(batch_messages, chosen.size() - at);
      ended = change_batch(root, queue, std::span(chosen).subspan(at, count), change, outcomes, common, counts);
      progress.add(count);
    }
  }
  event(counts.skipped > 0 ? Level::info : Level::debug, change.done, {{"queue", queue.name()}, {"count", counts.done}, {"skipped", counts.skipped}});
  if (!ended) return std::move(ended).error();
  ExitCode missing = report_missing(selection, queue.name(), !chosen.empty());
  return missing != ExitCode::ok ? missing : counts.skipped > 0 ? ExitCode::no : ExitCode::ok;
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
  Change change{"moved", "would-move", target.name(), Happened::moved, {}, "moved to '" + target.name() + "' by 'queue-inspect move'"};
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
  Change change{"purged", "would-purge", "", Happened::purged, {}, "removed by 'queue-inspect purge'"};
  change.apply = [](Transaction& transaction, Claim&& claim, const MessageInfo&) { transaction.ack(std::move(claim)); };
  return run(*root, queue, selection, change, common);
}

}  // namespace gw::inspect
