// What happened to one message, and where it is now: from the journal, the live queues and the outcomes of sites.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "journal.hpp"
#include "json.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw {

/// Where a copy of it lies now.
struct LiveCopy {
  std::string queue;
  MessageInfo info;
  Headers headers;
};

struct Story {
  std::string id;
  std::string state;                    ///< one sentence, without the id
  std::vector<JournalRecord> events;    ///< in time order
  std::vector<JournalRecord> children;  ///< `stored` of messages that were sent on its account
  std::vector<LiveCopy> copies;
  std::optional<int64_t> journal_since_ms;
  std::vector<std::string> unreadable;  ///< queues in which nobody can look for it, and why
  bool known() const { return !events.empty() || !copies.empty(); }
};

/// Reads everything there is. What the journal has lost is told from the queues and outcomes as far as they know it.
Result<Story> tell_story(Root& root, const std::string& id);

/// How it ended, from events alone (of another machine, whose queues nobody sees from here): "handled by worker 'W' at T".
std::string last_word(const std::vector<JournalRecord>& events);

/// The JSON of one event, as `queue-inspect trace --json` prints it.
JsonObject event_json(const JournalRecord& record);

}  // namespace gw
