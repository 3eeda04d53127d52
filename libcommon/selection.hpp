// SEL, EXPR and LIMITS of CLI.md section 2: choosing messages of a queue, and when to raise an alarm.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "queue.hpp"

namespace CLI {
class App;
}

namespace gw {

/// What the command line said; defined once, used by every command that takes a SEL.
struct SelectionOptions {
  std::vector<std::string> words;  ///< ID, :SEQ or "-"
  std::vector<std::string> where;
  std::string group;
  bool all = false;
  uint64_t max = 0;  ///< 0: no limit
  bool given() const { return !words.empty() || !where.empty() || !group.empty() || all; }
};
/// Adds --where, --group, --all, --max and the positional words, under this name and with this text.
void define_selection(CLI::App& app, SelectionOptions& into, const char* words_name = "SEL",
                      const char* words_text = "ids of messages, :SEQ for numbers, - to read them from stdin");

/// One selected message.
struct Selected {
  MessageInfo info;
  std::optional<Message> message;  ///< if it was asked for, or the selection had to look at it
};

/// One FIELD OP VALUE.
class Expression {
 public:
  /// usage: what is wrong with it, quoting it.
  static Result<Expression> parse(std::string_view text);
  /// False if MessageInfo is enough to decide.
  bool needs_message() const;
  /// `message` may be null if !needs_message(). Fails if the body cannot be read.
  Result<bool> matches(const MessageInfo& info, const Message* message, int64_t now) const;
  /// The first and the last number of a message for which this may hold.
  std::pair<uint64_t, uint64_t> seqs() const;

 private:
  enum class Op { equal, differs, like, unlike, less, greater, at_most, at_least };
  enum class Field { id, seq, state, type, age, bytes, attempts, reason, group, failed_queue, body, header };
  struct Regex;
  static Result<void> parse_value(Expression& into, std::string_view text);
  std::optional<std::string> text_of(const MessageInfo& info, const Message* message) const;
  bool compare_numbers(int64_t have) const;
  bool compare_texts(const std::optional<std::string>& have) const;
  Field field_ = Field::id;
  Op op_ = Op::equal;
  std::string header_, value_;
  int64_t number_ = 0;
  std::shared_ptr<const Regex> regex_;
};

/// A checked SEL. Parsing reads the ids of "-" from stdin, so parse once, before anything else.
class Selection {
 public:
  /// An empty SEL selects every message. usage: a bad expression, :SEQ or group, naming it.
  static Result<Selection> parse(const SelectionOptions& options);

  /// Ids are looked for with search_queue() from now on, instead of reading every message. `root` outlives it.
  void search_in(Root& root) { root_ = &root; }

  enum class Read { if_needed, always };
  /// Visits the selected messages from `from_seq` on in order of seq, until `visit` returns false. The set is the one at the start.
  Result<void> visit(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq = 0);
  /// The number behind the last message that the last visit() looked at, if it went through the queue; 0: it did not.
  uint64_t looked_to() const { return looked_to_; }
  /// The ids and :SEQ of the last visit() that are not in the queue (as they were written); complete if it was not ended early.
  const std::vector<std::string>& missing() const { return missing_; }
  /// Messages that the last visit() passed over because they are damaged: their numbers and why.
  const std::vector<std::pair<uint64_t, std::string>>& unreadable() const { return unreadable_; }

 private:
  Result<void> add_word(const std::string& word);
  Result<std::optional<std::pair<MessageInfo, Message>>> read_message(const Queue& queue, uint64_t seq);
  Result<bool> matches(const Queue& queue, Selected& candidate, Read read, int64_t now);
  Result<void> visit_some(const Queue& queue, const std::set<uint64_t>& seqs, Read read, const std::function<Result<bool>(Selected&)>& visit,
                          uint64_t from_seq);
  Result<void> visit_ids(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq);
  Result<void> visit_scan(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq);
  void note_missing();

  Root* root_ = nullptr;
  std::vector<std::string> words_;
  std::set<uint64_t> seqs_;
  std::unordered_set<std::string> ids_, ids_seen_;
  std::set<uint64_t> seqs_seen_;
  std::vector<Expression> where_;
  std::string group_;
  uint64_t max_ = 0, looked_to_ = 0;
  std::vector<std::string> missing_;
  std::vector<std::pair<uint64_t, std::string>> unreadable_;
};

/// Fixes the set now: in order of seq; ids and :SEQ that are not there go to `missing`. Messages are not kept, only their infos.
Result<std::vector<Selected>> select_messages(const Queue& queue, const SelectionOptions& options, std::vector<std::string>* missing = nullptr);
Result<std::vector<Selected>> select_messages(const Queue& queue, Selection& selection, std::vector<std::string>* missing = nullptr);

/// The lines of stdin that are not empty, to its end.
Result<std::vector<std::string>> read_stdin_lines();

/// Group key of a failed message (8 hex digits): failed queue, type, exception type, reason with digits and UUIDs masked.
std::string failure_group(const Message& message);
/// The reason with UUIDs and runs of digits replaced by `#`.
std::string mask_reason(std::string_view reason);

/// LIMITS: --max-count N --max-age T --min-free SIZE.
struct LimitOptions {
  std::string max_count, max_age, min_free;
};
void define_limits(CLI::App& app, LimitOptions& into);

struct Limits {
  std::optional<uint64_t> max_count;
  std::optional<int64_t> max_age_ms;
  std::optional<uint64_t> min_free_bytes;
  bool given() const { return max_count || max_age_ms || min_free_bytes; }
  /// usage: a value that is no number, duration or size.
  static Result<Limits> parse(const LimitOptions& options);
};

}  // namespace gw
