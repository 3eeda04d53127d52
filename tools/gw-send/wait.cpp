#include "commands.hpp"
#include "units.hpp"
#include "watch.hpp"

namespace gw {

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
  GW_TRY_ASSIGN(auto outboxes, find_outboxes(*root, config, options.to));
  Watch watch(*root);
  GW_TRY(watch.find(options.ids, outboxes, !options.to.empty()));
  GW_TRY(watch.wait(timeout_ms, {}));
  return watch.report(common);
}

}  // namespace gw
