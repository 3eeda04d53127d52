#include <algorithm>

#include "outbox.hpp"
#include "page.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr size_t rows_max = 500;

bool busy(const QueueView& queue) {
  if (queue.waiting() > 0 || !queue.status.takes_on || !queue.status.puts_on || queue.status.bad > 0) return true;
  return std::any_of(queue.history.begin(), queue.history.end(), [](const QueueSample& s) { return s.messages > 0 || s.puts_per_s > 0 || s.acks_per_s > 0; });
}

Html held(const QueueStatus& status) {
  Html html;
  if (!status.takes_on) html.tag("<span class=\"badge warn\">takes held</span> ");
  if (!status.puts_on) html.tag("<span class=\"badge warn\">puts held</span> ");
  if (status.bad > 0) html.tag("<span class=\"badge bad\">").number(status.bad).tag(" damaged</span> ");
  if (!status.hold_reason.empty() && !(status.takes_on && status.puts_on)) html.text(status.hold_reason);
  return html;
}

Html count(uint64_t n) {
  Html html;
  if (n == 0) return html.tag("<span class=\"zero\">0</span>");
  return html.number(n);
}

void queues_table(Html& into, const View& view, const std::vector<const QueueView*>& queues) {
  TableOf table(into, "Queues",
                {{"Queue", "name"}, {"Ready", "number"}, {"Claimed", "number"}, {"Deferred", "number"}, {"Oldest", "number"}, {"Age", "drawn"},
                 {"In", "number"}, {"Out", "number"}, {"Rates", "drawn"}, {"Disk", "number"}, {"Remarks", "wide"}});
  size_t rows = 0;
  for (const QueueView* queue : queues) {
    if (++rows > rows_max) break;
    const QueueStatus& s = queue->status;
    table.row();
    table.cell(queue_link(s.name));
    table.cell(count(s.ready));
    table.cell(count(s.claimed));
    table.cell(count(s.deferred));
    table.cell(age(s.oldest_put_at_ms, view.now.at_ms));
    table.cell(ages_picture(view, *queue));
    table.cell(queue->puts_per_s ? text(per_second(*queue->puts_per_s)) : Html());
    table.cell(queue->acks_per_s ? text(per_second(*queue->acks_per_s)) : Html());
    table.cell(rates_picture(view, *queue));
    table.cell(text(size_text(s.disk_bytes)));
    table.cell(held(s));
  }
}

void queues(Html& into, const View& view) {
  std::vector<const QueueView*> in_use, idle;
  for (const QueueView& queue : view.now.queues) (busy(queue) ? in_use : idle).push_back(&queue);
  into.tag("<section aria-labelledby=\"queues\"><h2 id=\"queues\">Queues</h2>");
  if (in_use.empty()) into.tag("<p class=\"quiet\">Nothing waits, nothing moves.</p>");
  else queues_table(into, view, in_use);
  if (in_use.size() > rows_max) into.tag("<p class=\"quiet\">The first 500 of ").number(in_use.size()).tag(".</p>");
  if (!idle.empty()) {
    into.tag("<details id=\"idle\"><summary>").number(idle.size()).tag(idle.size() == 1 ? Markup(" empty queue") : Markup(" empty queues")).tag("</summary><ul class=\"names\">");
    for (size_t i = 0; i < idle.size() && i < rows_max; ++i) into.tag("<li>").add(queue_link(idle[i]->status.name)).tag("</li>");
    into.tag("</ul></details>");
  }
  into.tag("</section>");
}

Html state_badge(const std::string& state) {
  Html html;
  html.tag("<span class=\"badge ").tag(state == "up" ? Markup("good") : state == "down" ? Markup("bad") : Markup("warn")).tag("\">").text(state).tag("</span>");
  return html;
}

