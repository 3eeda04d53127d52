#include <algorithm>
#include <charconv>

#include "outbox.hpp"
#include "page.hpp"
#include "selection.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr size_t rows_max = 100;
constexpr uint64_t looked_at_max = 20'000;  // in search of a group

uint64_t number_of(const Query& query, const std::string& key) {
  const auto found = query.find(key);
  uint64_t value = 0;
  if (found != query.end()) std::from_chars(found->second.data(), found->second.data() + found->second.size(), value);
  return value;
}

bool group_ok(const std::string& group) {
  return group.size() == 8 && group.find_first_not_of("0123456789abcdef") == std::string::npos;
}

struct Row {
  MessageInfo info;
  std::optional<Message> message;  // nullopt: damaged
};

struct Rows {
  std::vector<Row> rows;
  uint64_t next_seq = 0;  // where to go on; 0: that was all
};

Result<Rows> read_rows(const Queue& queue, uint64_t from, const std::string& group) {
  Rows found;
  std::vector<MessageInfo> infos;
  const size_t most = group.empty() ? rows_max + 1 : looked_at_max;
  GW_TRY(queue.scan(
      [&](const MessageInfo& info) {
        infos.push_back(info);
        return infos.size() < most;
      },
      from));
  for (const MessageInfo& info : infos) {
    if (found.rows.size() >= rows_max) {
      found.next_seq = info.seq;
      return found;
    }
    auto read = queue.read(info.seq);
    if (read && !*read) continue;  // gone meanwhile
    Row row{info, std::nullopt};
    if (read) row.message = std::move((*read)->second);
    if (!group.empty() && (!row.message || failure_group(*row.message) != group)) continue;
    found.rows.push_back(std::move(row));
  }
  if (infos.size() == most && !group.empty()) found.next_seq = infos.back().seq + 1;
  return found;
}

void messages_table(Html& into, const View& view, const std::string& queue, const Rows& found, bool failed) {
  TableOf table(into, "Messages",
                {{"Number", "number"}, {"State", "name"}, {"Age", "number"}, {"Attempts", "number"}, {"Size", "number"}, {"Type", "name"}, {"Id", "id"},
                 {failed ? Markup("Reason") : Markup("Remarks"), "wide"}});
  for (const auto& [info, message] : found.rows) {
    table.row();
    table.cell(message_link(queue, info.seq, ":" + std::to_string(info.seq)));
    table.cell(Html().tag("<span class=\"badge\">").text(to_string(info.state)).tag("</span>"));
    table.cell(age(info.put_at_ms, view.now.at_ms));
    table.cell(text(std::to_string(info.failures)));
    table.cell(text(size_text(info.body_bytes)));
    table.cell(message ? text(message_type(message->headers)) : Html());
    table.cell(message ? Html().tag("<code>").text(message->id()).tag("</code>") : Html().tag("<span class=\"badge bad\">damaged</span>"));
    Html remark;
    if (message) remark.text(message->headers.get(header::exception_message).substr(0, 300));
    if (info.state == MessageState::deferred) remark.tag(remark.empty() ? Markup("due ") : Markup(" · due ")).add(moment(info.due_at_ms));
    if (info.owner_pid != 0) remark.tag(remark.empty() ? Markup("held by process ") : Markup(" · held by process ")).text(std::to_string(info.owner_pid));
    table.cell(remark);
  }
}

void pictures(Html& into, const View& view, const QueueView& queue) {
  auto one = [&](Markup label, const Html& value, const Html& drawn) {
    into.tag("<figure><figcaption>").tag(label).tag(" <b>").add(value).tag("</b></figcaption>").add(drawn).tag("</figure>");
  };
  into.tag("<div class=\"pictures\">");
  one("Messages", Html().number(queue.waiting()), counts_picture(view, queue));
  const Html oldest = age(queue.status.oldest_put_at_ms, view.now.at_ms);
  one("Oldest", oldest.empty() ? text("none is ready") : oldest, ages_picture(view, queue));
  Html rates = text("in " + per_second(queue.puts_per_s.value_or(0)) + ", out " + per_second(queue.acks_per_s.value_or(0)));
  one("Rates", rates, rates_picture(view, queue));
  into.tag("</div>");
}

void facts(Html& into, const QueueStatus& s) {
  Facts facts(into);
  facts.add("Ready", Html().number(s.ready));
  facts.add("Claimed", Html().number(s.claimed));
  facts.add("Deferred", Html().number(s.deferred));
  facts.add("Stored ever", Html().number(s.puts_total));
  facts.add("Done", Html().number(s.acks_total));
  facts.add("Failed attempts", Html().number(s.failed_total));
  facts.add("Size", size_text(s.live_bytes));
  facts.add("On disk", size_text(s.disk_bytes));
  if (s.config.max_bytes > 0) facts.add("At most", size_text(s.config.max_bytes));
  if (!s.takes_on || !s.puts_on) {
    Html held;
    held.tag("<span class=\"badge warn\">").text(s.takes_on ? "puts" : s.puts_on ? "takes" : "takes and puts").tag("</span> ").text(s.hold_reason);
    facts.add("Held", held);
  }
  if (s.bad > 0) facts.add("Damaged", Html().number(s.bad));
  if (s.config.journal) facts.add("Journal", "every put and take");
}

