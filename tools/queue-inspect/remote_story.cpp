#include "remote_story.hpp"

#include <algorithm>
#include <set>

#include "captured_run.hpp"
#include "diag.hpp"
#include "program.hpp"

extern char** environ;

namespace gw::inspect {

namespace {

constexpr int64_t answer_timeout_ms = 30'000;
constexpr size_t answer_bytes_max = 16 << 20;

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; (at = text.find_first_not_of(" \t\n", at)) != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(" \t\n", at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

}  // namespace

Result<RemoteStories> RemoteStories::read(const CommonOptions& common) {
  GW_TRY_ASSIGN(Config config, load_config(common.config, common.config_given));
  RemoteStories remote;
  for (const SiteConfig& site : config.sites)
    if (!site.trace.empty()) remote.sites_.push_back(site);
  for (const MachineConfig& machine : config.machines)
    if (!machine.link.trace.empty()) remote.sites_.push_back(machine.link);
  if (remote.sites_.empty())
    return Error{ExitCode::config, 0, "'" + common.config + "': no site says how to ask it (--remote): expected an attribute like Trace=\"ssh HOST queue-inspect trace --json -\""};
  return remote;
}

/// Those that it went to; if it went to none, it may have come from any.
std::vector<const SiteConfig*> RemoteStories::sites_of(const Story& story) const {
  std::set<std::string> named;
  for (const JournalRecord& record : story.events)
    if (!record.site.empty()) named.insert(record.site);
  std::vector<const SiteConfig*> ours, all;
  for (const SiteConfig& site : sites_) {
    all.push_back(&site);
    if (named.count(site.key)) ours.push_back(&site);
  }
  return ours.empty() ? all : ours;
}

Result<std::vector<JournalRecord>> RemoteStories::ask(const SiteConfig& site, const std::string& id) {
  const std::vector<std::string> words = words_of(site.trace);
  ChildSpec spec;
  GW_TRY_ASSIGN(spec.program, find_program(words.at(0)));
  spec.arguments = words;
  for (char** entry = environ; *entry; ++entry) spec.environment.emplace_back(*entry);
  // On stdin: an id may have been chosen by somebody who would like to see it in a shell.
  GW_TRY_ASSIGN(UniqueFd in, Body(id + "\n").open());
  spec.in = in.get();
  GW_TRY_ASSIGN(CapturedRun run, run_captured(spec, answer_timeout_ms, answer_bytes_max));
  const std::string trouble = trouble_of(run, answer_timeout_ms);
  const bool unknown = run.end.signal == 0 && run.end.exit_status == static_cast<int>(ExitCode::no) && run.output.empty() && !run.timed_out;
  if (!trouble.empty() && !unknown) return Error{ExitCode::no, 0, "'" + site.trace + "' ended with " + trouble};
  std::vector<JournalRecord> events;
  for (size_t at = 0; at < run.output.size();) {
    const size_t end = std::min(run.output.find('\n', at), run.output.size());
    auto record = parse_journal_line(std::string_view(run.output).substr(at, end - at));
    if (!record) return Error{ExitCode::protocol, 0, "'" + site.trace + "' printed something else than events: " + run.output.substr(at, std::min<size_t>(end - at, 100))};
    if (record->id == id) events.push_back(*std::move(record));
    at = end + 1;
  }
  return events;
}

bool RemoteStories::add_to(Story& story) const {
  bool all = true;
  const size_t here = story.events.size();
  for (const SiteConfig* site : sites_of(story)) {
    auto events = ask(*site, story.id);
    if (!events) {
      print_error("site '" + site->key + "' cannot be asked: " + events.error().text);
      all = false;
      continue;
    }
    if (const std::string word = last_word(*events); !word.empty()) story.state += (story.state.empty() ? "" : "; ") + ("at site '" + site->key + "': " + word);
    std::move(events->begin(), events->end(), std::back_inserter(story.events));
  }
  if (story.events.size() > here)
    std::stable_sort(story.events.begin(), story.events.end(), [](const JournalRecord& a, const JournalRecord& b) { return a.at_ms < b.at_ms; });
  return all;
}

}  // namespace gw::inspect
