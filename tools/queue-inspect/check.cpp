// check and metrics: is everything as it should be, and how much of it is there.
#include <algorithm>

#include "commands.hpp"
#include "support.hpp"
#include "table.hpp"
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

}  // namespace

Result<ExitCode> check(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  die_quietly_when_nobody_reads();
  GW_TRY_ASSIGN(auto report, root->check(options.repair));
  for (const auto& finding : report.findings) print_finding(finding, common);
  for (const QueueStatus& status : report.queues)
    if (!common.quiet || !balanced(status)) print_balance(status, common);
  bool clean = std::all_of(report.findings.begin(), report.findings.end(), [](const auto& f) { return f.repaired; }) &&
               std::all_of(report.queues.begin(), report.queues.end(), balanced);
  return clean ? ExitCode::ok : ExitCode::no;
}

namespace {

struct Metric {
  const char* name;
  const char* type;
  const char* help;
  std::function<void(const QueueStatus&, const std::function<void(const char* state, const std::string& value)>&)> values;
};

std::string seconds(int64_t ms) {
  char text[40];
  snprintf(text, sizeof text, "%lld.%03d", static_cast<long long>(ms / 1000), static_cast<int>(ms % 1000));
  return text;
}

std::vector<Metric> queue_metrics() {
  auto counter = [](uint64_t QueueStatus::*member) {
    return [member](const QueueStatus& s, const auto& put) { put(nullptr, std::to_string(s.*member)); };
  };
  std::vector<Metric> metrics;
  metrics.push_back({"gatepost_queue_messages", "gauge", "Messages in the queue.", [](const QueueStatus& s, const auto& put) {
                       put("ready", std::to_string(s.ready));
                       put("claimed", std::to_string(s.claimed));
                       put("deferred", std::to_string(s.deferred));
                     }});
  metrics.push_back({"gatepost_queue_oldest_seconds", "gauge", "Age of the oldest ready message.", [](const QueueStatus& s, const auto& put) {
                       if (s.oldest_put_at_ms != 0) put(nullptr, seconds(std::max<int64_t>(0, now_ms() - s.oldest_put_at_ms)));
                     }});
  metrics.push_back({"gatepost_queue_disk_bytes", "gauge", "Disk space of the queue's files.", counter(&QueueStatus::disk_bytes)});
  metrics.push_back({"gatepost_puts_total", "counter", "Messages ever stored.", counter(&QueueStatus::puts_total)});
  metrics.push_back({"gatepost_acks_total", "counter", "Messages done: acked, moved, purged or expired.", counter(&QueueStatus::acks_total)});
  metrics.push_back({"gatepost_failed_total", "counter", "Failed attempts.", counter(&QueueStatus::failed_total)});
  return metrics;
}

}  // namespace

Result<ExitCode> metrics(const Options&, const CommonOptions& common) {
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  die_quietly_when_nobody_reads();
  GW_TRY(root->recover_dead_owners());
  GW_TRY_ASSIGN(auto names, root->list_queues());
  std::vector<QueueStatus> all;
  for (const std::string& name : names)
    if (auto queue = root->queue(name)) {
      GW_TRY_ASSIGN(QueueStatus status, queue->status());
      all.push_back(std::move(status));
    }
  for (const Metric& metric : queue_metrics()) {
    out("# HELP " + std::string(metric.name) + " " + metric.help + "\n# TYPE " + metric.name + " " + metric.type + "\n");
    for (const QueueStatus& status : all)
      metric.values(status, [&](const char* state, const std::string& value) {
        out(std::string(metric.name) + "{queue=\"" + status.name + "\"" + (state ? std::string(",state=\"") + state + "\"" : "") + "} " + value + "\n");
      });
  }
  out("# HELP gatepost_disk_free_bytes Free space on the disk of the root.\n# TYPE gatepost_disk_free_bytes gauge\n");
  out("gatepost_disk_free_bytes " + std::to_string(root->free_bytes()) + "\n");
  return ExitCode::ok;
}

}  // namespace gw::inspect
