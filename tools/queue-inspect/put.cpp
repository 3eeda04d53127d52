// put: the shortest way into a queue. Nothing here reads the configuration unless a queue is created or another machine is named.
#include "address.hpp"
#include "commands.hpp"
#include "config_names.hpp"
#include "diag.hpp"
#include "held_sends.hpp"
#include "store_drafts.hpp"
#include "support.hpp"

namespace gw::inspect {

namespace {

/// Where the messages enter. With --create a queue of this machine is made; what other machines have is theirs.
Result<Destination> open_destination(Root& root, const Address& address, bool create, const CommonOptions& common) {
  if (!is_here(address, root.machine())) return Destinations(root, common.config, common.config_given).find(address);
  Destination here;
  auto queue = create ? create_configured(root, address.queue, common) : open_queue(root, address.queue);
  if (!queue) return std::move(queue).error();
  here.queue = *std::move(queue);
  return here;
}

/// What waits for another machine goes nowhere by itself.
void hint_at_forwarder(const Root& root, const Destination& to, const CommonOptions& common) {
  if (to.machine.empty() || common.quiet || inside_handler()) return;
  if (root.singleton("forward").pid != 0 || root.singleton(forwarder_lock(key_of_machine(to.machine))).pid != 0) return;
  event(Level::warn, "no-forwarder", {{"hint", "nobody forwards the messages of this root; start 'gw-send forward --root " + common.root + "'"}});
}

}  // namespace

Result<ExitCode> put(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY_ASSIGN(Address address, parse_address(options.queue));
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(options.message, common));
  GW_TRY_ASSIGN(auto root, open_root(common, options.create));
  GW_TRY_ASSIGN(Destination to, open_destination(*root, address, options.create, common));
  hint_at_forwarder(*root, to, common);
  std::optional<EndOnSignal> end;
  if (options.message.follow) end.emplace(*root);
  return source.run(*root, "", [&](std::vector<Draft>& drafts) { return store_drafts(*root, to, drafts); });
}

}  // namespace gw::inspect
