#include "story.hpp"

#include <algorithm>
#include <map>

#include "failure.hpp"
#include "outbox.hpp"
#include "outcome_store.hpp"
#include "put_notes.hpp"
#include "queue_search.hpp"
#include "units.hpp"

namespace gw {
namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }
std::string at_text(int64_t ms) { return " at " + format_rfc3339(ms); }
std::string times(unsigned count) { return count == 1 ? "1 failed attempt" : std::to_string(count) + " failed attempts"; }
/// The first line of a reason, not too long.
std::string because(const std::string& reason) {
  if (reason.empty()) return "";
  std::string line = reason.substr(0, std::min(reason.find('\n'), size_t{200}));
  return ": " + line;
}

// --- where it is --------------------------------------------------------------------------------------------------------------

Result<void> look_in(Root& root, const Queue& queue, const std::string& id, std::vector<LiveCopy>& into) {
  GW_TRY_ASSIGN(auto seqs, search_queue(root, queue, id));
  for (uint64_t seq : seqs) {
    auto found = queue.read(seq);  // a damaged one says nothing
    if (found && *found && (*found)->second.headers.get(header::message_id) == id)
      into.push_back({queue.name(), (*found)->first, std::move((*found)->second.headers)});
  }
  return {};
}

Result<void> find_copies(Root& root, Story& story) {
  GW_TRY_ASSIGN(auto names, root.list_queues());
  for (const std::string& name : names) {
    auto queue = root.queue(name);
    auto looked = queue ? look_in(root, *queue, story.id, story.copies) : Result<void>(queue.error());
    if (!looked && looked.error().code != ExitCode::no_input) story.unreadable.push_back(looked.error().text);  // else it was removed meanwhile
  }
  return {};
}

std::string place_of(const LiveCopy& copy) {
  const Headers& headers = copy.headers;
  if (const std::string* failed_queue = headers.find(header::failed_q))
    return "in queue " + quoted(copy.queue) + ", where it came from " + quoted(*failed_queue) + because(std::string(headers.get(header::exception_message)));
  std::string text = "waiting in queue " + quoted(copy.queue);
  if (copy.info.state == MessageState::claimed)
    text = "in the hands of process " + std::to_string(copy.info.owner_pid) + ", from queue " + quoted(copy.queue);
  if (copy.info.state == MessageState::deferred) text += " until " + format_rfc3339(copy.info.due_at_ms);
  if (copy.info.failures > 0) text += " after " + times(copy.info.failures);
  return text;
}

// --- what only they know ------------------------------------------------------------------------------------------------------

/// What the journal should say of a message that is there: it may be younger than the message, or the queue be without one.
void add_copy(const LiveCopy& copy, const std::string& machine, std::vector<JournalRecord>& events) {
  auto entered = [&](const JournalRecord& record) {
    return (record.event == Happened::stored && record.queue == copy.queue) || record.to == copy.queue;
  };
  if (std::any_of(events.begin(), events.end(), entered)) return;
  JournalRecord made;
  made.machine = machine;
  made.id = copy.headers.get(header::message_id);
  made.at_ms = copy.info.put_at_ms;
  made.queue = copy.queue;
  made.seq = copy.info.seq;
  made.parent_id = parent_of(copy.headers);
  made.site = site_of_outbox(copy.queue).value_or(std::string(copy.headers.get(from_site_header)));
  made.traceparent = copy.headers.get(traceparent_header);
  if (const std::string* failed_queue = copy.headers.find(header::failed_q)) {
    made.event = Happened::failed;
    made.to = std::exchange(made.queue, *failed_queue);
    made.reason = copy.headers.get(header::exception_message);
  }
  events.push_back(std::move(made));
}

void add_outcome(const Outcome& outcome, const std::string& id, const std::string& machine, std::vector<JournalRecord>& events) {
  static constexpr std::pair<OutcomeState, Happened> same[] = {{OutcomeState::stored, Happened::deferred},
                                                               {OutcomeState::delivered, Happened::delivered},
                                                               {OutcomeState::failed, Happened::failed},
                                                               {OutcomeState::expired, Happened::expired},
                                                               {OutcomeState::purged, Happened::purged}};
  const auto happened = std::find_if(std::begin(same), std::end(same), [&](const auto& s) { return s.first == outcome.state; })->second;
  if (outcome.state == OutcomeState::stored && outcome.attempts == 0) return;
  auto told = [&](const JournalRecord& record) {
    return record.event == happened && (record.site == outcome.site || record.queue == outbox_of_site(outcome.site));
  };
  if (std::any_of(events.begin(), events.end(), told)) return;
  JournalRecord made;
  made.machine = machine;
  made.id = id;
  made.at_ms = outcome.since_ms;
  made.event = happened;
  made.queue = outbox_of_site(outcome.site);
  made.site = outcome.site;
  made.attempt = outcome.attempts;
  made.status = outcome.status;
  made.reason = outcome.reason;
  made.next_try_ms = outcome.next_try_ms;
  events.push_back(std::move(made));
}

// --- in one sentence ----------------------------------------------------------------------------------------------------------

