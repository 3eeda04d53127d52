#include "decommission.hpp"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <set>

#include "decommission_state.hpp"
#include "decommission_work.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "units.hpp"

namespace gw::instance_map {

namespace {

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

void print_step(const CommonOptions& common, DecommissionStep step, const char* state, const std::string& proof) {
  const int number = static_cast<int>(step) + 1;
  if (common.json)
    out(JsonObject().add("step", number).add("name", to_string(step)).add("state", state).add("proof", proof).str() + "\n");
  else
    out("[" + std::to_string(number) + "/6] " + to_string(step) + "  " + state + (proof.empty() ? "" : "  " + proof) + "\n");
}

std::string late_text(const Decommission& d) {
  if (d.late == 0) return "";
  return "; " + std::to_string(d.late) + (d.late == 1 ? " late arrival" : " late arrivals") + " sent on, the last at " + format_rfc3339(d.last_late_ms);
}

// The first that is not done is the one that is waited for.
void print_all(const CommonOptions& common, const Decommission& d) {
  bool waiting = d.began_ms != 0;
  for (size_t i = 0; i < decommission_steps; ++i) {
    const auto step = static_cast<DecommissionStep>(i);
    const bool done = d.steps[i].done_ms != 0;
    const std::string more = step == DecommissionStep::leftovers ? late_text(d) : "";
    print_step(common, step, done ? "done" : waiting ? "waiting" : "todo", d.steps[i].proof + more);
    if (!done) waiting = false;
  }
}

Result<ExitCode> show_status(const MapState& state, const std::string& queue, const CommonOptions& common) {
  GW_TRY_ASSIGN(const auto known, read_decommission(state, queue));
  if (!known) {
    print_all(common, Decommission{});
    return ExitCode::no;
  }
  print_all(common, *known);
  return known->finished() ? ExitCode::ok : ExitCode::not_now;
}

// Runs the steps that are not done, one after the other.
Result<ExitCode> run_steps(DecommissionWork& work, const CommonOptions& common) {
  std::string told;
  auto waiting = [&](DecommissionStep step, const std::string& why) -> Result<void> {
    const std::string line = to_string(step) + why;
    if (line == told) return {};
    told = line;
    print_step(common, step, "waiting", why);
    return flush_stdout();
  };
  for (size_t i = 0; i < decommission_steps; ++i) {
    const auto step = static_cast<DecommissionStep>(i);
    GW_TRY_ASSIGN(const bool done, work.run(step, [&](const std::string& why) { return waiting(step, why); }));
    if (!done) return ExitCode::not_now;
    print_step(common, step, "done", work.state().at(step).proof + (step == DecommissionStep::leftovers ? late_text(work.state()) : ""));
    GW_TRY(flush_stdout());
  }
  return ExitCode::ok;
}

Result<ExitCode> roll_back(DecommissionWork& work, const CommonOptions& common) {
  if (work.state().began_ms == 0) return Error{ExitCode::no, 0, "no decommissioning of '" + work.state().address + "' has begun"};
  GW_TRY_ASSIGN(const auto undone, work.roll_back());
  for (const auto& [step, what] : undone) print_step(common, step, "todo", what);
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> decommission(const DecommissionOptions& options, const CommonOptions& common) {
  if (options.status && (options.rollback || common.dry_run)) return usage("--status, --rollback and --dry-run exclude each other");
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  int64_t drain_ms = drain_timeout_default_ms;
  if (!options.drain_timeout.empty()) {
    const auto given = parse_duration_ms(options.drain_timeout);
    if (!given) return usage("--drain-timeout '" + options.drain_timeout + "': expected a duration like 10m");
    drain_ms = *given;
  }
  if (options.address.empty()) return usage("no address is given: expected QUEUE@MACHINE, or QUEUE on this machine");
  GW_TRY_ASSIGN(const Address address, parse_address(options.address));
  GW_TRY_ASSIGN(const auto root, open_root(common, false));
  if (!is_here(address, root->machine()))
    return usage("'" + options.address + "' is on the machine '" + address.machine + "', and this is '" + root->machine() + "': run it there");
  GW_TRY_ASSIGN(const Queue queue, root->queue(address.queue));
  GW_TRY_ASSIGN(const MapState state, MapState::open(root->path(), true));
  if (options.status) return show_status(state, address.queue, common);
  int owner = 0;
  GW_TRY_ASSIGN(const auto alone, root->try_singleton("decommission." + address.queue, &owner));
  if (!alone) return Error{ExitCode::not_now, 0, "'" + options.address + "' is being decommissioned by process " + std::to_string(owner) + " already"};
  DecommissionWork work(*root, queue, state, settings, drain_ms);
  GW_TRY(work.open(address.queue + "@" + root->machine(), options.ignored));
  if (options.rollback) {
    if (common.dry_run) return usage("--rollback and --dry-run exclude each other");
    return roll_back(work, common);
  }
  if (common.dry_run) {
    GW_TRY_ASSIGN(const Decommission plan, work.plan());
    print_all(common, plan);
    return ExitCode::ok;
  }
  return run_steps(work, common);
}

}  // namespace gw::instance_map
