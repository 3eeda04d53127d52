#include "overview.hpp"

#include <algorithm>

#include "handling_times.hpp"
#include "units.hpp"
#include "worker_presence.hpp"

namespace gw {
namespace {

constexpr int64_t rate_over_ms = 5000;           // how far back a rate looks, if it can
constexpr uint64_t failures_looked_at = 20'000;  // of each queue
constexpr int64_t failures_every_ms = 2000, failures_share = 20;  // looking takes at most one part of so many of the time

double per_second(uint64_t now, uint64_t before, int64_t ms) {
  return now <= before || ms <= 0 ? 0 : static_cast<double>(now - before) * 1000 / static_cast<double>(ms);
}

// Failed messages say where they failed. One look at the first message tells what a queue is for.
Result<bool> holds_failures(const Queue& queue) {
  uint64_t first = 0;
  GW_TRY(queue.scan([&](const MessageInfo& info) {
    first = info.seq;
    return false;
  }));
  if (first == 0) return false;
  auto read = queue.read(first);
  if (!read) return std::move(read).error();
  return *read && (*read)->second.headers.find(header::failed_q);
}

}  // namespace

int64_t QueueView::oldest_ms(int64_t now_ms) const {
  return status.oldest_put_at_ms == 0 ? 0 : std::max<int64_t>(0, now_ms - status.oldest_put_at_ms);
}

const QueueView* Overview::find(std::string_view queue) const {
  for (const QueueView& view : queues)
    if (view.status.name == queue) return &view;
  return nullptr;
}

Observer::Observer(Root& root, std::string config_path, bool config_must_exist, Pace pace)
    : root_(root), config_file_(std::move(config_path), config_must_exist), pace_(pace) {}

namespace {

Result<void> add_plain_workers(const Root& root, std::vector<WorkerView>& into) {
  GW_TRY_ASSIGN(auto all, present_workers(root));
  for (const PresentWorkers& of_queue : all) {
    WorkerView& view = into.emplace_back();
    view.endpoint = of_queue.queue;
    view.plain = true;
    view.report.worker = of_queue.queue + "@" + root.machine();
    view.report.state = "ready";
    view.report.capacity = static_cast<unsigned>(of_queue.capacity);
    view.report.in_flight = static_cast<unsigned>(of_queue.in_flight);
    view.report.since_ms = of_queue.since_ms;
    view.report.done = of_queue.done;
    view.report.failed = of_queue.failed;
    view.report.here = true;
  }
  return {};
}

}  // namespace

Result<Overview> Observer::look() {
  Overview overview;
  GW_TRY(root_.recover_dead_owners());
  overview.at_ms = now_ms();
  overview.root = root_.path();
  overview.machine = root_.machine();
  overview.free_bytes = root_.free_bytes();
  GW_TRY(read_config(overview));
  GW_TRY(look_at_queues(overview));
  GW_TRY_ASSIGN(auto outboxes, find_outboxes(root_, *config_, ""));
  overview.forwarders = running_forwarders(root_, outboxes);
  GW_TRY_ASSIGN(overview.sites, site_statuses(root_, outboxes, SiteLook::counts, overview.at_ms));
  GW_TRY_ASSIGN(auto endpoints, distributor_endpoints(root_));
  for (const std::string& endpoint : endpoints) {
    GW_TRY_ASSIGN(auto report, read_distributor_report(root_, endpoint));
    if (!report) continue;
    for (WorkerReport& worker : report->workers) overview.workers.push_back({endpoint, std::move(worker)});
  }
  GW_TRY(add_plain_workers(root_, overview.workers));
  GW_TRY(look_at_failures(overview));
  return overview;
}

Result<void> Observer::read_config(Overview& overview) {
  if (!config_ || config_file_.changed() || !config_error_.empty()) {
    auto read = config_file_.read();
    if (!read && !config_) return std::move(read).error();
    config_error_ = read ? "" : read.error().text;
    if (read) config_ = std::move(*read);
  }
  overview.config_error = config_error_;
  return {};
}

Result<void> Observer::look_at_queues(Overview& overview) {
  GW_TRY_ASSIGN(auto names, root_.list_queues());
  for (auto& [name, remembered] : queues_) remembered.seen = false;
  for (const std::string& name : names) {
    auto queue = root_.queue(name);
    auto status = queue ? queue->status() : Result<QueueStatus>(queue.error());
    if (!status) {
      if (status.error().code != ExitCode::no_input) overview.unreadable.push_back(status.error().text);  // else it was removed in between
      continue;
    }
    add_final_failures(root_.path(), *status);
    QueueView& view = overview.queues.emplace_back();
    view.status = *std::move(status);
    remember(view, monotonic_ms());
  }
  std::erase_if(queues_, [](const auto& entry) { return !entry.second.seen; });
  return {};
}

void Observer::remember(QueueView& view, int64_t mono_ms) {
  Remembered& past = queues_[view.status.name];
  past.seen = true;
  const Counters now{mono_ms, view.status.puts_total, view.status.acks_total};
  // The newest point that is old enough for a steady rate, else the oldest.
  for (const Counters& before : past.counters) {
    if (before.at_ms == mono_ms || (view.puts_per_s && before.at_ms > mono_ms - rate_over_ms)) break;
    view.puts_per_s = per_second(now.puts, before.puts, mono_ms - before.at_ms);
    view.acks_per_s = per_second(now.acks, before.acks, mono_ms - before.at_ms);
  }
  const bool due = past.counters.empty() || mono_ms - past.counters.back().at_ms >= pace_.sample_every_ms * 9 / 10;
  if (due) {
    QueueSample sample;
    sample.messages = static_cast<double>(view.waiting());
    sample.oldest_s = static_cast<double>(view.oldest_ms(now_ms())) / 1000;
    if (!past.counters.empty()) {
      const Counters& before = past.counters.back();
      sample.puts_per_s = per_second(now.puts, before.puts, mono_ms - before.at_ms);
      sample.acks_per_s = per_second(now.acks, before.acks, mono_ms - before.at_ms);
    }
    past.history.push_back(sample);
    if (past.history.size() > pace_.samples) past.history.pop_front();
    past.counters.push_back(now);
    while (past.counters.size() > 2 && past.counters[1].at_ms <= mono_ms - rate_over_ms) past.counters.pop_front();
  }
  view.history = past.history;
}

Result<void> Observer::look_at_failures(Overview& overview) {
  for (auto& [name, failures] : failures_) failures.seen = false;
  for (const QueueView& view : overview.queues) {
    if (view.waiting() == 0) continue;
    Failures& failures = failures_[view.status.name];
    failures.seen = true;
    const bool changed = failures.puts != view.status.puts_total || failures.acks != view.status.acks_total;
    if (const int64_t began = monotonic_ms(); changed && began >= failures.look_again_ms) {
      auto queue = root_.queue(view.status.name);
      if (!queue) continue;
      GW_TRY(group_failures(*queue, failures));
      failures.puts = view.status.puts_total;
      failures.acks = view.status.acks_total;
      const int64_t ended = monotonic_ms();
      failures.look_again_ms = ended + (failures.groups.empty() ? 0 : std::max(failures_every_ms, (ended - began) * failures_share));
    }
    overview.failures.insert(overview.failures.end(), failures.groups.begin(), failures.groups.end());
    if (failures.left_out_after > 0) overview.left_out.push_back({view.status.name, failures.left_out_after});
  }
  std::erase_if(failures_, [](const auto& entry) { return !entry.second.seen; });
  std::stable_sort(overview.failures.begin(), overview.failures.end(), [](const FailureView& a, const FailureView& b) { return a.group.count > b.group.count; });
  return {};
}

Result<void> Observer::group_failures(const Queue& queue, Failures& failures) {
  failures.groups.clear();
  failures.left_out_after = 0;
  auto any = holds_failures(queue);
  if (!any || !*any) return {};  // what cannot be read is what `queue-inspect check` is for
  FailureGroups groups;
  uint64_t looked_at = 0;
  std::vector<uint64_t> seqs;
  GW_TRY(queue.scan([&](const MessageInfo& info) {
    seqs.push_back(info.seq);
    return seqs.size() <= failures_looked_at;
  }));
  for (uint64_t seq : seqs) {
    if (looked_at++ >= failures_looked_at) {
      failures.left_out_after = failures_looked_at;
      break;
    }
    auto read = queue.read(seq);
    if (!read || !*read) continue;
    groups.add((*read)->first, (*read)->second);
  }
  for (FailureGroup& group : groups.sorted()) failures.groups.push_back({queue.name(), std::move(group)});
  return {};
}

std::string queue_flags(const QueueStatus& status) {
  std::string text;
  auto add = [&](const std::string& flag) { text += (text.empty() ? "" : ",") + flag; };
  if (!status.takes_on) add("takes-off");
  if (!status.puts_on) add("puts-off");
  if (status.bad > 0) add("corrupt=" + std::to_string(status.bad));
  if (status.config.journal) add("journal");
  if (!status.hold_reason.empty() && !(status.takes_on && status.puts_on)) text += " (" + status.hold_reason + ")";
  return text;
}

bool is_ledger(std::string_view queue) { return queue.ends_with(".distributor.storage") || queue.ends_with(".distributor.workers"); }

void add_final_failures(const std::string& root_path, QueueStatus& status) {
  if (auto left = read_handling_times(root_path, status.name); left && *left) status.failed_total += (*left)->gave_up + (*left)->sent_back;
}

JsonObject queue_json(const QueueStatus& status, const std::string& machine, int64_t now_ms) {
  JsonObject object;
  object.add("queue", status.name).add("machine", machine);
  object.add("ready", status.ready).add("claimed", status.claimed).add("deferred", status.deferred);
  if (status.oldest_put_at_ms != 0) object.add("oldest_s", static_cast<double>(std::max<int64_t>(0, now_ms - status.oldest_put_at_ms)) / 1000);
  object.add("puts_total", status.puts_total).add("acks_total", status.acks_total).add("failed_total", status.failed_total);
  if (status.bad > 0) object.add("corrupt", status.bad);
  object.add("live_bytes", status.live_bytes).add("disk_bytes", status.disk_bytes);
  if (status.config.max_bytes > 0) object.add("max_bytes", status.config.max_bytes);
  object.add("takes", status.takes_on ? "on" : "off").add("puts", status.puts_on ? "on" : "off");
  if (!status.hold_reason.empty()) object.add("hold_reason", status.hold_reason);
  return object;
}

}  // namespace gw