/// How the way through one queue ended; "": nobody knows.
std::string end_of(const JournalRecord& last) {
  const std::string when = at_text(last.at_ms);
  switch (last.event) {
    case Happened::delivered: return "delivered to site " + quoted(last.site) + when;
    case Happened::handled:
      if (last.worker.empty()) return "taken from queue " + quoted(last.queue) + when;
      return "handled by worker " + quoted(last.worker) + when;
    case Happened::purged: return "removed from queue " + quoted(last.queue) + when + because(last.reason);
    case Happened::expired: return "expired in queue " + quoted(last.queue) + when;
    case Happened::refused: return "refused" + when + because(last.reason);
    case Happened::failed: return "failed in queue " + quoted(last.queue) + when + because(last.reason) + "; it is no longer in queue " + quoted(last.to.empty() ? "error" : last.to);
    case Happened::stored: return "put into queue " + quoted(last.queue) + when + " and gone from there";
    case Happened::moved:
    case Happened::returned: return "put into queue " + quoted(last.to) + when + " and gone from there";
    case Happened::deferred: return "gone from queue " + quoted(last.queue) + " since" + when + because(last.reason);
    case Happened::duplicate: return "";
  }
  return "";
}

bool ends(Happened happened) {
  return happened == Happened::delivered || happened == Happened::handled || happened == Happened::purged || happened == Happened::expired;
}

/// A message may go several ways at once, one for each site. Each has its last event.
std::vector<std::string> ends_of(const Story& story) {
  std::map<std::string, const JournalRecord*> last;  // by queue
  for (const JournalRecord& record : story.events) {
    if (record.event == Happened::duplicate || record.event == Happened::refused) continue;
    // What leaves a queue for another one goes on there.
    if (!record.to.empty()) {
      last.erase(record.queue);
      last[record.to] = &record;
    } else {
      last[record.queue] = &record;
    }
  }
  std::vector<const JournalRecord*> ways;
  for (const auto& [queue, record] : last) {
    const bool there = std::any_of(story.copies.begin(), story.copies.end(), [&](const LiveCopy& copy) { return copy.queue == queue; });
    if (!there) ways.push_back(record);
  }
  // Of what is known to have come to an end, nobody wants to hear how else it could have gone.
  if (std::any_of(ways.begin(), ways.end(), [](const JournalRecord* one) { return ends(one->event); }) || !story.copies.empty())
    std::erase_if(ways, [](const JournalRecord* one) { return !ends(one->event) && one->event != Happened::failed; });
  std::stable_sort(ways.begin(), ways.end(), [](const JournalRecord* a, const JournalRecord* b) { return a->at_ms < b->at_ms; });
  std::vector<std::string> texts;
  for (const JournalRecord* one : ways) texts.push_back(end_of(*one));
  return texts;
}

std::string sentence(const Story& story) {
  std::vector<std::string> parts = ends_of(story);
  for (const LiveCopy& copy : story.copies) parts.push_back(place_of(copy));
  if (parts.empty() && !story.events.empty()) {
    const JournalRecord& last = story.events.back();
    parts.push_back(last.event == Happened::duplicate ? "came again at " + format_rfc3339(last.at_ms) + ", and was accepted before" : end_of(last));
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : "; ") + part;
  return text;
}

}  // namespace

std::string last_word(const std::vector<JournalRecord>& events) {
  for (auto at = events.rbegin(); at != events.rend(); ++at) {
    if (at->event == Happened::duplicate) continue;
    if (at->event == Happened::stored) return "in queue " + quoted(at->queue) + " since " + format_rfc3339(at->at_ms);
    if (at->event == Happened::moved || at->event == Happened::returned) return "in queue " + quoted(at->to) + " since " + format_rfc3339(at->at_ms);
    if (at->event == Happened::failed) return "in queue " + quoted(at->to) + " since " + format_rfc3339(at->at_ms) + because(at->reason);
    if (at->event == Happened::deferred) return "deferred in queue " + quoted(at->queue) + because(at->reason);
    return end_of(*at);
  }
  return "";
}

Result<Story> tell_story(Root& root, const std::string& id) {
  Story story;
  story.id = id;
  GW_TRY(search_journal(root.path(), id, [&](JournalRecord&& record) {
    if (record.id == id)
      story.events.push_back(std::move(record));
    else if (record.event == Happened::stored)
      story.children.push_back(std::move(record));
  }));
  story.journal_since_ms = journal_since_ms(root.path());
  GW_TRY(find_copies(root, story));
  for (const LiveCopy& copy : story.copies) add_copy(copy, root.machine(), story.events);
  // Their store, if there is one; a damaged one is no reason to tell nothing.
  if (auto store = OutcomeStore::open(root.path(), false))
    if (auto outcomes = (*store)->find(id))
      for (const Outcome& outcome : *outcomes) add_outcome(outcome, id, root.machine(), story.events);
  auto earlier = [](const JournalRecord& a, const JournalRecord& b) { return a.at_ms < b.at_ms; };
  std::stable_sort(story.events.begin(), story.events.end(), earlier);
  std::stable_sort(story.children.begin(), story.children.end(), earlier);
  story.state = sentence(story);
  return story;
}

JsonObject event_json(const JournalRecord& record) {
  JsonObject object;
  auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) object.add(key, value);
  };
  object.add_time("at", record.at_ms);
  text("machine", record.machine);
  object.add("event", to_string(record.event)).add("id", record.id);
  text("queue", record.queue);
  text("to", record.to);
  if (record.seq != 0) object.add("seq", record.seq);
  text("site", record.site);
  text("worker", record.worker);
  if (record.pid != 0) object.add("pid", record.pid);
  if (record.attempt != 0) object.add("attempt", record.attempt);
  if (record.status != 0) object.add("status", record.status);
  text("reason", record.reason);
  object.add_time("next_try_at", record.next_try_ms);
  text("parent_id", record.parent_id);
  text("traceparent", record.traceparent);
  return object;
}

}  // namespace gw
