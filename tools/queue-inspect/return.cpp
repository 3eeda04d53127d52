// return: failed messages go back to the queue they failed in, each exactly once, as they were before they failed.
#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "address.hpp"
#include "commands.hpp"
#include "databus.hpp"
#include "diag.hpp"
#include "failure.hpp"
#include "outbox.hpp"
#include "outbox_outcomes.hpp"
#include "put_notes.hpp"
#include "queue_search.hpp"
#include "recent_seqs.hpp"
#include "support.hpp"
#include "table.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t batch_messages_max = 64;
constexpr int64_t settle_default_ms = 30'000, batch_every_ms = 100;

struct Pace {
  uint64_t rate = 0;              ///< messages a second; 0: as fast as it goes
  std::vector<uint64_t> ramp;     ///< sizes of the first steps; the rest is one more step
  int64_t settle_ms = 0;          ///< after each step
  uint64_t failures_max = 0;      ///< so many that come back end it; 0: no number does
};

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

std::optional<uint64_t> parse_count(std::string_view text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number == 0) return std::nullopt;
  return number;
}

Result<std::vector<uint64_t>> parse_ramp(const std::string& text) {
  std::vector<uint64_t> steps;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    const auto number = parse_count(std::string_view(text).substr(start, end - start));
    if (!number) return usage("--ramp: '" + text + "' is not a list of numbers, as in 1,5,20,100");
    steps.push_back(*number);
    start = end + 1;
  }
  return steps;
}

Result<Pace> parse_pace(const ReturnOptions& options) {
  Pace pace;
  if (!options.rate.empty()) {
    const auto rate = parse_rate(options.rate);
    if (!rate || *rate == 0) return usage("--rate: '" + options.rate + "' is not a rate, as in 10/s");
    pace.rate = *rate;
  }
  if (!options.ramp.empty()) {
    GW_TRY_ASSIGN(pace.ramp, parse_ramp(options.ramp));
    pace.settle_ms = settle_default_ms;
  }
  if (!options.settle.empty()) {
    const auto settle = parse_duration_ms(options.settle);
    if (!settle) return usage("--settle: '" + options.settle + "' is not a duration, as in 30s or 5m");
    pace.settle_ms = *settle;
  }
  if (!options.stop_on_failures.empty()) {
    const auto number = parse_count(options.stop_on_failures);
    if (!number) return usage("--stop-on-failures: '" + options.stop_on_failures + "' is not a number above 0");
    pace.failures_max = *number;
  }
  return pace;
}

/// Where one message goes, or why it stays.
struct Route {
  std::string to, problem;
  Destination destination;
};

/// Finds the queue in which a message failed.
class Router {
 public:
  Router(Root& root, const std::string& source, const CommonOptions& common)
      : root_(root), source_(source), destinations_(root, common.config, common.config_given) {}

  /// --to: all go there.
  Result<void> send_all_to(const std::string& text) {
    GW_TRY_ASSIGN(Address address, parse_address(text));
    if (is_here(address, root_.machine())) {
      if (address.queue == source_) return usage("the messages are in queue '" + source_ + "' already");
      GW_TRY(open_settled_queue(root_, address.queue));
    }
    Route route;
    GW_TRY_ASSIGN(route.destination, destinations_.find(address));
    route.to = route.destination.name();
    all_ = std::move(route);
    return {};
  }

  Route route(const Message& message) {
    Route route = all_ ? *all_ : by_headers(message.headers);
    if (route.problem.empty()) route.problem = why_not(message);
    return route;
  }

 private:
  Route by_headers(const Headers& headers) {
    const std::string* failed_queue = headers.find(header::failed_q);
    if (!failed_queue) return {"", "it has no header " + std::string(header::failed_q) + ": say with --to where it goes", {}};
    auto address = parse_address(*failed_queue);
    if (!address) return {"", address.error().text, {}};
    if (!is_here(*address, root_.machine())) return open(*address);
    address->machine.clear();
    // The gateway's messages wait in the outboxes of their sites; who has none is routed again.
    if (is_gateway_queue(address->queue)) {
      const Address outbox{outbox_of_site(headers.get(header::destination_sites)), ""};
      if (queue_name_ok(outbox.queue)) {
        Route direct = open(outbox);
        if (direct.problem.empty()) return direct;
      }
    }
    return open(*address);
  }

