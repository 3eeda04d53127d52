#include <algorithm>
#include <cstdio>

#include "page.hpp"
#include "picture.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr size_t type_bytes_max = 120, reason_bytes_max = 300;

std::string cut(std::string_view text, size_t bytes) {
  if (text.size() <= bytes) return std::string(text);
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0) == 0x80) --bytes;
  return std::string(text.substr(0, bytes)) + "…";
}

std::vector<double> values_of(const QueueView& queue, double QueueSample::*member) {
  std::vector<double> values;
  for (const QueueSample& sample : queue.history) values.push_back(sample.*member);
  return values;
}

std::string over_time(const View& view, const QueueView& queue) {
  const size_t points = queue.history.empty() ? 0 : queue.history.size() - 1;
  return " in the last " + human_duration(static_cast<int64_t>(points) * view.sample_every_ms);
}

double highest(const std::vector<double>& values) { return values.empty() ? 0 : *std::max_element(values.begin(), values.end()); }

// Before a redirection, if there is one.
std::string with_root(std::string words, const View& view) {
  return words.insert(std::min(words.find(" > "), words.size()), view.root_words);
}

}  // namespace

TableOf::TableOf(Html& into, std::string_view caption, std::vector<Column> columns) : into_(into), columns_(std::move(columns)) {
  into_.tag("<table role=\"table\"><caption class=\"unseen\">").text(caption).tag("</caption><thead role=\"rowgroup\"><tr role=\"row\">");
  for (const Column& column : columns_)
    into_.tag("<th scope=\"col\" role=\"columnheader\" class=\"").tag(column.css_class).tag("\">").tag(column.title).tag("</th>");
  into_.tag("</tr></thead><tbody role=\"rowgroup\">");
}

TableOf::~TableOf() {
  if (in_row_) into_.tag("</tr>");
  into_.tag("</tbody></table>");
}

void TableOf::row() {
  if (in_row_) into_.tag("</tr>");
  into_.tag("<tr role=\"row\">");
  in_row_ = true;
  at_ = 0;
}

void TableOf::cell(const Html& content) {
  const Column& column = columns_.at(at_++);
  into_.tag("<td role=\"cell\" class=\"").tag(column.css_class).tag(content.empty() ? Markup(" nothing") : Markup("")).tag("\" data-label=\"").tag(column.title).tag("\">");
  into_.tag("<div>").add(content).tag("</div></td>");
}

void commands(Html& into, const View& view, const std::vector<CommandLine>& lines) {
  into.tag("<ul class=\"commands\">");
  for (const CommandLine& line : lines)
    into.tag("<li><span class=\"effect\">").text(line.effect).tag("</span> <code tabindex=\"0\">").text(with_root(line.words, view)).tag("</code></li>");
  into.tag("</ul>");
}

void Facts::add(Markup name, const Html& value) { into_.tag("<div><dt>").tag(name).tag("</dt><dd>").add(value).tag("</dd></div>"); }

std::string size_text(uint64_t bytes) { return human_size(bytes) + (bytes < 1024 ? " B" : ""); }

Html text(std::string_view value) { return Html().text(value); }

Html moment(int64_t at_ms) {
  if (at_ms == 0) return {};
  const std::string at = format_rfc3339(at_ms);  // 2026-11-21T22:00:03.412Z
  return Html().tag("<time datetime=\"").text(at).tag("\">").text(at.substr(0, 10) + " " + at.substr(11, 8)).tag(" UTC</time>");
}

Html age(int64_t at_ms, int64_t now_ms) {
  if (at_ms == 0) return {};
  const std::string at = format_rfc3339(at_ms);
  return Html().tag("<time datetime=\"").text(at).tag("\" title=\"").text(at).tag("\">").text(human_duration(std::max<int64_t>(0, now_ms - at_ms))).tag("</time>");
}

Html queue_link(std::string_view queue) {
  return Html().tag("<a href=\"/queue/").text(url_part(queue)).tag("\">").text(queue).tag("</a>");
}

Html message_link(std::string_view queue, uint64_t seq, std::string_view shown) {
  return Html().tag("<a href=\"/message/").text(url_part(queue)).tag("/").text(std::to_string(seq)).tag("\">").text(shown).tag("</a>");
}

std::string per_second(double rate) {
  char shown[32];
  snprintf(shown, sizeof shown, rate >= 100 ? "%.0f/s" : rate >= 0.1 || rate == 0 ? "%.1f/s" : "%.2f/s", rate);
  return rate == 0 ? "0" : shown;
}

Html rates_picture(const View& view, const QueueView& queue) {
  const auto in = values_of(queue, &QueueSample::puts_per_s), out = values_of(queue, &QueueSample::acks_per_s);
  return picture({{"in", in}, {"out", out}}, view.samples,
                 "in at most " + per_second(highest(in)) + ", out at most " + per_second(highest(out)) + over_time(view, queue));
}

Html ages_picture(const View& view, const QueueView& queue) {
  const auto ages = values_of(queue, &QueueSample::oldest_s);
  return picture({{"age", ages}}, view.samples,
                 "oldest at most " + human_duration(static_cast<int64_t>(highest(ages) * 1000)) + over_time(view, queue));
}

Html counts_picture(const View& view, const QueueView& queue) {
  const auto counts = values_of(queue, &QueueSample::messages);
  return picture({{"count", counts}}, view.samples, "at most " + std::to_string(static_cast<uint64_t>(highest(counts))) + " messages" + over_time(view, queue));
}

void failures_table(Html& into, const View& view, const std::vector<FailureView>& failures, bool with_queue) {
  TableOf table(into, "Failed messages by kind",
                {{"Messages", "number"}, {"Kind", "id"}, {"From", "name"}, {"Type", "name"}, {"Reason", "wide"}, {"First", "number"}, {"Last", "number"}});
  for (const auto& [queue, group] : failures) {
    table.row();
    table.cell(Html().tag("<b>").number(group.count).tag("</b>"));
    Html link;
    if (group.group.empty()) link.tag("others");  // more kinds than are told apart
    else link.tag("<a href=\"/queue/").text(url_part(queue)).tag("?group=").text(url_part(group.group)).tag("\"><code>").text(group.group).tag("</code></a>");
    if (with_queue && queue != "error") link.tag(" in ").add(queue_link(queue));
    table.cell(link);
    table.cell(text(group.failed_queue));
    table.cell(text(cut(group.type, type_bytes_max)));
    table.cell(text(cut(group.reason, reason_bytes_max)));
    table.cell(age(group.first_ms, view.now.at_ms));
    table.cell(age(group.last_ms, view.now.at_ms));
  }
}

}  // namespace gw::inspect
