// check: is everything as it should be?
#include <unistd.h>

#include <algorithm>

#include "commands.hpp"
#include "queue_search.hpp"
#include "support.hpp"
#include "table.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

bool balanced(const QueueStatus& s) { return s.puts_total == s.ready + s.claimed + s.deferred + s.acks_total + s.bad; }

void print_finding(const Root::Finding& finding, const CommonOptions& common) {
  if (common.json) {
    JsonObject object;
    object.add("kind", "finding");
    if (!finding.queue.empty()) object.add("queue", finding.queue);
    object.add("finding", finding.kind).add("detail", finding.detail).add("repaired", finding.repaired);
    out(object.str() + "\n");
    return;
  }
  out((finding.queue.empty() ? "root" : finding.queue) + ": " + finding.kind + ": " + printable(finding.detail) +
      (finding.repaired ? " (repaired)" : "") + "\n");
}

void print_balance(const QueueStatus& s, const CommonOptions& common) {
  if (common.json) {
    JsonObject object;
    object.add("kind", "queue").add("queue", s.name).add("puts_total", s.puts_total).add("ready", s.ready).add("claimed", s.claimed);
    object.add("deferred", s.deferred).add("acks_total", s.acks_total).add("corrupt", s.bad).add("balanced", balanced(s));
    out(object.str() + "\n");
    return;
  }
  auto n = [](uint64_t value) { return std::to_string(value); };
  out(s.name + ": put " + n(s.puts_total) + " = ready " + n(s.ready) + " + claimed " + n(s.claimed) + " + deferred " + n(s.deferred) + " + done " +
      n(s.acks_total) + (s.bad > 0 ? " + corrupt " + n(s.bad) : "") + (balanced(s) ? "" : "  NOT BALANCED") + "\n");
}

uint64_t live_messages(Root& root) {
  uint64_t total = 0;
  if (auto names = root.list_queues())
    for (const std::string& name : *names)
      if (auto queue = root.queue(name))  // what is wrong with others is told by the check
        if (auto status = queue->status()) total += status->ready + status->claimed + status->deferred;
  return total;
}

Result<Root::CheckReport> checked(Root& root, bool repair, const CommonOptions& common) {
  const bool shown = !common.quiet && is_terminal(STDERR_FILENO);
  Progress progress("checked", shown ? live_messages(root) : 0, shown ? Progress::Show::if_terminal : Progress::Show::never);
  return check_root(root, repair, [&] { progress.add(1); });
}

}  // namespace

Result<ExitCode> check(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  end_when_nobody_reads();
  GW_TRY_ASSIGN(auto report, checked(*root, options.repair, common));
  for (const auto& finding : report.findings) print_finding(finding, common);
  for (const QueueStatus& status : report.queues)
    if (!common.quiet || !balanced(status)) print_balance(status, common);
  bool clean = std::all_of(report.findings.begin(), report.findings.end(), [](const auto& f) { return f.repaired; }) &&
               std::all_of(report.queues.begin(), report.queues.end(), balanced);
  return clean ? ExitCode::ok : ExitCode::no;
}

}  // namespace gw::inspect