void sites(Html& into, const View& view) {
  const Overview& now = view.now;
  if (now.sites.empty()) return;
  into.tag("<section aria-labelledby=\"sites\"><h2 id=\"sites\">Sites</h2>");
  if (now.forwarders.empty()) into.tag("<p class=\"notice bad\">No forwarder runs: nothing leaves for other sites.</p>");
  for (const Forwarder& forwarder : now.forwarders)
    into.tag("<p class=\"quiet\">Forwarder ").text(std::to_string(forwarder.pid)).tag(", running for ").add(age(forwarder.since_ms, now.at_ms)).tag("</p>");
  {
    TableOf table(into, "Sites",
                  {{"Site", "name"}, {"State", "name"}, {"Waiting", "number"}, {"Size", "number"}, {"Oldest", "number"}, {"On the way", "number"},
                   {"Last delivered", "number"}, {"Next try", "name"}, {"Last error", "wide"}});
    for (const SiteStatus& site : now.sites) {
      const std::string outbox = outbox_of_site(site.site);
      table.row();
      Html name = text(site.site);
      if (now.find(outbox)) name = Html().tag("<a href=\"/queue/").text(url_part(outbox)).tag("\">").text(site.site).tag("</a>");
      table.cell(name.tag(" <small>").text(site.address).tag("</small>"));
      table.cell(state_badge(site.state));
      table.cell(count(site.waiting));
      table.cell(text(size_text(site.waiting_bytes)));
      table.cell(age(site.oldest_put_ms, now.at_ms));
      table.cell(count(site.in_flight));
      Html delivered = age(site.last_delivered_ms, now.at_ms);
      table.cell(delivered.empty() ? delivered : delivered.tag(" ago"));
      table.cell(moment(site.next_try_ms));
      table.cell(text(site.last_error));
    }
  }
  into.tag("</section>");
}

Html worker_state(const std::string& state) {
  Html html;
  html.tag("<span class=\"badge ").tag(state == "ready" ? Markup("good") : state == "dead" ? Markup("bad") : Markup("warn")).tag("\">").text(state).tag("</span>");
  return html;
}

std::vector<CommandLine> worker_commands(const std::vector<WorkerView>& workers) {
  constexpr size_t workers_max = 20;
  std::vector<CommandLine> lines{{"All in numbers", "distributor status"}};
  for (size_t i = 0; i < workers.size() && i < workers_max; ++i) {
    if (workers[i].plain) continue;  // no distributor could give it less
    const std::string& worker = workers[i].report.worker;
    const bool at_work = workers[i].report.state == "ready";
    lines.push_back({at_work ? "Let " + worker + " finish, and give it nothing more" : "Let " + worker + " have messages again",
                     (at_work ? "distributor drain " : "distributor resume ") + shell_word(worker)});
  }
  return lines;
}

void workers(Html& into, const View& view) {
  const Overview& now = view.now;
  if (now.workers.empty()) return;
  into.tag("<section aria-labelledby=\"workers\"><h2 id=\"workers\">Workers</h2>");
  {
    TableOf table(into, "Workers",
                  {{"Worker", "name"}, {"Endpoint", "name"}, {"State", "name"}, {"Capacity", "number"}, {"Tokens", "number"}, {"In flight", "number"},
                   {"Done", "number"}, {"Failed", "number"}, {"Since", "number"}});
    for (const auto& [endpoint, worker, plain] : now.workers) {
      table.row();
      table.cell(text(worker.worker));
      table.cell(now.find(endpoint) ? queue_link(endpoint) : text(endpoint));
      table.cell(worker_state(worker.state));
      table.cell(count(worker.capacity));
      table.cell(plain ? text("–") : count(worker.tokens));
      table.cell(count(worker.in_flight));
      table.cell(count(worker.done));
      table.cell(count(worker.failed));
      table.cell(age(worker.since_ms, now.at_ms));
    }
  }
  into.tag("<details id=\"worker-commands\"><summary>Commands for workers</summary>");
  commands(into, view, worker_commands(now.workers));
  into.tag("</details></section>");
}

