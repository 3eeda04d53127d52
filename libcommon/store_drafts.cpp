#include "store_drafts.hpp"

#include "held_sends.hpp"
#include "unique_ids.hpp"

namespace gw {
namespace {

PutOptions put_options(const Draft& draft, const Destination& to) {
  PutOptions options;
  options.due_at_ms = draft.due_at_ms;
  if (draft.key_id) options.dedup = DedupKey{std::string(local_dedup_store), to.name(), draft.message.id(), draft.body_sha256, 0};
  return options;
}

// An id that is remembered longer than its caller wants does not count: it is forgotten, and the put made again.
Result<PutResult> put_again(Root& root, const Destination& to, Draft& draft, Message&& message, const PutResult& refused) {
  PutOptions how = put_options(draft, to);
  how.dedup->id = message.id();
  GW_TRY_ASSIGN(bool forgotten, forget_old_id(root, *how.dedup, draft.unique_for_ms));
  if (!forgotten) return refused;
  Transaction transaction;
  put_to(transaction, to, std::move(message), std::move(how));
  GW_TRY_ASSIGN(CommitResult committed, root.commit(std::move(transaction)));
  return committed.puts.at(0);
}

}  // namespace

Result<std::vector<PutOutcome>> store_drafts(Root& root, const Destination& to, std::vector<Draft>& drafts) {
  std::vector<Transaction> transactions(drafts.size());
  std::vector<Message> keyed(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) {
    PutOptions how = put_options(drafts[i], to);
    if (drafts[i].key_id) keyed[i] = drafts[i].message;
    put_to(transactions[i], to, std::move(drafts[i].message), std::move(how));
  }
  auto results = commit_or_hold(root, std::move(transactions));
  std::vector<PutOutcome> outcomes(drafts.size(), PutOutcome::stored);
  for (size_t i = 0; i < drafts.size(); ++i) {
    auto one = results[i] ? Result<PutResult>(results[i]->puts.at(0)) : Result<PutResult>(std::move(results[i]).error());
    if (one && one->outcome != PutOutcome::stored && drafts[i].key_id) one = put_again(root, to, drafts[i], std::move(keyed[i]), *one);
    if (!one) {
      drafts[i].error = std::move(one).error();
      continue;
    }
    outcomes[i] = one->outcome;
    drafts[i].seq = one->seq;
    drafts[i].queues = {to.name()};
  }
  return outcomes;
}

}  // namespace gw
