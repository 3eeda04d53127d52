#include "operator_commands.hpp"

#include "address.hpp"
#include "current_table.hpp"
#include "diag.hpp"
#include "distributor_status.hpp"
#include "suggest.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

using Kind = ControlMessage::Kind;

constexpr int64_t applied_within_ms = 10'000;  // by a distributor that runs
constexpr int64_t look_every_ms = 200;

struct Found {
  std::string name;  ///< QUEUE@MACHINE
  std::vector<Ledger> ledgers;  ///< of its endpoints
};

Result<Found> find_worker(Root& root, const OperatorOptions& options) {
  if (options.worker.empty()) return Error{ExitCode::usage, 0, "no WORKER is given: expected a name as 'distributor status' prints it"};
  GW_TRY_ASSIGN(Address address, parse_address(options.worker));
  Found found;
  found.name = full_address(address, root.machine());
  GW_TRY_ASSIGN(auto endpoints, distributor_endpoints(root));
  std::vector<std::string> names;
  for (const std::string& endpoint : endpoints) {
    auto ledger = Ledger::open(root, endpoint, false);
    if (!ledger) continue;  // never had a distributor of ours
    GW_TRY_ASSIGN(auto table, current_table(root, *ledger));
    for (Worker* worker : table->workers())
      if (!worker->unregistered) names.push_back(worker->name);
    Worker* worker = table->find(found.name);
    if (worker && !worker->unregistered) found.ledgers.push_back(*std::move(ledger));
  }
  if (!found.ledgers.empty()) return found;
  std::string text = "no worker '" + found.name + "' is registered in '" + root.path() + "'";
  if (auto hint = suggest(found.name, names); !hint.empty()) text += "; " + hint;
  return Error{ExitCode::no_input, 0, text};
}

// Whether what was asked for is so, as the queues have it.
Result<bool> is_so(Ledger& ledger, const std::string& name, Kind kind, bool finished) {
  std::vector<uint64_t> foreign;
  GW_TRY_ASSIGN(auto table, ledger.load(monotonic_ms(), foreign));
  Worker* worker = table->find(name);
  if (kind == Kind::unregister || !worker) return !worker || worker->unregistered;
  if (kind == Kind::resume) return !worker->draining;
  return worker->draining && (!finished || worker->state() == WorkerState::drained);
}

Result<bool> wait_for(Root& root, Found& found, Kind kind, bool finished, int64_t deadline_ms) {
  for (;;) {
    const uint32_t seen = root.bell();
    bool all = true;
    for (Ledger& ledger : found.ledgers) {
      GW_TRY_ASSIGN(bool so, is_so(ledger, found.name, kind, finished));
      all &= so;
    }
    if (all) return true;
    const int64_t left = deadline_ms - monotonic_ms();
    if (left <= 0) return false;
    root.wait(seen, std::min(left, look_every_ms));
  }
}

Result<ExitCode> ask(const OperatorOptions& options, const CommonOptions& common, Kind kind) {
  int64_t timeout_ms = INT64_MAX / 2;
  if (!options.timeout.empty()) {
    auto timeout = parse_duration_ms(options.timeout);
    if (!timeout) return Error{ExitCode::usage, 0, "'" + options.timeout + "' is not a value of --timeout: expected a duration like 30s or 5m"};
    if (!options.wait) return Error{ExitCode::usage, 0, "--timeout needs --wait"};
    timeout_ms = std::min(*timeout, timeout_ms);
  }
  GW_TRY_ASSIGN(std::unique_ptr<Root> root, open_root(common, false));
  GW_TRY_ASSIGN(Found found, find_worker(*root, options));
  ControlMessage control;
  control.kind = kind;
  control.worker = found.name;
  bool all_run = true;
  for (Ledger& ledger : found.ledgers) {
    Transaction transaction;
    transaction.put(ledger.control(), to_message(control));
    GW_TRY(root->commit(std::move(transaction)));
    if (root->singleton(distributor_lock(ledger.endpoint())).pid != 0) continue;
    all_run = false;
    event(Level::warn, "no-distributor", {{"endpoint", ledger.endpoint()}, {"reason", "it is stored and takes effect when one starts"}});
  }
  if (options.wait) {
    GW_TRY_ASSIGN(bool drained, wait_for(*root, found, kind, true, monotonic_ms() + timeout_ms));
    if (drained) return ExitCode::ok;
    return Error{ExitCode::not_now, 0, "worker '" + found.name + "' is not drained yet"};
  }
  if (!all_run) return ExitCode::ok;
  GW_TRY_ASSIGN(bool applied, wait_for(*root, found, kind, false, monotonic_ms() + applied_within_ms));
  if (!applied) event(Level::warn, "not-applied-yet", {{"worker", found.name}, {"reason", "it is stored, but the distributor has not answered"}});
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> run_drain(const OperatorOptions& options, const CommonOptions& common) { return ask(options, common, Kind::drain); }
Result<ExitCode> run_resume(const OperatorOptions& options, const CommonOptions& common) { return ask(options, common, Kind::resume); }
Result<ExitCode> run_unregister(const OperatorOptions& options, const CommonOptions& common) { return ask(options, common, Kind::unregister); }

}  // namespace gw::distributor
