// What several commands need.
#pragma once

#include <optional>
#include <string>

#include "json.hpp"
#include "options.hpp"
#include "tool.hpp"

namespace gw::inspect {

/// The queue, or no_input with a name that was probably meant, or how to create it.
Result<Queue> open_queue(Root& root, const std::string& name);
/// The same, after what dead processes held has been given back: for commands that look at claims.
Result<Queue> open_settled_queue(Root& root, const std::string& name);
/// All queues, after what dead processes held has been given back. One that cannot be read hides no other: it is told on stderr, and
/// `code` says what kind of error it was.
struct AllStatus {
  std::vector<QueueStatus> queues;
  ExitCode code = ExitCode::ok;
};
Result<AllStatus> status_of_all(Root& root);
/// As Root::create_queue, with the limits that the configuration file has for this name. An existing queue stays as it is.
Result<Queue> create_configured(Root& root, const std::string& name, const CommonOptions& common);
/// usage unless the words before the selection are all there: "QUEUE is missing".
Result<void> require(const std::string& value, const char* name);
/// usage: commands that change something never take an empty selection for "all".
Result<void> require_selection(const SelectionOptions& selection);
/// A deadline on the monotonic clock; nullopt: none was given.
Result<std::optional<int64_t>> deadline_of(const std::string& timeout);
int64_t ms_until(const std::optional<int64_t>& deadline);

/// The words, and for "-" the lines of stdin, as message ids. usage: one is none.
Result<std::vector<std::string>> read_ids(const std::vector<std::string>& words);

/// For commands that change nothing and whose output is cut off by `| head` as a matter of course: they end then, with 74, and do not
/// look through the rest of a long queue.
void end_when_nobody_reads();

/// For commands that go on until a signal: wakes `root`'s waiters, and ends the process with 0 if this object still lives 8 s later
/// because nobody reads the output. What the process holds is given back then, as after any death. Make it after `root` and before
/// Signals::install(); it must go before `root` does.
class EndOnSignal {
 public:
  explicit EndOnSignal(Root& root);
  ~EndOnSignal();
  EndOnSignal(const EndOnSignal&) = delete;
  EndOnSignal& operator=(const EndOnSignal&) = delete;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// Says on stderr which named messages are not in the queue, and which are damaged. ok if there are none of either, bad_data if
/// something is damaged, no if some are missing, no_input if nothing was found at all.
ExitCode report_missing(const Selection& selection, const std::string& queue, bool found_any);

/// A line for what became of one message: its id (or :SEQ, if that is not known), the result, and the queue it went to, if there is one.
void print_result(const std::string& id, uint64_t seq, const char* result, const std::string& to, const CommonOptions& common);

/// --dry-run: such a line for each selected message, `would` or, if somebody has claimed it, `would-skip`.
struct Planned {
  uint64_t would = 0, skipped = 0;
  bool any() const { return would + skipped > 0; }
};
enum class PlanFor { all_states, ready };
Result<Planned> print_plan(const Queue& queue, Selection& selection, const char* would, const std::string& to, const CommonOptions& common,
                           PlanFor states = PlanFor::all_states);

/// The members of `list QUEUE --json`.
JsonObject message_json(const std::string& queue, const MessageInfo& info, const Message& message);
/// Adds attachments[{key bytes path}], if there are any.
void add_attachments(JsonObject& object, const Headers& headers, const std::string& root_path);
/// Adds body or body_base64; false, with nothing added, if the body is too large for that.
Result<bool> add_small_body(JsonObject& object, const Body& body);
/// UTF-8 without control bytes other than tab, line feed and carriage return.
bool is_text(std::string_view bytes);

/// Writes all of a body to stdout, behind what out() has written.
Result<void> write_body(const Body& body);

}  // namespace gw::inspect