void site_facts(Html& into, const View& view, const SiteStatus& site) {
  into.tag("<h2>Site ").text(site.site).tag("</h2>");
  Facts facts(into);
  facts.add("State", site.state);
  if (!site.address.empty()) facts.add("Address", site.address);
  if (!site.channel_type.empty()) facts.add("Channel", site.channel_type);
  if (site.last_delivered_ms != 0) facts.add("Last delivered", moment(site.last_delivered_ms));
  if (site.next_try_ms != 0) facts.add("Next try", moment(site.next_try_ms));
  if (!site.last_error.empty()) facts.add("Last error", site.last_error);
  if (view.now.forwarders.empty()) facts.add("Forwarder", "none runs");
}

std::vector<CommandLine> queue_commands(const QueueStatus& s, bool failed, const std::string& group) {
  const std::string q = shell_word(s.name);
  if (!group.empty()) {
    const std::string these = q + " --group " + group;
    return {{"What would go back where", "queue-inspect return " + these + " --dry-run"},
            {"Back to where they failed, a few first", "queue-inspect return " + these + " --ramp 1,5,20,100 --stop-on-failures 1"},
            {"Keep a copy", "queue-inspect export " + these + " > failed-" + group + ".tar"},
            {"Remove for good", "queue-inspect purge " + these}};
  }
  std::vector<CommandLine> lines{{"List as text", "queue-inspect list " + q}};
  if (failed) lines.push_back({"Failures by kind", "queue-inspect groups " + q});
  if (const auto site = site_of_outbox(s.name)) {
    lines.push_back({"Try now", "gw-send flush --to " + shell_word(*site)});
    lines.push_back({"Can the site be reached, and what arrives there?", "gw-send probe --to " + shell_word(*site)});
  }
  if (!s.takes_on || !s.puts_on) lines.push_back({"Let takes and puts go on", "queue-inspect release " + q});
  else lines.push_back({"Stop takes for a while", "queue-inspect hold " + q + " --reason 'why'"});
  lines.push_back({"Wait until it is empty", "queue-inspect wait " + q + " --for empty --timeout 10m"});
  lines.push_back({"Keep a copy", "queue-inspect export " + q + " > " + q + ".tar"});
  return lines;
}

}  // namespace

Page queue_page(const View& view, const std::string& name, const Query& query) {
  const QueueView* seen = view.now.find(name);
  auto queue = view.root.queue(name);
  if (!seen || !queue) return not_found_page("There is no queue '" + name + "' here.");
  const auto wanted = query.find("group");
  const std::string group = wanted != query.end() && group_ok(wanted->second) ? wanted->second : "";
  std::vector<FailureView> failures;
  for (const FailureView& f : view.now.failures)
    if (f.queue == name && (group.empty() || f.group.group == group)) failures.push_back(f);

  Page page{200, name, {}};
  Html& body = page.body;
  body.tag("<nav class=\"path\" aria-label=\"Where you are\"><a href=\"/\">All queues</a>");
  if (!group.empty()) body.tag(" › ").add(queue_link(name));
  body.tag("</nav><h1>").text(name);
  if (!group.empty()) body.tag(" <small>kind <code>").text(group).tag("</code></small>");
  body.tag("</h1>");
  if (group.empty()) {
    pictures(body, view, *seen);
    facts(body, seen->status);
    if (const auto site = site_of_outbox(name))
      for (const SiteStatus& status : view.now.sites)
        if (status.site == *site) site_facts(body, view, status);
  }
  if (!failures.empty()) {
    body.tag("<section aria-labelledby=\"kinds\"><h2 id=\"kinds\">").tag(group.empty() ? Markup("Failures by kind") : Markup("This kind of failure")).tag("</h2>");
    failures_table(body, view, failures, false);
    body.tag("</section>");
  }
  body.tag("<section aria-labelledby=\"do\"><h2 id=\"do\">Commands</h2>");
  commands(body, view, queue_commands(seen->status, !failures.empty(), group));
  body.tag("</section><section aria-labelledby=\"messages\"><h2 id=\"messages\">Messages</h2>");
  const uint64_t from = number_of(query, "from");
  auto found = read_rows(*queue, from, group);
  if (!found) {
    body.tag("<p class=\"notice bad\">").text(found.error().text).tag("</p>");
  } else if (found->rows.empty()) {
    body.tag("<p class=\"quiet\">").tag(from > 0 || !group.empty() ? Markup("No more messages.") : Markup("The queue is empty.")).tag("</p>");
  } else {
    messages_table(body, view, name, *found, !failures.empty());
  }
  if (found && found->next_seq > 0) {
    body.tag("<p class=\"more\"><a href=\"/queue/").text(url_part(name)).tag("?from=").text(std::to_string(found->next_seq));
    if (!group.empty()) body.tag("&amp;group=").text(group);
    body.tag("#messages\">Further messages</a></p>");
  }
  body.tag("</section>");
  return page;
}

}  // namespace gw::inspect