  Route open(const Address& address) {
    const std::string name = address.machine.empty() ? address.queue : address.queue + "@" + address.machine;
    if (name == source_) return {name, "it failed in this queue: say with --to where it goes", {}};
    auto known = routes_.find(name);
    if (known != routes_.end()) return known->second;
    Route route{name, "", {}};
    auto found = destinations_.find(address);
    if (found)
      route.destination = *std::move(found);
    else
      route.problem = found.error().code == ExitCode::no_input ? "there is no queue '" + name + "'" : found.error().text;
    return routes_[name] = route;
  }

  std::string why_not(const Message& message) {
    for (const Attachment& attachment : attachments_of(message.headers, root_.path()))
      if (!attachment.bytes) return "its attachment '" + attachment.name + "' is gone: " + attachment.path + "; 'queue-inspect check --repair' may restore it";
    MessageInfo info;
    info.expires_at_ms = expires_at_ms(message.headers);
    if (info.expires_at_ms != 0 && root_.expired(info))
      return "its time to be received was over at " + format_rfc3339(info.expires_at_ms) + "; 'queue-inspect move' moves it all the same";
    return "";
  }

  Root& root_;
  std::string source_;
  std::optional<Route> all_;
  Destinations destinations_;
  std::map<std::string, Route> routes_;
};

/// Tells what becomes of each message, and counts.
class Report {
 public:
  explicit Report(const CommonOptions& common) : common_(common) {}
  uint64_t selected = 0, returned = 0, skipped = 0, came_back = 0;
  bool stopped = false;

  void line(const std::string& id, uint64_t seq, const char* result, const std::string& to, const std::string& reason = "") const {
    const std::string name = id.empty() ? ":" + std::to_string(seq) : id;
    if (common_.json) {
      JsonObject object;
      if (!id.empty()) object.add("id", id);
      object.add("seq", seq).add("result", result);
      if (!to.empty()) object.add("to", to);
      if (!reason.empty()) object.add("reason", reason);
      out(object.str() + "\n");
      return;
    }
    out(printable(name) + "\t" + result + "\t" + (to.empty() ? "-" : printable(to)) + "\n");
    if (!reason.empty()) event(Level::warn, result, {{"id", name}, {"reason", reason}});
  }
  void skip(const std::string& id, uint64_t seq, const std::string& to, const std::string& reason) {
    ++skipped;
    line(id, seq, "skipped", to, reason);
  }
  void summary(const std::string& queue) const {
    if (common_.json)
      out(JsonObject().add("kind", "summary").add("selected", selected).add("returned", returned).add("skipped", skipped).add("came_back", came_back).add("stopped", stopped).str() + "\n");
    else
      event(Level::info, "returned",
            {{"queue", queue}, {"selected", selected}, {"returned", returned}, {"skipped", skipped}, {"came_back", came_back}, {"stopped", stopped ? "yes" : "no"}});
  }

 private:
  const CommonOptions& common_;
};

class Returner {
 public:
  Returner(Root& root, Queue source, Router& router, const Pace& pace, const CommonOptions& common)
      : root_(root), source_(std::move(source)), router_(router), pace_(pace), common_(common), report_(common), outcomes_(root) {}

  Result<ExitCode> run(Selection& selection);
  Result<ExitCode> plan(Selection& selection);

 private:
  struct Going {
    uint64_t seq = 0;
    std::string id, to;
    PutNote note;
  };
  Result<void> steps(const std::vector<Selected>& chosen);
  Result<void> send(std::span<const Selected> some);
  Result<void> send_batch(std::span<const Selected> batch);
  Result<std::optional<Claim>> claim(uint64_t seq);
  Result<void> settle();
  Result<void> look_for_failures();
  bool over() const { return report_.stopped || Signals::stop_requested(); }
  void pause(int64_t until_ms);

