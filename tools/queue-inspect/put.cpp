// put: the shortest way into a queue. Nothing here reads the configuration unless a queue is created or a machine is named.
#include <strings.h>

#include "commands.hpp"
#include "config.hpp"
#include "diag.hpp"
#include "support.hpp"
#include "unique_ids.hpp"

namespace gw::inspect {

namespace {

// Outboxes of other machines are filled by tools that know the map of instances; here only this machine's own name may stand.
Result<void> check_machine(const Address& address, const Root& root, const CommonOptions& common) {
  if (address.machine.empty() || strcasecmp(address.machine.c_str(), root.machine().c_str()) == 0) return {};
  GW_TRY_ASSIGN(Config config, load_config(common.config, common.config_given));
  for (const MachineConfig& machine : config.machines)
    if (strcasecmp(machine.name.c_str(), address.machine.c_str()) == 0)
      return Error{ExitCode::usage, 0, "'" + address.machine + "' is another machine: put stores in queues of this one ('" + root.machine() + "')"};
  return Error{ExitCode::usage, 0, "the following machines have not been configured: " + address.machine};
}

PutOptions put_options(const Draft& draft, const Queue& queue) {
  PutOptions options;
  options.due_at_ms = draft.due_at_ms;
  if (draft.key_id) options.dedup = DedupKey{std::string(local_dedup_store), queue.name(), draft.message.id(), draft.body_sha256, 0};
  return options;
}

// An id that is remembered longer than its caller wants does not count: it is forgotten, and the put made again.
Result<PutResult> put_again(Root& root, const Queue& queue, Draft& draft, Message&& message, const PutResult& refused) {
  PutOptions how = put_options(draft, queue);
  how.dedup->id = message.id();
  GW_TRY_ASSIGN(bool forgotten, forget_old_id(root, *how.dedup, draft.unique_for_ms));
  if (!forgotten) return refused;
  Transaction transaction;
  transaction.put(queue, std::move(message), std::move(how));
  GW_TRY_ASSIGN(CommitResult committed, root.commit(std::move(transaction)));
  return committed.puts.at(0);
}

Result<std::vector<PutOutcome>> store(Root& root, const Queue& queue, std::vector<Draft>& drafts) {
  std::vector<Transaction> transactions(drafts.size());
  std::vector<Message> keyed(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) {
    PutOptions how = put_options(drafts[i], queue);
    if (drafts[i].key_id) keyed[i] = drafts[i].message;
    transactions[i].put(queue, std::move(drafts[i].message), std::move(how));
  }
  auto results = root.commit_all(std::move(transactions));
  std::vector<PutOutcome> outcomes(drafts.size(), PutOutcome::stored);
  for (size_t i = 0; i < drafts.size(); ++i) {
    auto one = results[i] ? Result<PutResult>(results[i]->puts.at(0)) : Result<PutResult>(std::move(results[i]).error());
    if (one && one->outcome != PutOutcome::stored && drafts[i].key_id) one = put_again(root, queue, drafts[i], std::move(keyed[i]), *one);
    if (!one) {
      drafts[i].error = std::move(one).error();
      continue;
    }
    outcomes[i] = one->outcome;
    drafts[i].seq = one->seq;
    drafts[i].queues = {queue.name()};
  }
  return outcomes;
}

}  // namespace

Result<ExitCode> put(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY_ASSIGN(Address address, parse_address(options.queue));
  GW_TRY(check_queue_name(address.queue));
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(options.message, common));
  GW_TRY_ASSIGN(auto root, open_root(common, options.create));
  GW_TRY(check_machine(address, *root, common));
  auto queue = options.create ? create_configured(*root, address.queue, common) : open_queue(*root, address.queue);
  if (!queue) return std::move(queue).error();
  std::optional<EndOnSignal> end;
  if (options.message.follow) end.emplace(*root);
  return source.run(*root, "", [&](std::vector<Draft>& drafts) { return store(*root, *queue, drafts); });
}

}  // namespace gw::inspect
