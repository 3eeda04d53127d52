#include "page.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr size_t events_max = 500, stories_max = 64;
constexpr int64_t told_share = 10;  // finding out takes at most one part of so many of the time

Html trace_link(const std::string& id) {
  return Html().tag("<a href=\"/trace/").text(url_part(id)).tag("\"><code>").text(id).tag("</code></a>");
}

Html details(const JournalRecord& record) {
  Html html;
  auto add = [&](Markup word, const Html& value) { html.tag(html.empty() ? Markup("") : Markup(" · ")).tag(word).add(value); };
  if (record.seq != 0) add("number ", text(":" + std::to_string(record.seq)));
  if (!record.worker.empty()) add("worker ", text(record.worker));
  if (record.attempt != 0) add("attempt ", text(std::to_string(record.attempt)));
  if (record.status != 0) add("status ", text(std::to_string(record.status)));
  if (record.next_try_ms != 0) add("next try ", moment(record.next_try_ms));
  if (!record.parent_id.empty()) add("on account of ", trace_link(record.parent_id));
  if (!record.reason.empty()) add("", text(record.reason));
  return html;
}

Html place(const View& view, const JournalRecord& record) {
  Html html;
  if (!record.site.empty()) html.tag("site ").text(record.site);
  else if (!record.queue.empty()) html.add(view.now.find(record.queue) ? queue_link(record.queue) : text(record.queue));
  if (!record.to.empty()) html.tag(" → ").add(view.now.find(record.to) ? queue_link(record.to) : text(record.to));
  return html;
}

void events(Html& into, const View& view, const Story& story) {
  TableOf table(into, "What happened", {{"Time", "name"}, {"What", "name"}, {"Where", "name"}, {"Details", "wide"}, {"By", "name"}});
  size_t rows = 0;
  auto row = [&](const JournalRecord& record, const Html& what) {
    if (++rows > events_max) return;
    table.row();
    table.cell(Html().tag("<time datetime=\"").text(format_rfc3339(record.at_ms)).tag("\">").text(format_rfc3339(record.at_ms)).tag("</time>"));
    table.cell(what);
    table.cell(place(view, record));
    table.cell(details(record));
    table.cell(text(record.machine + (record.pid != 0 ? ", process " + std::to_string(record.pid) : "")));
  };
  // What it led to stands where it happened.
  size_t child = 0;
  auto children = [&](int64_t until_ms) {
    for (; child < story.children.size() && story.children[child].at_ms <= until_ms; ++child)
      row(story.children[child], Html().tag("sent ").add(trace_link(story.children[child].id)));
  };
  for (const JournalRecord& record : story.events) {
    children(record.at_ms - 1);
    row(record, Html().tag("<b>").text(to_string(record.event)).tag("</b>"));
  }
  children(INT64_MAX);
}

}  // namespace

std::shared_ptr<const Result<Story>> Stories::tell(const std::string& id) {
  const int64_t began = monotonic_ms();
  std::erase_if(told_, [&](const auto& entry) { return entry.second.good_until_ms <= began; });
  if (auto known = told_.find(id); known != told_.end()) return known->second.story;
  auto story = std::make_shared<const Result<Story>>(tell_story(root_, id));
  const int64_t ended = monotonic_ms();
  if (told_.size() < stories_max) told_[id] = {story, ended + (ended - began) * told_share};
  return story;
}

void story_of(Html& into, const View& view, const std::string& id) {
  const auto told = view.stories.tell(id);
  if (!*told || (*told)->events.empty()) return;
  into.tag("<section aria-labelledby=\"story\"><h2 id=\"story\">What happened</h2>");
  events(into, view, **told);
  into.tag("</section>");
}

Page trace_page(const View& view, const std::string& id) {
  const auto told = view.stories.tell(id);
  const Result<Story>& story = *told;
  if (!story) {
    Page page{200, "Trace", {}};
    page.body.tag("<h1>Trace</h1><p class=\"notice bad\">").text(story.error().text).tag("</p>");
    return page;
  }
  if (!story->known())
    return not_found_page("Message '" + id + "' is in no queue, and the journal " +
                          (story->journal_since_ms ? "goes back to " + format_rfc3339(*story->journal_since_ms) : "is empty") + ".");
  Page page{200, id, {}};
  page.body.tag("<nav class=\"path\" aria-label=\"Where you are\"><a href=\"/\">All queues</a></nav><h1 class=\"id\">").text(id).tag("</h1><p>").text(story->state).tag("</p>");
  if (!story->copies.empty()) {
    page.body.tag("<h2>Where it is</h2><ul class=\"names\">");
    for (const LiveCopy& copy : story->copies)
      page.body.tag("<li>").add(message_link(copy.queue, copy.info.seq, copy.queue + " :" + std::to_string(copy.info.seq))).tag("</li>");
    page.body.tag("</ul>");
  }
  if (!story->events.empty()) {
    page.body.tag("<section aria-labelledby=\"story\"><h2 id=\"story\">What happened</h2>");
    events(page.body, view, *story);
    page.body.tag("</section>");
  }
  if (message_id_ok(id)) {
    page.body.tag("<section aria-labelledby=\"do\"><h2 id=\"do\">Commands</h2>");
    commands(page.body, view, {{"The same as text", "queue-inspect trace " + shell_word(id)}});
    page.body.tag("</section>");
  }
  return page;
}

}  // namespace gw::inspect