  Root& root_;
  Queue source_;
  Router& router_;
  const Pace& pace_;
  const CommonOptions& common_;
  Report report_;
  std::unique_ptr<Progress> progress_;
  std::map<std::string, std::set<std::string>> returned_;  // id -> queues
  RecentSeqs watched_;  // messages of the source that came after the start
  int64_t next_batch_ms_ = 0;
  OutboxOutcomes outcomes_;
};

Result<ExitCode> Returner::plan(Selection& selection) {
  bool skips = false;
  GW_TRY(selection.visit(source_, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    ++report_.selected;
    const Route route = router_.route(*one.message);
    std::string problem = route.problem;
    if (problem.empty() && !route.destination.queue.puts_on()) problem = "queue '" + route.destination.queue.name() + "' is held: no puts";
    if (one.info.state == MessageState::claimed) problem = "claimed by process " + std::to_string(one.info.owner_pid);
    skips |= !problem.empty();
    report_.line(one.message->id(), one.info.seq, problem.empty() ? "would-return" : "would-skip", route.to, problem);
    return true;
  }));
  const ExitCode missing = report_missing(selection, source_.name(), report_.selected > 0);
  return missing != ExitCode::ok ? missing : skips ? ExitCode::no : ExitCode::ok;
}

Result<ExitCode> Returner::run(Selection& selection) {
  GW_TRY_ASSIGN(uint64_t end, end_of_queue(root_, source_));
  watched_ = RecentSeqs(end);
  GW_TRY_ASSIGN(auto chosen, select_messages(source_, selection));
  report_.selected = chosen.size();
  progress_ = std::make_unique<Progress>("returned", chosen.size(), common_.quiet || common_.json || is_terminal(1) ? Progress::Show::never : Progress::Show::if_terminal);
  auto done = steps(chosen);
  if (done && !report_.stopped) done = look_for_failures();
  progress_.reset();
  report_.stopped |= Signals::stop_requested();
  report_.summary(source_.name());
  if (!done) return std::move(done).error();
  const ExitCode missing = report_missing(selection, source_.name(), !chosen.empty());
  if (missing != ExitCode::ok) return missing;
  return report_.skipped > 0 || report_.came_back > 0 || report_.returned < report_.selected ? ExitCode::no : ExitCode::ok;
}

Result<void> Returner::steps(const std::vector<Selected>& chosen) {
  std::span<const Selected> left(chosen);
  for (size_t step = 0; !left.empty() && !over(); ++step) {
    const size_t size = step < pace_.ramp.size() ? static_cast<size_t>(std::min<uint64_t>(pace_.ramp[step], left.size())) : left.size();
    GW_TRY(send(left.subspan(0, size)));
    left = left.subspan(size);
    if (!over()) GW_TRY(settle());
  }
  return {};
}

Result<void> Returner::send(std::span<const Selected> some) {
  // Few at a time if they are to go slowly.
  const uint64_t in_a_turn = pace_.rate == 0 ? batch_messages_max : std::clamp<uint64_t>(pace_.rate * batch_every_ms / 1000, 1, batch_messages_max);
  for (size_t at = 0; at < some.size() && !over(); at += in_a_turn) {
    const size_t count = std::min<size_t>(in_a_turn, some.size() - at);
    if (pace_.rate > 0) {
      pause(next_batch_ms_);
      if (over()) break;
      next_batch_ms_ = std::max(next_batch_ms_, monotonic_ms()) + static_cast<int64_t>(count * 1000 / pace_.rate);
    }
    GW_TRY(send_batch(some.subspan(at, count)));
    GW_TRY(look_for_failures());
    GW_TRY(flush_stdout());
    progress_->add(count);
  }
  return {};
}

/// nullopt: it is not there for us, which was told.
Result<std::optional<Claim>> Returner::claim(uint64_t seq) {
  GW_TRY_ASSIGN(auto claim, source_.claim_seq(seq));
  if (claim) return claim;
  auto found = source_.read(seq);
  if (!found)
    report_.skip("", seq, "", found.error().text);
  else if (!*found)
    report_.skip("", seq, "", "it is gone: somebody else took it");
  else
    report_.skip((*found)->second.id(), seq, router_.route((*found)->second).to, "claimed elsewhere" + ((*found)->first.owner_pid != 0 ? ", by process " + std::to_string((*found)->first.owner_pid) : ""));
  return std::optional<Claim>();
}

