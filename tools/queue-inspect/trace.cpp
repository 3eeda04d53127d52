// trace: what happened to a message, from the journal and from where it is.
#include <algorithm>

#include "commands.hpp"
#include "diag.hpp"
#include "remote_story.hpp"
#include "story.hpp"
#include "support.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t details_max = 12;

std::string details(const JournalRecord& record) {
  std::vector<std::string> parts;
  auto add = [&](const char* word, const std::string& value) {
    if (!value.empty()) parts.push_back(std::string(word) + value);
  };
  add("in ", record.queue.empty() ? "" : "'" + record.queue + "'");
  add("to ", record.to.empty() ? "" : "'" + record.to + "'");
  add("site ", record.site);
  add("worker ", record.worker);
  if (record.attempt != 0) add("attempt ", std::to_string(record.attempt));
  if (record.status != 0) add("status ", std::to_string(record.status));
  if (record.next_try_ms != 0) add("next try ", format_rfc3339(record.next_try_ms));
  add("on account of ", record.parent_id);
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  if (!record.reason.empty()) text += (text.empty() ? "" : ": ") + record.reason;
  return text;
}

std::string event_line(const JournalRecord& record, const std::string& what) {
  std::string line = format_rfc3339(record.at_ms) + "  " + printable(record.machine) + (record.pid != 0 ? "[" + std::to_string(record.pid) + "]" : "") + "  " + what;
  line.resize(std::max(line.size(), line.size() - what.size() + details_max), ' ');
  return line + " " + printable(details(record)) + "\n";
}

void print(const Story& story, const CommonOptions& common) {
  if (common.json) {
    for (const JournalRecord& record : story.events) out(event_json(record).str() + "\n");
    return;
  }
  out(printable(story.id + ": " + story.state) + "\n");
  // What it led to stands where it happened.
  size_t child = 0;
  auto print_children = [&](int64_t until_ms) {
    for (; child < story.children.size() && story.children[child].at_ms <= until_ms; ++child)
      out(event_line(story.children[child], "sent " + printable(story.children[child].id)));
  };
  for (const JournalRecord& record : story.events) {
    print_children(record.at_ms - 1);
    out(event_line(record, std::string(to_string(record.event))));
  }
  print_children(INT64_MAX);
}

}  // namespace

Result<ExitCode> trace(const Options& options, const CommonOptions& common) {
  if (options.ids.empty()) return Error{ExitCode::usage, 0, "ID is missing: whose story is to be told?"};
  GW_TRY_ASSIGN(auto ids, read_ids(options.ids));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY(root->recover_dead_owners());
  end_when_nobody_reads();
  std::optional<RemoteStories> remote;
  if (options.remote) {
    GW_TRY_ASSIGN(remote, RemoteStories::read(common));
  }
  bool all = true, first = true;
  for (const std::string& id : ids) {
    GW_TRY_ASSIGN(Story story, tell_story(*root, id));
    for (const std::string& why : story.unreadable) print_error("nobody can look for it there: " + why);
    all &= story.unreadable.empty();
    if (remote) all &= remote->add_to(story);
    if (!story.known()) {
      all = false;
      print_error("message '" + id + "' is not known: it is in no queue, and the journal of '" + root->path() + "' " +
                  (story.journal_since_ms ? "goes back to " + format_rfc3339(*story.journal_since_ms) : "is empty"));
      continue;
    }
    if (!std::exchange(first, false) && !common.json) out("\n");
    print(story, common);
  }
  return all ? ExitCode::ok : ExitCode::no;
}

}  // namespace gw::inspect
