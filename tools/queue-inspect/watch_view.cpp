#include "watch_view.hpp"

#include <algorithm>
#include <cstdio>

#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

using A = Table::Align;
constexpr size_t bars_columns = 20;
constexpr const char* bold = "\x1b[1m";
constexpr const char* red = "\x1b[31m";
constexpr const char* normal = "\x1b[0m";

std::string rate(const std::optional<double>& per_second) {
  if (!per_second) return "-";
  char text[32];
  snprintf(text, sizeof text, *per_second >= 100 ? "%.0f" : "%.1f", *per_second);
  return text;
}

std::string age_text(int64_t ms) { return ms == 0 ? "-" : human_duration(ms); }
std::string since(int64_t at_ms, int64_t now_ms) { return at_ms == 0 ? "-" : human_duration(std::max<int64_t>(0, now_ms - at_ms)); }

bool at_rest(const QueueView& queue) {
  return queue.waiting() == 0 && queue.puts_per_s.value_or(0) == 0 && queue.acks_per_s.value_or(0) == 0 && queue_flags(queue.status).empty();
}

struct Section {
  std::string title;               // of the table
  std::vector<std::string> lines;  // the table's rows
  std::string after;               // said below them
};

Section section(std::vector<Table::Column> columns, const std::vector<std::vector<std::string>>& rows) {
  std::string text;
  Table table(std::move(columns), [&](std::string_view part) { text += part; });
  for (const auto& row : rows) table.row(row);
  table.flush();
  Section made;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    (made.title.empty() ? made.title : made.lines.emplace_back()) = text.substr(at, end - at);
    at = end + 1;
  }
  return made;
}

Section queues_section(const Overview& now, Charset charset) {
  std::vector<std::vector<std::string>> rows;
  size_t resting = 0;
  for (const QueueView& queue : now.queues) {
    if (at_rest(queue)) {
      ++resting;
      continue;
    }
    const QueueStatus& s = queue.status;
    std::vector<double> counts;
    for (const QueueSample& sample : queue.history) counts.push_back(sample.messages);
    rows.push_back({s.name, std::to_string(s.ready), std::to_string(s.claimed), std::to_string(s.deferred), age_text(queue.oldest_ms(now.at_ms)),
                    rate(queue.puts_per_s), rate(queue.acks_per_s), charset == Charset::utf8 ? bars(counts, bars_columns) : "", queue_flags(s)});
  }
  Section made = section({{"QUEUE"}, {"READY", A::right}, {"CLAIMED", A::right}, {"DEFERRED", A::right}, {"OLDEST", A::right}, {"IN/S", A::right},
                          {"OUT/S", A::right}, {charset == Charset::utf8 ? "MESSAGES" : ""}, {"FLAGS"}},
                         rows);
  if (resting > 0) made.after = std::to_string(resting) + (resting == 1 ? " queue" : " queues") + " empty and at rest";
  return made;
}

Section sites_section(const Overview& now) {
  std::vector<std::vector<std::string>> rows;
  for (const SiteStatus& s : now.sites)
    rows.push_back({s.site, s.state, std::to_string(s.waiting), human_size(s.waiting_bytes), age_text(s.age_ms(now.at_ms)), std::to_string(s.in_flight),
                    since(s.last_delivered_ms, now.at_ms), s.next_try_ms == 0 ? "-" : format_rfc3339(s.next_try_ms).substr(11, 8), s.last_error});
  Section made = section({{"SITE"}, {"STATE"}, {"WAITING", A::right}, {"BYTES", A::right}, {"OLDEST", A::right}, {"IN-FLIGHT", A::right},
                          {"DELIVERED", A::right}, {"NEXT-TRY"}, {"LAST-ERROR"}},
                         rows);
  if (now.forwarders.empty()) made.after = "forwarder: NOT RUNNING";
  return made;
}

Section workers_section(const Overview& now) {
  std::vector<std::vector<std::string>> rows;
  for (const WorkerView& w : now.workers)
    rows.push_back({w.report.worker, w.endpoint, w.report.state, std::to_string(w.report.capacity), w.plain ? "-" : std::to_string(w.report.tokens),
                    std::to_string(w.report.in_flight), std::to_string(w.report.done), std::to_string(w.report.failed)});
  return section({{"WORKER"}, {"ENDPOINT"}, {"STATE"}, {"CAPACITY", A::right}, {"TOKENS", A::right}, {"IN-FLIGHT", A::right}, {"DONE", A::right}, {"FAILED", A::right}}, rows);
}