Result<void> Returner::send_batch(std::span<const Selected> batch) {
  std::vector<Transaction> transactions;
  std::vector<Going> going;
  for (const Selected& one : batch) {
    GW_TRY_ASSIGN(auto claimed, claim(one.info.seq));
    if (!claimed) continue;
    Route route = router_.route(claimed->message());
    if (!route.problem.empty()) {
      report_.skip(claimed->message().id(), one.info.seq, route.to, route.problem);
      continue;
    }
    Message message = claimed->message();
    restore_headers(message.headers);
    mark_returned(message.headers);
    going.push_back({one.info.seq, message.id(), route.to, note_put(source_, message)});
    Transaction& transaction = transactions.emplace_back();
    put_to(transaction, route.destination, std::move(message));
    transaction.ack(*std::move(claimed));
  }
  if (transactions.empty()) return {};
  for (const Going& one : going) outcomes_.enters(one.to, one.id, 0, "returned by 'queue-inspect return'");
  GW_TRY(outcomes_.record());
  auto results = root_.commit_all(std::move(transactions));
  std::optional<Error> broken;
  for (size_t i = 0; i < results.size(); ++i) {
    const Going& one = going[i];
    if (!results[i]) {
      if (results[i].error().code == ExitCode::io_error && !broken) broken = results[i].error();
      report_.skip(one.id, one.seq, one.to, results[i].error().text);
      continue;
    }
    ++report_.returned;
    returned_[one.id].insert(one.to);
    report_.line(one.id, one.seq, "returned", one.to);
    JournalLine line = one.note.line(Happened::returned, results[i]->puts.at(0).seq);
    line.to = one.to;
    root_.journal().add(line);
  }
  root_.journal().write();
  if (broken) return *std::move(broken);
  return {};
}

/// Messages that came into the queue since the start, and are ours.
Result<void> Returner::look_for_failures() {
  uint64_t looked_to = 0;
  GW_TRY(source_.scan([&](const MessageInfo& info) {
    looked_to = info.seq + 1;
    if (!watched_.is_new(info.seq)) return true;
    auto found = source_.read(info.seq);
    if (!found || !*found) return true;
    const Message& message = (*found)->second;
    auto ours = returned_.find(message.id());
    if (ours == returned_.end()) return true;
    // A copy of it may have failed at another site.
    const bool everywhere = ours->second.size() == 1 && !site_of_outbox(*ours->second.begin());
    if (!everywhere && !ours->second.count(router_.route(message).to)) return true;
    ++report_.came_back;
    report_.line(message.id(), info.seq, "came-back", source_.name(), std::string(message.headers.get(header::exception_message)));
    if (pace_.failures_max > 0 && report_.came_back >= pace_.failures_max) report_.stopped = true;
    return !report_.stopped;
  }, watched_.from()));
  watched_.looked_to(looked_to, monotonic_ms());
  return {};
}

Result<void> Returner::settle() {
  const int64_t end = monotonic_ms() + pace_.settle_ms;
  for (;;) {
    const uint32_t seen = root_.bell();
    GW_TRY(look_for_failures());
    GW_TRY(flush_stdout());
    const int64_t left = end - monotonic_ms();
    if (over() || left <= 0) return {};
    root_.wait(seen, left);
  }
}

void Returner::pause(int64_t until_ms) {
  for (int64_t left; !over() && (left = until_ms - monotonic_ms()) > 0;) {
    Signals::take_reload();
    root_.wait(root_.bell(), left);
  }
}

}  // namespace

Result<ExitCode> return_messages(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(require_selection(options.selection));
  GW_TRY_ASSIGN(Pace pace, parse_pace(options.returning));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue source, open_settled_queue(*root, options.queue));
  Router router(*root, source.name(), common);
  if (!options.returning.to.empty()) GW_TRY(router.send_all_to(options.returning.to));
  Returner returner(*root, source, router, pace, common);
  if (common.dry_run) return returner.plan(selection);
  EndOnSignal end(*root);
  Signals::install();
  return returner.run(selection);
}

}  // namespace gw::inspect
