// put: the shortest way into a queue. Nothing here reads the configuration unless a queue is created or a machine is named.
#include <strings.h>

#include "commands.hpp"
#include "config.hpp"
#include "diag.hpp"
#include "support.hpp"

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
  if (draft.key_id) options.dedup = DedupKey{std::string(local_dedup_store), queue.name(), draft.message.id(), draft.body_sha256};
  return options;
}

Result<std::vector<PutOutcome>> store(Root& root, const Queue& queue, std::vector<Draft>& drafts) {
  std::vector<Transaction> transactions(drafts.size());
  for (size_t i = 0; i < drafts.size(); ++i) {
    PutOptions how = put_options(drafts[i], queue);
    transactions[i].put(queue, std::move(drafts[i].message), std::move(how));
  }
  auto results = root.commit_all(std::move(transactions));
  std::vector<PutOutcome> outcomes(drafts.size(), PutOutcome::stored);
  for (size_t i = 0; i < drafts.size(); ++i) {
    if (!results[i]) {
      drafts[i].error = std::move(results[i]).error();
      continue;
    }
    const PutResult& one = results[i]->puts.at(0);
    outcomes[i] = one.outcome;
    drafts[i].seq = one.seq;
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
  return source.run(*root, "", [&](std::vector<Draft>& drafts) { return store(*root, *queue, drafts); });
}

}  // namespace gw::inspect
