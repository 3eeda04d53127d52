#include "selection.hpp"

#include <regex.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cerrno>

#include "hash.hpp"
#include "queue_search.hpp"
#include "units.hpp"

namespace gw {

namespace {

// A body larger than this is not searched: a selection must not need the memory of the largest message.
constexpr uint64_t searched_body_bytes_max = 64ull << 20;
// Each is one pass through the log, much faster than one that reads all messages.
constexpr size_t searched_ids_max = 8;

Error usage_error(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

template <class N>
std::optional<N> parse_number(std::string_view text) {
  N number{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

template <class A, class B>
int order(const A& a, const B& b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

bool uuid_at(std::string_view text) {
  static constexpr std::string_view shape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() < shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == '-' ? text[i] != '-' : !is_hex(text[i])) return false;
  return true;
}

}  // namespace

// POSIX expressions: std::regex uses a stack frame per byte and cannot look at a large body.
struct Expression::Regex {
  regex_t compiled;
  ~Regex() { regfree(&compiled); }
  bool search(std::string_view text) const {
    regmatch_t range{};
    range.rm_eo = static_cast<regoff_t>(text.size());
    return regexec(&compiled, text.data(), 0, &range, REG_STARTEND) == 0;
  }
};

Result<Expression> Expression::parse(std::string_view text) {
  size_t at = text.find_first_of("=!~<>");
  if (at == std::string_view::npos || trim(text.substr(0, at)).empty())
    return usage_error("'" + std::string(text) + "' is not an expression: expected FIELD OP VALUE, for example 'age>1h' or 'type~^Prices'");
  static constexpr std::pair<std::string_view, Op> ops[] = {{"!=", Op::differs}, {"!~", Op::unlike}, {"<=", Op::at_most},
                                                            {">=", Op::at_least}, {"=", Op::equal},  {"~", Op::like},
                                                            {"<", Op::less},      {">", Op::greater}};
  std::string_view rest = text.substr(at);
  const auto* op = std::find_if(std::begin(ops), std::end(ops), [&](const auto& o) { return rest.starts_with(o.first); });
  if (op == std::end(ops))
    return usage_error("'" + std::string(text) + "' is not an expression: expected one of = != ~ !~ < > <= >= after the field");
  static constexpr std::pair<std::string_view, Field> fields[] = {
      {"id", Field::id},           {"seq", Field::seq},       {"state", Field::state},
      {"type", Field::type},       {"age", Field::age},       {"bytes", Field::bytes},
      {"attempts", Field::attempts}, {"reason", Field::reason}, {"group", Field::group},
      {"failed_queue", Field::failed_queue}, {"body", Field::body}};
  Expression made;
  made.op_ = op->second;
  made.header_ = trim(text.substr(0, at));
  made.field_ = Field::header;
  for (const auto& [name, field] : fields)
    if (name == made.header_) made.field_ = field;
  made.value_ = trim(rest.substr(op->first.size()));
  GW_TRY(parse_value(made, text));
  return made;
}

Result<void> Expression::parse_value(Expression& into, std::string_view text) {
  auto bad = [&](const char* expected) {
    return usage_error("'" + std::string(text) + "': '" + into.value_ + "' is not " + expected);
  };
  if (into.op_ == Op::like || into.op_ == Op::unlike) {
    auto regex = std::make_shared<Regex>();
    if (int error = regcomp(&regex->compiled, into.value_.c_str(), REG_EXTENDED | REG_NOSUB); error != 0) {
      char why[200];
      regerror(error, &regex->compiled, why, sizeof why);
      regcomp(&regex->compiled, "", REG_EXTENDED);  // so that the destructor has something to free
      return usage_error("'" + std::string(text) + "': bad regular expression: " + why);
    }
    into.regex_ = std::move(regex);
    return {};
  }
  if (into.field_ == Field::seq || into.field_ == Field::attempts) {
    std::string_view digits = into.value_;
    if (into.field_ == Field::seq && digits.starts_with(':')) digits.remove_prefix(1);
    auto number = parse_number<int64_t>(digits);
    if (!number) return bad("a number");
    into.number_ = *number;
  } else if (into.field_ == Field::age) {
    auto ms = parse_duration_ms(into.value_);
    if (!ms) return bad("a duration, as in 30s or 1h30m");
    into.number_ = *ms;
  } else if (into.field_ == Field::bytes) {
    auto bytes = parse_size(into.value_);
    if (!bytes) return bad("a size, as in 500 or 64K");
    into.number_ = static_cast<int64_t>(std::min<uint64_t>(*bytes, INT64_MAX));
  } else if (into.field_ == Field::state && into.value_ != "ready" && into.value_ != "claimed" && into.value_ != "deferred") {
    return bad("ready, claimed or deferred");
  }
  return {};
}

bool Expression::needs_message() const {
  switch (field_) {
    case Field::seq: case Field::state: case Field::age: case Field::bytes: case Field::attempts: return false;
    default: return true;
  }
}

std::optional<std::string> Expression::text_of(const MessageInfo& info, const Message* message) const {
  auto from_header = [&](std::string_view name) -> std::optional<std::string> {
    const std::string* value = message->headers.find(name);
    return value ? std::optional(*value) : std::nullopt;
  };
  switch (field_) {
    case Field::id: return message->id();
    case Field::seq: return std::to_string(info.seq);
    case Field::state: return std::string(to_string(info.state));
    case Field::bytes: return std::to_string(info.body_bytes);
    case Field::attempts: return std::to_string(info.failures);
    case Field::type: return message_type(message->headers);
    case Field::reason: return from_header(header::exception_message);
    case Field::failed_queue: return from_header(header::failed_q);
    case Field::group: return failure_group(*message);
    case Field::header: {
      auto value = from_header(header_);
      return value ? value : from_header("NServiceBus." + header_);
    }
    case Field::age: case Field::body: break;
  }
  return std::nullopt;
}

bool Expression::compare_numbers(int64_t have) const {
  switch (op_) {
    case Op::equal: return have == number_;
    case Op::differs: return have != number_;
    case Op::less: return have < number_;
    case Op::greater: return have > number_;
    case Op::at_most: return have <= number_;
    case Op::at_least: return have >= number_;
    case Op::like: case Op::unlike: break;
  }
  return false;
}

bool Expression::compare_texts(const std::optional<std::string>& have) const {
  if (!have) return op_ == Op::differs || op_ == Op::unlike;
  auto a = parse_number<double>(*have), b = parse_number<double>(value_);
  int sign = op_ != Op::equal && op_ != Op::differs && a && b ? order(*a, *b) : order(*have, value_);
  switch (op_) {
    case Op::equal: return sign == 0;
    case Op::differs: return sign != 0;
    case Op::less: return sign < 0;
    case Op::greater: return sign > 0;
    case Op::at_most: return sign <= 0;
    case Op::at_least: return sign >= 0;
    case Op::like: return regex_->search(*have);
    case Op::unlike: return !regex_->search(*have);
  }
  return false;
}

Result<bool> Expression::matches(const MessageInfo& info, const Message* message, int64_t now) const {
  bool pattern = op_ == Op::like || op_ == Op::unlike;
  if (field_ == Field::body) {
    if (message->body.size() > searched_body_bytes_max)
      return Error{ExitCode::bad_data, 0, "the body of :" + std::to_string(info.seq) + " is larger than 64M and cannot be searched"};
    GW_TRY_ASSIGN(std::string body, message->body.read_all());
    return compare_texts(std::move(body));
  }
  if (field_ == Field::age && !pattern) return compare_numbers(now - info.put_at_ms);
  if (field_ == Field::age) return compare_texts(human_duration(now - info.put_at_ms));
  if (!pattern && field_ == Field::seq) return compare_numbers(static_cast<int64_t>(info.seq));
  if (!pattern && field_ == Field::bytes) return compare_numbers(static_cast<int64_t>(info.body_bytes));
  if (!pattern && field_ == Field::attempts) return compare_numbers(static_cast<int64_t>(info.failures));
  return compare_texts(text_of(info, message));
}

Result<std::vector<std::string>> read_stdin_lines() {
  std::string text;
  char buffer[65536];
  for (;;) {
    ssize_t n = ::read(0, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", "stdin", errno);
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
  }
  std::vector<std::string> lines;
  for (size_t start = 0; start < text.size();) {
    size_t end = std::min(text.find('\n', start), text.size());
    if (end > start) lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

Result<void> Selection::add_word(const std::string& word) {
  if (word.starts_with(':')) {
    auto seq = parse_number<uint64_t>(std::string_view(word).substr(1));
    if (!seq) return usage_error("'" + word + "' is not a message number: expected ':' and digits");
    seqs_.insert(*seq);
  } else if (!message_id_ok(word)) {
    return usage_error("'" + word + "' is not a message id");
  } else {
    ids_.insert(word);
  }
  words_.push_back(word);
  return {};
}

Result<Selection> Selection::parse(const SelectionOptions& options) {
  Selection made;
  for (const std::string& word : options.words) {
    if (word != "-") {
      GW_TRY(made.add_word(word));
      continue;
    }
    GW_TRY_ASSIGN(auto lines, read_stdin_lines());
    for (const std::string& line : lines) GW_TRY(made.add_word(line));
    // No ids on stdin must never come to mean all messages.
    if (lines.empty() && made.words_.empty()) made.ids_.insert("");
  }
  for (const std::string& text : options.where) {
    GW_TRY_ASSIGN(auto expression, Expression::parse(text));
    made.where_.push_back(std::move(expression));
  }
  if (!options.group.empty() && (options.group.size() != 8 || !std::all_of(options.group.begin(), options.group.end(), is_hex)))
    return usage_error("'" + options.group + "' is not a group: expected 8 hex digits as 'queue-inspect list --json' prints them");
  made.group_ = options.group;
  std::transform(made.group_.begin(), made.group_.end(), made.group_.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
  made.max_ = options.max;
  return made;
}

// One damaged message must not hide all others.
Result<std::optional<std::pair<MessageInfo, Message>>> Selection::read_message(const Queue& queue, uint64_t seq) {
  auto found = queue.read(seq);
  if (found) return found;
  ExitCode code = found.error().code;
  if (code != ExitCode::bad_data && code != ExitCode::no_input && code != ExitCode::io_error) return found;
  unreadable_.emplace_back(seq, found.error().text);
  return std::optional<std::pair<MessageInfo, Message>>();
}

Result<bool> Selection::matches(const Queue& queue, Selected& candidate, Read read, int64_t now) {
  const MessageInfo& info = candidate.info;
  const bool by_seq = seqs_.count(info.seq) > 0;
  if (ids_.empty() && !seqs_.empty() && !by_seq) return false;
  auto load = [&]() -> Result<bool> {  // false: gone meanwhile, or damaged
    if (candidate.message) return true;
    GW_TRY_ASSIGN(auto found, read_message(queue, info.seq));
    if (found) candidate.message = std::move(found->second);
    return candidate.message.has_value();
  };
  // What was named first: it is there, whether or not the expressions hold for it.
  if (by_seq) seqs_seen_.insert(info.seq);
  if (!ids_.empty()) {
    GW_TRY_ASSIGN(bool there, load());
    if (!there) return false;
    const bool by_id = ids_.count(candidate.message->id()) > 0;
    if (by_id) ids_seen_.insert(candidate.message->id());
    if (!by_id && !by_seq) return false;
  }
  auto holds = [&](bool with_message) -> Result<bool> {
    for (const Expression& e : where_) {
      if (e.needs_message() != with_message) continue;
      GW_TRY_ASSIGN(bool yes, e.matches(info, candidate.message ? &*candidate.message : nullptr, now));
      if (!yes) return false;
    }
    return true;
  };
  // Then what can be answered without reading the message.
  GW_TRY_ASSIGN(bool yes, holds(false));
  if (!yes) return false;
  const bool look = read == Read::always || !group_.empty() || std::any_of(where_.begin(), where_.end(), [](const Expression& e) { return e.needs_message(); });
  if (look) {
    GW_TRY_ASSIGN(bool there, load());
    if (!there) return false;
    GW_TRY_ASSIGN(yes, holds(true));
  }
  return yes && (group_.empty() || failure_group(*candidate.message) == group_);
}

/// A few ids: only what they stand in is read.
Result<void> Selection::visit_ids(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq) {
  std::set<uint64_t> found = seqs_;
  for (const std::string& id : ids_) {
    if (id.empty()) continue;
    GW_TRY_ASSIGN(auto seqs, search_queue(*root_, queue, id));
    found.insert(seqs.begin(), seqs.end());
  }
  return visit_some(queue, found, read, visit, from_seq);
}

Result<void> Selection::visit_some(const Queue& queue, const std::set<uint64_t>& seqs, Read read, const std::function<Result<bool>(Selected&)>& visit,
                                   uint64_t from_seq) {
  uint64_t count = 0;
  int64_t now = now_ms();
  for (uint64_t seq : seqs) {
    if (seq < from_seq) continue;
    GW_TRY_ASSIGN(auto found, read_message(queue, seq));
    if (!found) continue;
    Selected candidate{found->first, std::move(found->second)};
    GW_TRY_ASSIGN(bool yes, matches(queue, candidate, read, now));
    if (!yes) continue;
    GW_TRY_ASSIGN(bool more, visit(candidate));
    if (!more || (max_ && ++count >= max_)) break;
  }
  return {};
}

/// The numbers for which this may hold, as far as it says something of them.
std::pair<uint64_t, uint64_t> Expression::seqs() const {
  const auto n = static_cast<uint64_t>(std::max<int64_t>(number_, 0));
  if (field_ == Field::seq && (op_ == Op::equal || op_ == Op::at_least || op_ == Op::greater)) return {n, op_ == Op::equal ? n : UINT64_MAX};
  if (field_ == Field::seq && (op_ == Op::less || op_ == Op::at_most)) return {0, n};
  return {0, UINT64_MAX};
}

Result<void> Selection::visit_scan(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq) {
  uint64_t count = 0, last_seq = UINT64_MAX;
  for (const Expression& e : where_) {
    const auto [first, last] = e.seqs();
    from_seq = std::max(from_seq, first);
    last_seq = std::min(last_seq, last);
  }
  int64_t now = now_ms();
  std::optional<Error> failed;
  auto one = [&](const MessageInfo& info) -> Result<bool> {
    Selected candidate{info, std::nullopt};
    GW_TRY_ASSIGN(bool yes, matches(queue, candidate, read, now));
    if (!yes) return true;
    GW_TRY_ASSIGN(bool more, visit(candidate));
    return more && (!max_ || ++count < max_);
  };
  GW_TRY(queue.scan([&](const MessageInfo& info) {
    looked_to_ = info.seq + 1;
    if (info.seq > last_seq) return false;
    auto more = one(info);
    if (!more) failed = more.error();
    return more && *more;
  }, from_seq));
  if (failed) return *failed;
  return {};
}

void Selection::note_missing() {
  missing_.clear();
  for (const std::string& word : words_) {
    bool there = word[0] == ':' ? seqs_seen_.count(*parse_number<uint64_t>(std::string_view(word).substr(1))) > 0 : ids_seen_.count(word) > 0;
    if (!there) missing_.push_back(word);
  }
}

Result<void> Selection::visit(const Queue& queue, Read read, const std::function<Result<bool>(Selected&)>& visit, uint64_t from_seq) {
  ids_seen_.clear();
  seqs_seen_.clear();
  unreadable_.clear();
  looked_to_ = 0;
  if (ids_.empty() && !seqs_.empty())
    GW_TRY(visit_some(queue, seqs_, read, visit, from_seq));
  else if (!ids_.empty() && root_ && ids_.size() <= searched_ids_max)
    GW_TRY(visit_ids(queue, read, visit, from_seq));
  else
    GW_TRY(visit_scan(queue, read, visit, from_seq));
  note_missing();
  return {};
}

Result<std::vector<Selected>> select_messages(const Queue& queue, Selection& selection, std::vector<std::string>* missing) {
  std::vector<Selected> chosen;
  GW_TRY(selection.visit(queue, Selection::Read::if_needed, [&](Selected& one) -> Result<bool> {
    chosen.push_back(Selected{one.info, std::nullopt});
    return true;
  }));
  if (missing) *missing = selection.missing();
  return chosen;
}

Result<std::vector<Selected>> select_messages(const Queue& queue, const SelectionOptions& options, std::vector<std::string>* missing) {
  GW_TRY_ASSIGN(auto selection, Selection::parse(options));
  return select_messages(queue, selection, missing);
}

std::string mask_reason(std::string_view reason) {
  std::string masked;
  for (size_t i = 0; i < reason.size();) {
    if (uuid_at(reason.substr(i))) {
      masked += '#';
      i += 36;
    } else if (reason[i] >= '0' && reason[i] <= '9') {
      masked += '#';
      while (i < reason.size() && reason[i] >= '0' && reason[i] <= '9') ++i;
    } else {
      masked += reason[i++];
    }
  }
  return masked;
}

std::string failure_group(const Message& message) {
  std::string key;
  for (std::string_view part : {message.headers.get(header::failed_q), message.headers.get(header::exception_type)}) {
    key += part;
    key += '\0';
  }
  key += message_type(message.headers);
  key += '\0';
  key += mask_reason(message.headers.get(header::exception_message));
  char digits[9];
  snprintf(digits, sizeof digits, "%08x", crc32c(0, key.data(), key.size()));
  return digits;
}

Result<Limits> Limits::parse(const LimitOptions& options) {
  Limits limits;
  if (!options.max_count.empty()) {
    limits.max_count = parse_number<uint64_t>(options.max_count);
    if (!limits.max_count) return usage_error("--max-count: '" + options.max_count + "' is not a number");
  }
  if (!options.max_age.empty()) {
    limits.max_age_ms = parse_duration_ms(options.max_age);
    if (!limits.max_age_ms) return usage_error("--max-age: '" + options.max_age + "' is not a duration, as in 30s or 1h30m");
  }
  if (!options.min_free.empty()) {
    limits.min_free_bytes = parse_size(options.min_free);
    if (!limits.min_free_bytes) return usage_error("--min-free: '" + options.min_free + "' is not a size, as in 500M or 1G");
  }
  return limits;
}

}  // namespace gw
