#include "store_drafts.hpp"

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

}  // namespace

Result<std::vector<PutOutcome>> store_drafts(Root& root, std::span<const DraftPlace> places, std::vector<Draft>& drafts) {
  std::vector<Transaction> transactions;
  std::vector<size_t> draft_of;
  std::vector<Message> keyed(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (!places[i].to) continue;
    PutOptions how = put_options(drafts[i], places[i]);
    if (drafts[i].key_id) keyed[i] = drafts[i].message;
    put_to(transactions.emplace_back(), *places[i].to, std::move(drafts[i].message), std::move(how));
    draft_of.push_back(i);
  }
  std::vector<PutOutcome> outcomes(drafts.size(), PutOutcome::stored);
  if (transactions.empty()) return outcomes;
  auto results = commit_or_hold(root, std::move(transactions));
  for (size_t k = 0; k < results.size(); ++k) {
    const size_t i = draft_of[k];
    auto one = results[k] ? Result<PutResult>(results[k]->puts.at(0)) : Result<PutResult>(std::move(results[k]).error());
    if (one && one->outcome != PutOutcome::stored && drafts[i].key_id) one = put_again(root, places[i], drafts[i], std::move(keyed[i]), *one);
    if (!one) {
      drafts[i].error = std::move(one).error();
      continue;
    }
    outcomes[i] = one->outcome;
    drafts[i].seq = one->seq;
    drafts[i].queues = {places[i].to->name()};
  }
  return outcomes;
}

Result<std::vector<PutOutcome>> store_drafts(Root& root, const Destination& to, std::vector<Draft>& drafts) {
  return store_drafts(root, std::vector<DraftPlace>(drafts.size(), DraftPlace{&to, ""}), drafts);
}

}  // namespace gw