Section failures_section(const Overview& now) {
  std::vector<std::vector<std::string>> rows;
  for (const FailureView& f : now.failures)
    rows.push_back({std::to_string(f.group.count), f.group.group, since(f.group.last_ms, now.at_ms), f.group.failed_queue, f.group.type.empty() ? "-" : f.group.type, f.group.reason});
  Section made = section({{"FAILED", A::right}, {"GROUP"}, {"LAST", A::right}, {"FROM"}, {"TYPE"}, {"REASON"}}, rows);
  for (const FailuresLeftOut& left : now.left_out) made.after = "counted are the first " + std::to_string(left.looked_at) + " messages of " + left.queue;
  return made;
}

// Every section gets its title and two rows; what is left goes to them in order. Without room for that, no lines are left empty.
std::vector<size_t> shares(const std::vector<Section>& sections, size_t rows, bool& spaced) {
  std::vector<size_t> given;
  size_t used = 0;
  for (const Section& s : sections) {
    given.push_back(std::min<size_t>(s.lines.size(), 2));
    used += given.back() + 2 + !s.after.empty();
  }
  spaced = used <= rows;
  if (!spaced) used -= sections.size();
  for (size_t i = 0; i < sections.size(); ++i)
    while (used < rows && given[i] < sections[i].lines.size()) {
      ++given[i];
      ++used;
    }
  return given;
}

std::string joined(const JsonObject& head, const JsonObject& rest) {
  std::string text = head.str();
  text.pop_back();
  return text + "," + rest.str().substr(1) + "\n";
}

}  // namespace

std::string bars(const std::vector<double>& values, size_t columns) {
  if (columns == 0) return "";
  const size_t from = values.size() > columns ? values.size() - columns : 0;
  double highest = 0;
  for (size_t i = from; i < values.size(); ++i) highest = std::max(highest, values[i]);
  std::string text;
  for (size_t i = from; i < values.size(); ++i) {
    const int eighths = highest > 0 && values[i] > 0 ? std::clamp(static_cast<int>(values[i] / highest * 8 + 0.5), 1, 8) : 0;
    if (eighths == 0) text += ' ';
    else text += std::string("\xe2\x96") + static_cast<char>(0x80 + eighths);
  }
  return text;
}

std::vector<std::string> watch_screen(const Overview& now, const ScreenLook& look) {
  std::vector<std::string> lines;
  auto add = [&](const std::string& text, const char* style) {
    if (lines.size() >= look.size.rows) return;
    const std::string shown = shortened(printable(text), look.size.columns);
    lines.push_back(look.color && *style ? style + shown + normal : shown);
  };
  add("Gatepost  machine " + now.machine + "  free " + human_size(now.free_bytes) + "  " + format_rfc3339(now.at_ms).substr(11, 8) + "Z  root " + now.root, bold);
  if (!now.config_error.empty()) add("configuration: " + now.config_error, red);
  for (const std::string& why : now.unreadable) add(why, red);
  std::vector<Section> sections{queues_section(now, look.charset)};
  if (!now.sites.empty()) sections.push_back(sites_section(now));
  if (!now.workers.empty()) sections.push_back(workers_section(now));
  if (!now.failures.empty()) sections.push_back(failures_section(now));
  bool spaced = true;
  const auto given = shares(sections, look.size.rows - std::min(lines.size(), look.size.rows), spaced);
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section& s = sections[i];
    if (spaced) add("", "");
    add(s.title, bold);
    const bool all = given[i] == s.lines.size();
    const size_t rows = all ? given[i] : given[i] - std::min<size_t>(given[i], 1);
    for (size_t row = 0; row < rows; ++row) add(s.lines[row], "");
    if (!all) add("... " + std::to_string(s.lines.size() - rows) + " more", "");
    if (!s.after.empty()) add(s.after, s.after.starts_with("forwarder") ? red : "");
  }
  return lines;
}

