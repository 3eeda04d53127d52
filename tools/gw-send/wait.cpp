#include <algorithm>
#include <optional>

#include "commands.hpp"
#include "outbox.hpp"
#include "units.hpp"
#include "watch.hpp"

namespace gw {
namespace {

/// `ID` of the first of these messages that lies in a gateway queue; it is in no outbox then.
Result<std::optional<std::string>> find_in_gateway_queues(Root& root, const std::vector<std::string>& ids) {
  GW_TRY_ASSIGN(auto names, root.list_queues());
  std::optional<std::string> found;
  for (const std::string& name : names) {
    if (!is_gateway_queue(name)) continue;
    auto queue = root.queue(name);
    if (!queue) continue;  // removed meanwhile
    GW_TRY(queue->scan([&](const MessageInfo& info) {
      auto message = queue->read(info.seq);
      if (message && *message && std::find(ids.begin(), ids.end(), (*message)->second.id()) != ids.end()) found = (*message)->second.id();
      return !found;
    }));
    if (found) break;
  }
  return found;
}

/// A reply has no site before a forwarder has taken it out of its gateway queue.
Result<void> wait_for_forwarder(Root& root, const std::vector<std::string>& ids, int64_t timeout_ms) {
  const int64_t began = monotonic_ms();
  for (;;) {
    const uint32_t seen = root.bell();
    GW_TRY_ASSIGN(auto found, find_in_gateway_queues(root, ids));
    if (!found) return {};
    const int64_t passed = monotonic_ms() - began;
    if (passed >= timeout_ms)
      return Error{ExitCode::not_now, 0, "message '" + *found + "' waits in a gateway queue for 'gw-send forward' to take it to its site"};
    root.wait(seen, std::min<int64_t>(timeout_ms - passed, 1000));
  }
}

}  // namespace

Result<ExitCode> wait_for(const WaitOptions& options, const CommonOptions& common) {
  if (options.wanted != "delivered")
    return Error{ExitCode::usage, 0, "'" + options.wanted + "' is not a value of --for: expected delivered"};
  if (options.ids.empty()) return Error{ExitCode::usage, 0, "ID is required: which messages to wait for"};
  int64_t timeout_ms = INT64_MAX;
  if (!options.timeout.empty()) {
    const auto given = parse_duration_ms(options.timeout);
    if (!given) return Error{ExitCode::usage, 0, "'" + options.timeout + "' is not a value of --timeout: expected a duration like 10s or 5m"};
    timeout_ms = *given;
  }
  GW_TRY_ASSIGN(Config config, load_config_with_sites(common.config, common.config_given, options.sites));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  const int64_t began = monotonic_ms();
  GW_TRY(wait_for_forwarder(*root, options.ids, timeout_ms));
  if (timeout_ms != INT64_MAX) timeout_ms = std::max<int64_t>(timeout_ms - (monotonic_ms() - began), 0);
  GW_TRY_ASSIGN(auto outboxes, find_outboxes(*root, config, options.to));
  Watch watch(*root);
  GW_TRY(watch.find(options.ids, outboxes, !options.to.empty()));
  GW_TRY(watch.wait(timeout_ms, {}));
  return watch.report(common);
}

}  // namespace gw
