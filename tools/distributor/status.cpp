#include "status.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>

#include "current_table.hpp"
#include "address.hpp"
#include "diag.hpp"
#include "handling_times.hpp"
#include "hand_over.hpp"
#include "json.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

struct EndpointStatus {
  DistributorReport report;
  int pid = 0;             // of the active distributor; 0: none runs
  int64_t since_ms = 0;
  std::vector<std::string> standby_pids;
  uint64_t waiting = 0;    // ready in the input queue
  int64_t oldest_put_ms = 0;
  bool balanced = true;
  HandlingSummary times;
  std::vector<HandlingSummary> worker_times;  // parallel to report.workers
  int64_t oldest_ms(int64_t now) const { return oldest_put_ms == 0 ? 0 : std::max<int64_t>(now - oldest_put_ms, 0); }
};

// Slots in the storage queue, by worker: the report says what the distributor believes, this is what there is.
Result<std::map<std::string, unsigned>> count_slots(Ledger& ledger) {
  std::map<std::string, unsigned> counts;
  GW_TRY_ASSIGN(auto seqs, ledger.stored_slots());
  for (uint64_t seq : seqs) {
    GW_TRY_ASSIGN(auto found, ledger.storage().read(seq));
    if (found) ++counts[std::string(found->second.headers.get(header::reply_to_address))];
  }
  return counts;
}

Result<DistributorReport> report_of(Root& root, Ledger& ledger, bool running) {
  if (running) {
    GW_TRY_ASSIGN(auto report, read_distributor_report(root, ledger.endpoint()));
    if (report) return *std::move(report);
  }
  GW_TRY_ASSIGN(auto table, current_table(root, ledger));
  DistributorReport report = make_report(ledger.endpoint(), *table, root);
  GW_TRY_ASSIGN(auto last, read_distributor_report(root, ledger.endpoint()));
  for (WorkerReport& row : report.workers)
    for (const WorkerReport& was : last ? last->workers : std::vector<WorkerReport>())
      if (was.worker == row.worker && was.session == row.session) row.done = was.done, row.failed = was.failed;
  return report;
}

// Nothing is known while nothing has been handled.
HandlingSummary times_of(const Root& root, const std::string& queue) {
  auto times = read_handling_times(root.path(), queue);
  return times && *times ? **times : HandlingSummary{};
}

void add_times(Root& root, EndpointStatus& status) {
  status.times = times_of(root, status.report.endpoint);
  for (const WorkerReport& row : status.report.workers) {
    auto address = parse_address(row.worker);
    status.worker_times.push_back(address ? times_of(root, row.here ? address->queue : row.worker) : HandlingSummary{});
  }
}

// The sums are right if the report is right in itself and the storage queue has as many tokens and hand-outs as the report says.
bool check_balance(DistributorReport& report, const std::map<std::string, unsigned>& slots) {
  bool fine = report.balanced();
  for (WorkerReport& row : report.workers) {
    if (row.state != "ready") continue;
    auto found = slots.find(row.worker);
    const unsigned there = found == slots.end() ? 0 : found->second;
    if (there == row.capacity) continue;
    fine = false;
    row.tokens = there > row.in_flight ? there - row.in_flight : 0;
  }
  return fine;
}

Result<EndpointStatus> look_at(Root& root, const std::string& endpoint) {
  GW_TRY_ASSIGN(Ledger ledger, Ledger::open(root, endpoint, false));
  EndpointStatus status;
  const Root::SingletonInfo active = root.singleton(distributor_lock(endpoint));
  status.pid = active.pid;
  status.since_ms = active.since_ms;
  for (int number = 1; number <= standbys_max; ++number)
    if (int pid = root.singleton(standby_lock(endpoint, number)).pid; pid != 0 && pid != active.pid) status.standby_pids.push_back(std::to_string(pid));
  // Report and storage are read one after the other: a worker that registers in between is no fault.
  constexpr int tries = 5, between_us = 60'000;
  for (int i = 0; i < tries; ++i) {
    if (i > 0) ::usleep(between_us);
    GW_TRY_ASSIGN(status.report, report_of(root, ledger, active.pid != 0));
    if (active.pid == 0) {
      status.balanced = status.report.balanced();
    } else {
      GW_TRY_ASSIGN(auto slots, count_slots(ledger));
      status.balanced = check_balance(status.report, slots);
    }
    if (status.balanced) break;
  }
  GW_TRY_ASSIGN(QueueStatus input, ledger.input().status());
  status.waiting = input.ready;
  status.oldest_put_ms = input.oldest_put_at_ms;
  add_times(root, status);
  return status;
}

double seconds(int64_t ms) { return static_cast<double>(ms) / 1000.0; }

void add_means(JsonObject& object, const HandlingSummary& times) {
  if (times.critical.mean_s) object.add("critical_time_s", *times.critical.mean_s);
  if (times.processing.mean_s) object.add("processing_time_s", *times.processing.mean_s);
}

// LIMITS look at what waits in the endpoint's queue.
bool exceeds(const EndpointStatus& status, const Limits& limits, bool disk_low, int64_t now) {
  if (disk_low || !status.balanced) return true;
  if (limits.max_count && status.waiting > *limits.max_count) return true;
  return limits.max_age_ms && status.oldest_put_ms != 0 && status.oldest_ms(now) > *limits.max_age_ms;
}

