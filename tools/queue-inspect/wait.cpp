// wait: until a queue is as somebody wants it.
#include <algorithm>
#include <charconv>

#include "commands.hpp"
#include "queue_search.hpp"
#include "support.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

struct Condition {
  enum class Kind { empty, count, id, gone, quiet } kind = Kind::empty;
  uint64_t count = 0;
  std::string id;
  int64_t quiet_ms = 0;
};

Result<Condition> parse_condition(const std::string& text) {
  using Kind = Condition::Kind;
  Condition made;
  if (text == "empty") return made;
  size_t equals = std::min(text.find('='), text.size());
  std::string name = text.substr(0, equals), value = equals < text.size() ? text.substr(equals + 1) : "";
  bool good = false;
  if (name == "count") {
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), made.count);
    good = error == std::errc() && end == value.data() + value.size() && !value.empty();
    made.kind = Kind::count;
  } else if (name == "id" || name == "gone") {
    good = message_id_ok(value);
    made.kind = name == "id" ? Kind::id : Kind::gone;
    made.id = value;
  } else if (name == "quiet") {
    auto ms = parse_duration_ms(value);
    good = ms.has_value();
    made.quiet_ms = ms.value_or(0);
    made.kind = Kind::quiet;
  }
  if (!good) return Error{ExitCode::usage, 0, "--for: '" + text + "' is not a condition: expected empty, count=N, id=ID, gone=ID or quiet=T"};
  return made;
}

// Looks at a queue again and again.
class Watcher {
 public:
  Watcher(Root& root, const Queue& queue, const Condition& condition) : root_(root), queue_(queue), condition_(condition), started_ms_(now_ms()) {}

  Result<bool> holds() {
    const int64_t began = monotonic_ms();
    auto answer = look();
    // A long queue is looked at less often.
    rest_until_ms_ = monotonic_ms() + (monotonic_ms() - began) * 4;
    return answer;
  }

  /// Until something may have changed since `seen`, or `left_ms` are over.
  void wait(uint32_t seen, int64_t left_ms) const {
    const int64_t end = monotonic_ms() + std::min<int64_t>(left_ms, next_look_ms());
    root_.wait(seen, end - monotonic_ms());
    for (int64_t now; (now = monotonic_ms()) < std::min(end, rest_until_ms_);) root_.wait(root_.bell(), std::min(end, rest_until_ms_) - now);
  }

 private:
  Result<bool> look() const {
    using Kind = Condition::Kind;
    if (condition_.kind == Kind::quiet) return quiet_left_ms() == 0;
    if (condition_.kind == Kind::id || condition_.kind == Kind::gone) {
      GW_TRY_ASSIGN(bool there, find());
      return there == (condition_.kind == Kind::id);
    }
    GW_TRY_ASSIGN(QueueStatus status, queue_.status());
    uint64_t count = status.ready + status.claimed + status.deferred;
    return count == (condition_.kind == Kind::count ? condition_.count : 0);
  }

  /// How long it can take at most until looking again makes sense although nobody rang.
  int64_t next_look_ms() const { return condition_.kind == Condition::Kind::quiet ? std::clamp<int64_t>(quiet_left_ms(), 1, 1000) : 1000; }

  int64_t quiet_left_ms() const {
    // A clock that was set back makes the wait longer, never shorter.
    int64_t last = queue_.last_put_ms();
    int64_t since = last != 0 ? last : started_ms_;
    return std::max<int64_t>(0, since + condition_.quiet_ms - now_ms());
  }

  Result<bool> find() const {
    GW_TRY_ASSIGN(auto seqs, search_queue(root_, queue_, condition_.id));
    for (uint64_t seq : seqs) {
      auto message = queue_.read(seq);  // a damaged one is not the one
      if (message && *message && (*message)->second.id() == condition_.id) return true;
    }
    return false;
  }

  Root& root_;
  const Queue& queue_;
  const Condition& condition_;
  int64_t started_ms_;
  int64_t rest_until_ms_ = 0;
};

}  // namespace

Result<ExitCode> wait(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(require(options.condition, "--for"));
  GW_TRY_ASSIGN(Condition condition, parse_condition(options.condition));
  GW_TRY_ASSIGN(auto deadline, deadline_of(options.timeout));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  Watcher watcher(*root, queue, condition);
  for (;;) {
    uint32_t seen = root->bell();
    GW_TRY_ASSIGN(bool holds, watcher.holds());
    if (holds) return ExitCode::ok;
    int64_t left = ms_until(deadline);
    if (left == 0)
      return Error{ExitCode::not_now, 0, "timed out after " + options.timeout + ": queue '" + queue.name() + "' is not yet " + options.condition};
    watcher.wait(seen, left);
  }
}

}  // namespace gw::inspect