void failures(Html& into, const View& view) {
  const Overview& now = view.now;
  if (now.failures.empty()) return;
  into.tag("<section aria-labelledby=\"failures\"><h2 id=\"failures\">Failures</h2>");
  failures_table(into, view, now.failures, true);
  for (const FailuresLeftOut& left : now.left_out)
    into.tag("<p class=\"quiet\">Counted are the first ").number(left.looked_at).tag(" messages of ").add(queue_link(left.queue)).tag(".</p>");
  into.tag("</section>");
}

void figure(Html& into, Markup href, Markup label, const Html& value, Markup tone, const Html& remark) {
  into.tag("<a class=\"figure ").tag(tone).tag("\" href=\"").tag(href).tag("\"><span class=\"label\">").tag(label).tag("</span> <b>").add(value).tag("</b> <small>").add(remark).tag("</small></a>");
}

void figures(Html& into, const View& view) {
  const Overview& now = view.now;
  uint64_t waiting = 0, failed = 0;
  const QueueView* oldest = nullptr;
  double in = 0, out = 0;
  for (const QueueView& queue : now.queues) {
    const bool of_failures = std::any_of(now.failures.begin(), now.failures.end(), [&](const FailureView& f) { return f.queue == queue.status.name; });
    if (is_ledger(queue.status.name)) continue;
    (of_failures ? failed : waiting) += queue.waiting();
    in += queue.puts_per_s.value_or(0);
    out += queue.acks_per_s.value_or(0);
    if (of_failures || queue.status.oldest_put_at_ms == 0) continue;
    if (!oldest || queue.status.oldest_put_at_ms < oldest->status.oldest_put_at_ms) oldest = &queue;
  }
  const auto down = std::count_if(now.sites.begin(), now.sites.end(), [](const SiteStatus& s) { return s.state == "down"; });
  into.tag("<nav class=\"figures\" aria-label=\"At a glance\">");
  figure(into, "#queues", "Waiting", Html().number(waiting), "", text("in " + std::to_string(now.queues.size()) + (now.queues.size() == 1 ? " queue" : " queues")));
  figure(into, "#queues", "Oldest", oldest ? age(oldest->status.oldest_put_at_ms, now.at_ms) : text("none"), "", oldest ? text("in " + oldest->status.name) : text("nothing is ready"));
  figure(into, "#queues", "Moving", text(per_second(in)), "", text("in, " + per_second(out) + " out"));
  if (!now.sites.empty())
    figure(into, "#sites", "Sites", Html().number(now.sites.size()), down > 0 || now.forwarders.empty() ? Markup("alarm") : Markup(""),
           text(now.forwarders.empty() ? "no forwarder" : down > 0 ? std::to_string(down) + " down" : "none is down"));
  figure(into, now.failures.empty() ? Markup("#queues") : Markup("#failures"), "Failed", Html().number(failed), failed > 0 ? Markup("alarm") : Markup(""),
         failed > 0 ? text(std::to_string(now.failures.size()) + (now.failures.size() == 1 ? " kind" : " kinds")) : text("nothing"));
  into.tag("</nav>");
}

}  // namespace

Page overview_page(const View& view) {
  Page page{200, "Overview", {}};
  page.body.tag("<h1 class=\"unseen\">Overview</h1>");
  figures(page.body, view);
  failures(page.body, view);
  queues(page.body, view);
  workers(page.body, view);
  sites(page.body, view);
  page.body.tag("<section aria-labelledby=\"do\"><h2 id=\"do\">Commands</h2>");
  commands(page.body, view,
           {{"The same on a terminal", "queue-inspect watch"},
            {"An alarm for cron: more than 1000 messages, or older than 10 minutes", "queue-inspect list --max-count 1000 --max-age 10m"},
            {"Is every record and count right?", "queue-inspect check"}});
  page.body.tag("</section>");
  return page;
}

}  // namespace gw::inspect
