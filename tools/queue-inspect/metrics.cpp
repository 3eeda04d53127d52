// metrics: how much of everything there is, for Prometheus.
#include "commands.hpp"
#include "distributor_status.hpp"
#include "handling_times.hpp"
#include "metrics_text.hpp"
#include "support.hpp"
#include "units.hpp"
#include "worker_presence.hpp"

namespace gw::inspect {

namespace {

using Kind = MetricsText::Kind;

void print_queues(MetricsText& text, const std::vector<QueueStatus>& all) {
  const int64_t now = now_ms();
  text.family("gatepost_queue_messages", Kind::gauge, "Messages in the queue.");
  for (const QueueStatus& s : all) {
    text.sample({{"queue", s.name}, {"state", "ready"}}, s.ready);
    text.sample({{"queue", s.name}, {"state", "claimed"}}, s.claimed);
    text.sample({{"queue", s.name}, {"state", "deferred"}}, s.deferred);
  }
  text.family("gatepost_queue_oldest_seconds", Kind::gauge, "Age of the oldest ready message; absent: none is ready.");
  for (const QueueStatus& s : all)
    if (s.oldest_put_at_ms != 0) text.sample({{"queue", s.name}}, seconds_of(std::max<int64_t>(0, now - s.oldest_put_at_ms)));
  text.family("gatepost_queue_disk_bytes", Kind::gauge, "Disk space of the queue's files.");
  for (const QueueStatus& s : all) text.sample({{"queue", s.name}}, s.disk_bytes);
  text.family("gatepost_queue_held", Kind::gauge, "1: takes or puts are held.");
  for (const QueueStatus& s : all) {
    text.sample({{"queue", s.name}, {"what", "takes"}}, uint64_t{!s.takes_on});
    text.sample({{"queue", s.name}, {"what", "puts"}}, uint64_t{!s.puts_on});
  }
  struct Total {
    const char *name, *help;
    uint64_t QueueStatus::*value;
  };
  for (const Total& total : {Total{"gatepost_puts_total", "Messages ever stored.", &QueueStatus::puts_total},
                             Total{"gatepost_acks_total", "Messages done: acked, moved, purged or expired.", &QueueStatus::acks_total}}) {
    text.family(total.name, Kind::counter, total.help);
    for (const QueueStatus& s : all) text.sample({{"queue", s.name}}, s.*total.value);
  }
}

// The queue counts attempts whose messages stayed; those whose messages left are counted by who made them.
void print_failures(MetricsText& text, const std::vector<QueueStatus>& all, const std::vector<HandlingSummary>& handled) {
  text.family("gatepost_failed_total", Kind::counter, "Failed attempts.");
  for (size_t i = 0; i < all.size(); ++i) text.sample({{"queue", all[i].name}}, all[i].failed_total + handled[i].sent_back + handled[i].gave_up);
  text.family("gatepost_retries_total", Kind::counter, "Failed attempts that were followed by another one.");
  for (size_t i = 0; i < all.size(); ++i) text.sample({{"queue", all[i].name}}, all[i].failed_total + handled[i].sent_back);
}

void print_times(MetricsText& text, const std::vector<QueueStatus>& all, const std::vector<HandlingSummary>& handled) {
  struct Histogram {
    const char *name, *help;
    TimeSummary HandlingSummary::*times;
  };
  for (const Histogram& h : {Histogram{"gatepost_critical_time_seconds", "From when a message was sent until it was handled.", &HandlingSummary::critical},
                             Histogram{"gatepost_processing_time_seconds", "How long the handler took.", &HandlingSummary::processing}}) {
    text.family(h.name, Kind::histogram, h.help);
    for (size_t i = 0; i < all.size(); ++i) {
      const TimeSummary& t = handled[i].*h.times;
      if (t.count() == 0) continue;
      text.histogram({{"queue", all[i].name}}, handling_time_bounds_s, std::span(t.up_to).first(handling_time_bounds_s.size()), t.count(), t.sum_s);
    }
  }
}

Result<void> print_workers(MetricsText& text, Root& root) {
  struct Row {
    std::string endpoint;
    WorkerReport worker;
  };
  std::vector<Row> rows;
  GW_TRY_ASSIGN(auto endpoints, distributor_endpoints(root));
  for (const std::string& endpoint : endpoints) {
    GW_TRY_ASSIGN(auto report, read_distributor_report(root, endpoint));
    if (!report) continue;
    for (WorkerReport& worker : report->workers) rows.push_back({endpoint, std::move(worker)});
  }
  // Without a distributor nobody counts tokens.
  GW_TRY_ASSIGN(const auto plain, present_workers(root));
  struct Gauge {
    const char *name, *help;
    unsigned WorkerReport::*value;
  };
  for (const Gauge& g : {Gauge{"gatepost_worker_capacity", "Messages that the worker handles at once.", &WorkerReport::capacity},
                         Gauge{"gatepost_worker_in_flight", "Messages that the distributor has handed to the worker.", &WorkerReport::in_flight},
                         Gauge{"gatepost_worker_tokens", "Messages that the worker has asked for.", &WorkerReport::tokens}}) {
    text.family(g.name, Kind::gauge, g.help);
    for (const Row& row : rows) text.sample({{"endpoint", row.endpoint}, {"worker", row.worker.worker}}, uint64_t{row.worker.*g.value});
    if (g.value == &WorkerReport::tokens) continue;
    for (const PresentWorkers& of_queue : plain)
      text.sample({{"endpoint", of_queue.queue}, {"worker", of_queue.queue + "@" + root.machine()}},
                  g.value == &WorkerReport::capacity ? of_queue.capacity : of_queue.in_flight);
  }
  return {};
}

}  // namespace

Result<ExitCode> metrics(const Options&, const CommonOptions& common) {
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  end_when_nobody_reads();
  GW_TRY_ASSIGN(AllStatus status, status_of_all(*root));
  const std::vector<QueueStatus>& all = status.queues;
  std::vector<HandlingSummary> handled;
  for (const QueueStatus& s : all) {
    GW_TRY_ASSIGN(auto summary, read_handling_times(root->path(), s.name));
    handled.push_back(summary ? *std::move(summary) : HandlingSummary{});
  }
  MetricsText text;
  print_queues(text, all);
  print_failures(text, all, handled);
  print_times(text, all, handled);
  GW_TRY(print_workers(text, *root));
  text.family("gatepost_disk_free_bytes", Kind::gauge, "Free space on the disk of the root.");
  text.sample({}, root->free_bytes());
  out(text.str());
  return status.code;
}

}  // namespace gw::inspect