void print_json(const EndpointStatus& status, int64_t now) {
  const DistributorReport& report = status.report;
  JsonObject object;
  object.add("kind", "endpoint").add("endpoint", report.endpoint).add("role", status.pid != 0 ? "active" : "none");
  if (status.pid != 0) object.add("pid", status.pid).add_time("since_at", status.since_ms);
  std::string pids;
  for (const std::string& pid : status.standby_pids) pids += (pids.empty() ? "" : ",") + pid;
  object.add_raw("standby_pids", "[" + pids + "]");
  object.add("waiting", status.waiting);
  if (status.oldest_put_ms != 0) object.add("oldest_s", seconds(status.oldest_ms(now)));
  object.add("capacity", report.capacity()).add("tokens", report.tokens()).add("in_flight", report.in_flight()).add("balanced", status.balanced);
  add_means(object, status.times);
  out(object.str() + "\n");
  for (size_t i = 0; i < report.workers.size(); ++i) {
    const WorkerReport& row = report.workers[i];
    JsonObject worker;
    worker.add("kind", "worker").add("endpoint", report.endpoint).add("worker", row.worker).add("state", row.state).add("capacity", row.capacity);
    worker.add("tokens", row.tokens).add("in_flight", row.in_flight).add("session", row.session).add_time("since_at", row.since_ms);
    worker.add("done_total", row.done).add("failed_total", row.failed);
    add_means(worker, status.worker_times[i]);
    out(worker.str() + "\n");
  }
}

void print_text(const EndpointStatus& status, int64_t now, bool color) {
  const DistributorReport& report = status.report;
  using Align = Table::Align;
  const auto titles = color ? Table::Titles::bold : Table::Titles::plain;
  Table endpoints({{"ENDPOINT"}, {"ROLE"}, {"PID"}, {"STANDBY"}, {"WAITING", Align::right}, {"OLDEST", Align::right}}, out, titles);
  std::string pids;
  for (const std::string& pid : status.standby_pids) pids += (pids.empty() ? "" : ",") + pid;
  endpoints.row({report.endpoint, status.pid != 0 ? "active" : "NOT RUNNING", status.pid != 0 ? std::to_string(status.pid) : "-", pids.empty() ? "-" : pids,
                 std::to_string(status.waiting), status.oldest_put_ms == 0 ? "-" : human_duration(status.oldest_ms(now))});
  endpoints.flush();
  Table workers({{"WORKER"}, {"STATE"}, {"CAPACITY", Align::right}, {"TOKENS", Align::right}, {"IN-FLIGHT", Align::right}, {"SESSION"}, {"DONE", Align::right}, {"FAILED", Align::right}}, out, titles);
  for (const WorkerReport& row : report.workers)
    workers.row({row.worker, row.state, std::to_string(row.capacity), std::to_string(row.tokens), std::to_string(row.in_flight), row.session, std::to_string(row.done),
                 std::to_string(row.failed)});
  workers.flush();
  if (status.times.critical.mean_s)
    out("critical time " + human_duration(static_cast<int64_t>(*status.times.critical.mean_s * 1000)) + ", processing time " +
        human_duration(static_cast<int64_t>(*status.times.processing.mean_s * 1000)) + " (mean of the last " + std::to_string(handling_times_kept) + ")\n");
  out("tokens " + std::to_string(report.tokens()) + " = capacity " + std::to_string(report.capacity()) + " - in flight " + std::to_string(report.in_flight()) + "\n");
}

}  // namespace

Result<ExitCode> run_status(const StatusOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(Limits limits, Limits::parse(options.limits));
  GW_TRY_ASSIGN(std::unique_ptr<Root> root, open_root(common, false));
  std::vector<std::string> endpoints;
  if (options.endpoint.empty()) {
    GW_TRY_ASSIGN(endpoints, distributor_endpoints(*root));
  } else {
    GW_TRY(check_queue_name(options.endpoint));
    endpoints.push_back(options.endpoint);
  }
  const bool disk_low = limits.min_free_bytes && root->free_bytes() < *limits.min_free_bytes;
  ExitCode answer = disk_low ? ExitCode::no : ExitCode::ok;
  bool printed = false;
  for (const std::string& endpoint : endpoints) {
    auto status = look_at(*root, endpoint);
    if (!status && status.error().code == ExitCode::no_input && !options.endpoint.empty())
      return Error{ExitCode::no_input, 0, "'" + endpoint + "' has no distributor in '" + root->path() + "'"};
    if (!status && status.error().code == ExitCode::no_input) continue;  // its queues are just being made, or removed
    GW_TRY(status);
    if (!status->balanced) event(Level::error, "unbalanced", {{"endpoint", endpoint}, {"reason", "tokens are not capacity - in flight"}});
    const int64_t now = now_ms();
    const bool alarm = exceeds(*status, limits, disk_low, now);
    if (alarm) answer = ExitCode::no;
    if (limits.given() && !alarm) continue;
    if (printed && !common.json) out("\n");
    printed = true;
    if (common.json) print_json(*status, now);
    else print_text(*status, now, common.color);
  }
  return answer;
}

}  // namespace gw::distributor
