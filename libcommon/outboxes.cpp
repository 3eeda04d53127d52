#include "outboxes.hpp"

#include <algorithm>

#include "address.hpp"
#include "outbox.hpp"

namespace gw {
namespace {

Result<Queue> queue_if_there(Root& root, const std::string& site) {
  auto queue = root.queue(outbox_of_site(site));
  if (!queue && queue.error().code == ExitCode::no_input) return Queue();
  return queue;
}

}  // namespace

Result<std::vector<Outbox>> find_outboxes(Root& root, const Config& config, const std::string& to) {
  std::vector<Outbox> outboxes;
  if (!to.empty()) {
    GW_TRY_ASSIGN(auto chosen, resolve_links(config, to));
    for (const SiteConfig* site : chosen) {
      GW_TRY_ASSIGN(Queue queue, queue_if_there(root, site->key));
      outboxes.push_back({site->key, *site, queue});
    }
    return outboxes;
  }
  for (const SiteConfig& site : config.sites) {
    GW_TRY_ASSIGN(Queue queue, queue_if_there(root, site.key));
    outboxes.push_back({site.key, site, queue});
  }
  for (const MachineConfig& machine : config.machines) {
    if (is_here({"", machine.name}, root.machine())) continue;
    GW_TRY_ASSIGN(Queue queue, queue_if_there(root, machine.link.key));
    outboxes.push_back({machine.link.key, machine.link, queue});
  }
  GW_TRY_ASSIGN(auto names, root.list_queues());
  for (const std::string& name : names) {
    const auto key = site_of_outbox(name);
    if (!key) continue;
    if (std::any_of(outboxes.begin(), outboxes.end(), [&](const Outbox& o) { return o.site == *key; })) continue;
    GW_TRY_ASSIGN(Queue queue, queue_if_there(root, *key));
    if (queue) outboxes.push_back({*key, std::nullopt, queue});
  }
  return outboxes;
}

Root::SingletonInfo forwarder_of(const Root& root, const std::string& site) {
  const Root::SingletonInfo whole = root.singleton("forward");
  return whole.pid != 0 ? whole : root.singleton(forwarder_lock(site));
}

}  // namespace gw
