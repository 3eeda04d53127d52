// put: the shortest way into a queue. Nothing here reads the configuration unless a queue is created or a machine is named.
#include <strings.h>

#include "commands.hpp"
#include "config.hpp"
#include "diag.hpp"
#include "store_drafts.hpp"
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
  return source.run(*root, "", [&](std::vector<Draft>& drafts) { return store_drafts(*root, *queue, drafts); });
}

}  // namespace gw::inspect
