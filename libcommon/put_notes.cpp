#include "put_notes.hpp"

#include <map>

namespace gw {
namespace {

constexpr std::string_view site_prefix = "site.", machine_prefix = "machine.", gateway_suffix = ".gateway";

}  // namespace

std::string_view parent_of(const Headers& headers) {
  const std::string_view parent = headers.get(parent_id_header);
  return parent.empty() ? headers.get(header::related_to) : parent;
}

bool always_noted(std::string_view queue) {
  return queue.starts_with(site_prefix) || queue.starts_with(machine_prefix) || queue.ends_with(gateway_suffix);
}

JournalLine PutNote::line(Happened happened, uint64_t seq) const {
  JournalLine line;
  line.event = happened;
  line.id = id;
  line.queue = queue;
  line.seq = seq;
  line.site = site;
  line.parent_id = parent_id;
  line.traceparent = traceparent;
  return line;
}

PutNote note_put(const Queue& queue, const Message& message, std::string_view parent_id) {
  PutNote note;
  note.id = message.id();
  note.queue = queue.name();
  if (note.queue.starts_with(site_prefix)) note.site = note.queue.substr(site_prefix.size());
  if (note.queue.starts_with(machine_prefix)) note.site = "@" + note.queue.substr(machine_prefix.size());
  if (note.site.empty()) note.site = message.headers.get(from_site_header);
  note.parent_id = parent_id.empty() ? parent_of(message.headers) : parent_id;
  note.traceparent = message.headers.get(traceparent_header);
  return note;
}

PutNotes::PutNotes(std::vector<Transaction>& transactions, Which which, std::string_view parent_id) {
  std::map<std::string, bool, std::less<>> asked;
  auto wanted = [&](const Queue& queue) {
    if (which == Which::all) return true;
    auto known = asked.find(queue.name());
    if (known == asked.end()) known = asked.emplace(queue.name(), always_noted(queue.name()) || queue.journalled()).first;
    return known->second;
  };
  for (size_t i = 0; i < transactions.size(); ++i) {
    const std::vector<Transaction::Put>& puts = transactions[i].puts();
    for (size_t p = 0; p < puts.size(); ++p)
      if (wanted(puts[p].queue)) places_.push_back({i, p, note_put(puts[p].queue, puts[p].message, parent_id)});
  }
}

void PutNotes::tell(Journal& journal, const std::vector<Result<CommitResult>>& results) const {
  for (const Place& place : places_) {
    const Result<CommitResult>& result = results[place.transaction];
    if (!result || place.put >= result->puts.size()) continue;
    const PutResult& put = result->puts[place.put];
    if (put.outcome == PutOutcome::stored) journal.add(place.note.line(Happened::stored, put.seq));
    if (put.outcome == PutOutcome::duplicate) journal.add(place.note.line(Happened::duplicate, put.seq));
  }
  journal.write();
}

std::vector<Result<CommitResult>> commit_noted(Root& root, std::vector<Transaction>&& transactions, PutNotes::Which which,
                                               std::string_view parent_id) {
  const PutNotes notes(transactions, which, parent_id);
  auto results = root.commit_all(std::move(transactions));
  notes.tell(root.journal(), results);
  return results;
}

}  // namespace gw