std::string watch_lines(const Overview& now) {
  const std::string at = format_rfc3339(now.at_ms);
  std::string text = at + " root free=" + human_size(now.free_bytes) + " queues=" + std::to_string(now.queues.size()) +
                     (now.sites.empty() ? "" : now.forwarders.empty() ? " forwarder=none" : " forwarder=" + std::to_string(now.forwarders[0].pid)) + "\n";
  for (const std::string& why : now.unreadable) text += at + " unreadable " + printable(why) + "\n";
  for (const QueueView& queue : now.queues) {
    if (at_rest(queue)) continue;
    const QueueStatus& s = queue.status;
    const std::string flags = queue_flags(s);
    text += at + " queue " + s.name + " ready=" + std::to_string(s.ready) + " claimed=" + std::to_string(s.claimed) + " deferred=" + std::to_string(s.deferred) +
            " oldest=" + age_text(queue.oldest_ms(now.at_ms)) + " in=" + rate(queue.puts_per_s) + "/s out=" + rate(queue.acks_per_s) + "/s" +
            (flags.empty() ? "" : " " + printable(flags)) + "\n";
  }
  for (const SiteStatus& s : now.sites)
    text += at + " site " + s.site + " state=" + s.state + " waiting=" + std::to_string(s.waiting) + " oldest=" + age_text(s.age_ms(now.at_ms)) +
            " in_flight=" + std::to_string(s.in_flight) + (s.last_error.empty() ? "" : " last_error=" + printable(s.last_error)) + "\n";
  for (const WorkerView& w : now.workers)
    text += at + " worker " + w.report.worker + " endpoint=" + w.endpoint + " state=" + w.report.state + " capacity=" + std::to_string(w.report.capacity) +
            (w.plain ? "" : " tokens=" + std::to_string(w.report.tokens)) + " in_flight=" + std::to_string(w.report.in_flight) + "\n";
  for (const FailureView& f : now.failures)
    text += at + " failed " + f.group.group + " count=" + std::to_string(f.group.count) + " queue=" + f.queue + " from=" + printable(f.group.failed_queue) + " reason=" + printable(f.group.reason) + "\n";
  return text;
}

std::string watch_json(const Overview& now) {
  auto head = [&](const char* kind) { return JsonObject().add("kind", kind).add_time("at", now.at_ms); };
  JsonObject root;
  root.add("root", now.root).add("machine", now.machine).add("free_bytes", now.free_bytes);
  if (!now.config_error.empty()) root.add("config_error", now.config_error);
  if (!now.unreadable.empty()) root.add("unreadable", now.unreadable);
  std::string text = joined(head("root"), root);
  for (const QueueView& queue : now.queues) {
    JsonObject object = queue_json(queue.status, now.machine, now.at_ms);
    if (queue.puts_per_s) object.add("puts_per_s", *queue.puts_per_s).add("acks_per_s", *queue.acks_per_s);
    text += joined(head("queue"), object);
  }
  for (const Forwarder& forwarder : now.forwarders) text += joined(head("forwarder"), JsonObject().add("pid", forwarder.pid).add_time("since_at", forwarder.since_ms));
  for (const SiteStatus& site : now.sites) text += joined(JsonObject().add_time("at", now.at_ms), site_json(site, now.at_ms));
  for (const WorkerView& w : now.workers) {
    JsonObject object;
    object.add("endpoint", w.endpoint).add("worker", w.report.worker).add("state", w.report.state).add("capacity", w.report.capacity).add("in_flight", w.report.in_flight);
    if (!w.plain) object.add("tokens", w.report.tokens).add("session", w.report.session);
    object.add_time("since_at", w.report.since_ms);
    object.add("done_total", w.report.done).add("failed_total", w.report.failed);
    text += joined(head("worker"), object);
  }
  for (const FailureView& f : now.failures) {
    JsonObject object;
    object.add("queue", f.queue).add("group", f.group.group).add("count", f.group.count).add_time("first_at", f.group.first_ms).add_time("last_at", f.group.last_ms);
    object.add("failed_queue", f.group.failed_queue);
    if (!f.group.type.empty()) object.add("type", f.group.type);
    object.add("reason", f.group.reason).add("sample_id", f.group.sample_id);
    text += joined(head("group"), object);
  }
  return text;
}

}  // namespace gw::inspect
