#include "store_drafts.hpp"

#include <algorithm>

#include "held_sends.hpp"
#include "unique_ids.hpp"

namespace gw {
namespace {

PutOptions put_options(const Draft& draft, const DraftPlace& place) {
  PutOptions options;
  options.due_at_ms = draft.due_at_ms;
  if (draft.key_id)
    options.dedup = DedupKey{std::string(local_dedup_store), place.scope.empty() ? place.to->name() : place.scope, draft.message.id(), draft.body_sha256, 0};
  return options;
}

// An id that is remembered longer than its caller wants does not count: it is forgotten, and the put made again.
Result<PutResult> put_again(Root& root, const DraftPlace& place, Draft& draft, Message&& message, const PutResult& refused) {
  PutOptions how = put_options(draft, place);
  how.dedup->id = message.id();
  GW_TRY_ASSIGN(bool forgotten, forget_old_id(root, *how.dedup, draft.unique_for_ms));
  if (!forgotten) return refused;
  Transaction transaction;
  put_to(transaction, *place.to, std::move(message), std::move(how));
  GW_TRY_ASSIGN(CommitResult committed, root.commit(std::move(transaction)));
  return committed.puts.at(0);
}

// A refusal of one copy is that of all, for then none is stored; a draft of which any copy is new is stored.
PutOutcome outcome_of(const std::vector<PutResult>& puts) {
  for (PutOutcome outcome : {PutOutcome::conflict, PutOutcome::too_old, PutOutcome::stored})
    if (std::any_of(puts.begin(), puts.end(), [&](const PutResult& put) { return put.outcome == outcome; })) return outcome;
  return PutOutcome::duplicate;
}

}  // namespace

std::vector<PutOutcome> commit_drafts(Root& root, std::vector<Draft>& drafts, const std::function<Result<void>(size_t, Transaction&)>& fill,
                                      const std::function<void(size_t, const CommitResult&, PutOutcome&)>& take) {
  std::vector<Transaction> transactions;
  std::vector<size_t> draft_of;
  for (size_t i = 0; i < drafts.size(); ++i) {
    auto filled = fill(i, transactions.emplace_back());
    if (!filled) drafts[i].error = std::move(filled).error();
    if (filled && !transactions.back().empty()) draft_of.push_back(i);
    else transactions.pop_back();
  }
  std::vector<PutOutcome> outcomes(drafts.size(), PutOutcome::stored);
  if (transactions.empty()) return outcomes;
  auto results = commit_or_hold(root, std::move(transactions));
  for (size_t k = 0; k < results.size(); ++k) {
    const size_t i = draft_of[k];
    if (!results[k]) {
      drafts[i].error = std::move(results[k]).error();
      continue;
    }
    outcomes[i] = outcome_of(results[k]->puts);
    if (take) take(i, *results[k], outcomes[i]);
  }
  return outcomes;
}

Result<std::vector<PutOutcome>> store_drafts(Root& root, std::span<const DraftPlace> places, std::vector<Draft>& drafts) {
  std::vector<Message> keyed(drafts.size());
  auto fill = [&](size_t i, Transaction& transaction) -> Result<void> {
    if (!places[i].to) return {};
    PutOptions how = put_options(drafts[i], places[i]);
    if (drafts[i].key_id) keyed[i] = drafts[i].message;
    put_to(transaction, *places[i].to, std::move(drafts[i].message), std::move(how));
    return {};
  };
  auto take = [&](size_t i, const CommitResult& committed, PutOutcome& outcome) {
    Result<PutResult> one = committed.puts.at(0);
    if (one->outcome != PutOutcome::stored && drafts[i].key_id) one = put_again(root, places[i], drafts[i], std::move(keyed[i]), *one);
    if (!one) {
      drafts[i].error = std::move(one).error();
      return;
    }
    outcome = one->outcome;
    drafts[i].seq = one->seq;
    drafts[i].queues = {places[i].to->name()};
  };
  return commit_drafts(root, drafts, fill, take);
}

Result<std::vector<PutOutcome>> store_drafts(Root& root, const Destination& to, std::vector<Draft>& drafts) {
  return store_drafts(root, std::vector<DraftPlace>(drafts.size(), DraftPlace{&to, ""}), drafts);
}

}  // namespace gw
