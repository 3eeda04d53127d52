#include "worker.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <map>
#include <set>

#include "bell_watch.hpp"
#include "diag.hpp"
#include "handler.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

constexpr unsigned capacity_max = 1000;
constexpr int64_t finish_ms = 8'000;  // on SIGTERM: how long handlers may go on
constexpr int64_t pause_ms = 1'000;   // when there is no room for another process
constexpr int64_t maintain_every_ms = 5'000;
constexpr int64_t overdue_look_ms = 100;  // something is due and not to be had: look again after

struct Slot {
  Claim claim;
  std::unique_ptr<HandlerRun> run;
};

class Worker {
 public:
  Worker(const WorkerOptions& options, HandlerSettings settings, Root& root, Queue queue, ScratchDir& scratch)
      : options_(options), settings_(std::move(settings)), root_(root), queue_(std::move(queue)), scratch_(scratch), bell_(root) {}
  Result<ExitCode> run();

 private:
  bool bounded() const { return options_.once || options_.drain; }
  bool stopping() const { return stopped_at_ms_ != 0; }
  void stop(const char* why);
  void look_at_signals();
  void fill();
  bool set_apart(Claim& claim);
  void start(Claim&& claim);
  void fail_to_start(Claim&& claim, Error error);
  void wait();
  int64_t wait_limit_ms() const;
  void settle();
  void write_output(const HandlerRun& run);
  void take_outcome(Slot& slot, std::vector<Transaction>& transactions);
  void defer_failed(Claim&& claim, const std::string& summary, std::vector<Transaction>& transactions);
  void commit(std::vector<Transaction>&& transactions);
  bool nothing_left();
  Result<ExitCode> result();
  void maintain();

  const WorkerOptions& options_;
  HandlerSettings settings_;
  Root& root_;
  Queue queue_;
  ScratchDir& scratch_;
  BellWatch bell_;
  std::vector<Slot> running_;
  std::vector<Claim> apart_;      // --once: had their attempt or came later; given back at the end
  std::set<uint64_t> attempted_;  // --once: failed in this run
  std::optional<Error> fatal_;
  int64_t started_at_ms_ = now_ms();
  int64_t stopped_at_ms_ = 0;    // monotonic; 0: not stopping
  int64_t paused_until_ms_ = 0;  // monotonic
  int64_t maintained_at_ms_ = 0;
  bool looked_and_empty_ = false, closed_ = false, held_ = false, killed_ = false;
  uint64_t acked_ = 0, failed_ = 0;
};

void Worker::stop(const char* why) {
  if (stopping()) return;
  stopped_at_ms_ = monotonic_ms();
  event(Level::info, "worker-stopping", {{"queue", queue_.name()}, {"reason", why}, {"in_flight", running_.size()}});
}

void Worker::look_at_signals() {
  if (Signals::stop_requested()) stop("signal");
  if (fatal_) stop("error");
  Signals::take_reload();  // there is nothing in the configuration that a running worker reads
  if (!stopping() || killed_ || monotonic_ms() < stopped_at_ms_ + finish_ms) return;
  killed_ = true;
  for (Slot& slot : running_) {
    slot.run->stop();
    event(Level::warn, "handler-killed", {{"queue", queue_.name()}, {"id", slot.claim.message().id()}, {"reason", "the worker stops"}});
  }
}

// --- taking messages --------------------------------------------------------------------------------------------------

// --once: what already had its attempt, and what came after the start, is not for this run.
bool Worker::set_apart(Claim& claim) {
  if (!options_.once) return false;
  bool came_later = claim.info().put_at_ms > started_at_ms_;
  if (!came_later && !attempted_.count(claim.seq())) return false;
  if (came_later) closed_ = true;
  apart_.push_back(std::move(claim));
  return true;
}

void Worker::fill() {
  looked_and_empty_ = false;
  while (!stopping() && !closed_ && running_.size() < options_.capacity && monotonic_ms() >= paused_until_ms_) {
    bell_.clear();
    auto claims = queue_.claim(options_.capacity - running_.size());
    if (!claims) {
      bool held = claims.error().code == ExitCode::not_now;
      if (!held || bounded()) {
        fatal_ = std::move(claims).error();
      } else if (!held_) {
        event(Level::warn, "queue-held", {{"queue", queue_.name()}, {"reason", claims.error().text}});
      }
      held_ = held;
      return;
    }
    held_ = false;
    if (claims->empty()) {
      looked_and_empty_ = true;
      return;
    }
    for (Claim& claim : *claims)
      if (!stopping() && !fatal_ && !set_apart(claim)) start(std::move(claim));
    if (fatal_) return;
  }
}

void Worker::start(Claim&& claim) {
  auto run = HandlerRun::start(settings_, scratch_, claim.info(), claim.message());
  if (!run) return fail_to_start(std::move(claim), std::move(run).error());
  event(Level::debug, "handler-started",
        {{"queue", queue_.name()}, {"id", claim.message().id()}, {"seq", claim.seq()}, {"attempt", claim.info().failures + 1}});
  running_.push_back({std::move(claim), *std::move(run)});
}

// A command that cannot be executed ends the worker: a bad deployment must not use up attempts. A body that cannot be read is the
// message's fault. For all else there will be room later.
void Worker::fail_to_start(Claim&& claim, Error error) {
  if (error.code == ExitCode::config) {
    claim.release();
    fatal_ = std::move(error);
  } else if (error.code == ExitCode::bad_data) {
    std::vector<Transaction> transactions;
    defer_failed(std::move(claim), error.text, transactions);
    commit(std::move(transactions));
  } else {
    event(Level::warn, "handler-not-started", {{"queue", queue_.name()}, {"id", claim.message().id()}, {"reason", error.text}});
    claim.release();
    paused_until_ms_ = monotonic_ms() + pause_ms;
  }
}

// --- waiting ------------------------------------------------------------------------------------------------------------

int64_t Worker::wait_limit_ms() const {
  const int64_t now = monotonic_ms();
  int64_t limit = maintain_every_ms;
  for (const Slot& slot : running_)
    if (slot.run->next_deadline_ms() != INT64_MAX) limit = std::min(limit, slot.run->next_deadline_ms() - now);
  if (stopping()) limit = std::min(limit, killed_ ? pause_ms : stopped_at_ms_ + finish_ms - now);
  if (paused_until_ms_ > now) limit = std::min(limit, paused_until_ms_ - now);
  if (looked_and_empty_) {
    int64_t due = queue_.next_due_ms(), wall = now_ms();
    if (due != INT64_MAX) limit = std::min(limit, due > wall ? due - wall : overdue_look_ms);
  }
  return std::max<int64_t>(limit, 1);
}

void Worker::wait() {
  std::vector<pollfd> items;
  if (!stopping()) items.push_back({Signals::wake_fd(), POLLIN, 0});  // stays readable after a signal
  bool wants_more = !stopping() && !closed_ && running_.size() < options_.capacity && monotonic_ms() >= paused_until_ms_;
  if (wants_more) items.push_back({bell_.fd(), POLLIN, 0});
  for (const Slot& slot : running_) slot.run->add_poll(items);
  ::poll(items.data(), items.size(), static_cast<int>(wait_limit_ms()));
}

// --- what came of it ------------------------------------------------------------------------------------------------------

void Worker::write_output(const HandlerRun& run) {
  auto give_up = [this] {
    look_at_signals();
    return stopping() && monotonic_ms() > stopped_at_ms_ + finish_ms;
  };
  const Output& err = run.standard_error();
  if (!err.empty()) {
    static_cast<void>(err.write_to(STDERR_FILENO, give_up).has_value());
    if (!err.ends_line()) static_cast<void>(::write(STDERR_FILENO, "\n", 1) == 1);
  }
  if (auto written = run.standard_output().write_to(STDOUT_FILENO, give_up); !written) fatal_ = std::move(written).error();
}

void Worker::defer_failed(Claim&& claim, const std::string& summary, std::vector<Transaction>& transactions) {
  const unsigned failures = claim.info().failures + 1;
  const int64_t due = now_ms() + pause_after_failure_ms(failures);
  event(Level::warn, "attempt-failed",
        {{"queue", queue_.name()},
         {"id", claim.message().id()},
         {"seq", claim.seq()},
         {"attempt", failures},
         {"reason", summary},
         {"next_try_at", format_rfc3339(due)}});
  ++failed_;
  if (options_.once) attempted_.insert(claim.seq());
  Transaction& transaction = transactions.emplace_back();
  transaction.defer(std::move(claim), Defer{due, true});
}

// Output goes out before the ack: a handler's result may come twice, but is not lost.
void Worker::take_outcome(Slot& slot, std::vector<Transaction>& transactions) {
  const HandlerOutcome& outcome = slot.run->outcome();
  if (outcome.stopped) return slot.claim.release();
  write_output(*slot.run);
  if (fatal_) return slot.claim.release();
  if (!outcome.ok()) return defer_failed(std::move(slot.claim), failure_summary(outcome), transactions);
  event(Level::debug, "handled", {{"queue", queue_.name()}, {"id", slot.claim.message().id()}, {"seq", slot.claim.seq()}});
  ++acked_;
  transactions.emplace_back().ack(std::move(slot.claim));
}

void Worker::commit(std::vector<Transaction>&& transactions) {
  if (transactions.empty()) return;
  for (auto& result : root_.commit_all(std::move(transactions)))
    if (!result && !fatal_) fatal_ = std::move(result).error();
}

// All that ended share the syncs of one commit.
void Worker::settle() {
  std::vector<Transaction> transactions;
  for (Slot& slot : running_) {
    if (!slot.run->step()) continue;
    take_outcome(slot, transactions);
    slot.run.reset();
  }
  std::erase_if(running_, [](const Slot& slot) { return !slot.run; });
  commit(std::move(transactions));
}

// --- the end ----------------------------------------------------------------------------------------------------------------

bool Worker::nothing_left() {
  if (!running_.empty()) return false;
  if (stopping()) return true;
  if (!bounded() || (!looked_and_empty_ && !closed_)) return false;
  if (options_.once) return true;
  auto status = queue_.status();
  if (!status) fatal_ = std::move(status).error();
  return fatal_ || status->ready + status->claimed + status->deferred == 0;
}

Result<ExitCode> Worker::result() {
  apart_.clear();
  event(Level::info, "worker-stopped", {{"queue", queue_.name()}, {"handled", acked_}, {"failed", failed_}});
  if (fatal_) return *std::move(fatal_);
  if (!bounded()) return ExitCode::ok;
  if (stopping()) return ExitCode::not_now;  // there may be more to do
  GW_TRY_ASSIGN(QueueStatus status, queue_.status());
  return status.deferred > 0 ? ExitCode::not_now : ExitCode::ok;
}

void Worker::maintain() {
  if (monotonic_ms() < maintained_at_ms_ + maintain_every_ms) return;
  maintained_at_ms_ = monotonic_ms();
  if (auto done = root_.maintain(); !done) event(Level::warn, "maintenance-failed", {{"reason", done.error().text}});
}

Result<ExitCode> Worker::run() {
  maintained_at_ms_ = monotonic_ms();
  if (!bounded()) GW_TRY(print_ready("ready"));
  event(Level::info, "worker-started", {{"queue", queue_.name()}, {"capacity", options_.capacity}, {"command", settings_.program}});
  for (;;) {
    look_at_signals();
    fill();
    look_at_signals();
    if (nothing_left()) return result();
    wait();
    settle();
    maintain();
  }
}

Result<void> check_options(const WorkerOptions& options) {
  auto usage = [](const char* text) { return Error{ExitCode::usage, 0, text}; };
  if (options.queue.empty()) return usage("--queue is required");
  if (options.command.empty()) return usage("no command is given: expected -- CMD [ARG...]");
  if (options.once && options.drain) return usage("--once and --drain exclude each other");
  if (options.capacity == 0 || options.capacity > capacity_max)
    return Error{ExitCode::usage, 0, "--capacity: expected 1 to " + std::to_string(capacity_max)};
  return check_queue_name(options.queue);
}

Result<HandlerSettings> make_settings(const WorkerOptions& options, const CommonOptions& common) {
  HandlerSettings settings;
  if (!options.handler_timeout.empty()) {
    auto timeout = parse_duration_ms(options.handler_timeout);
    if (!timeout || *timeout == 0)
      return Error{ExitCode::usage, 0, "--handler-timeout '" + options.handler_timeout + "': expected a duration like 30s or 5m"};
    settings.timeout_ms = *timeout;
  }
  settings.arguments = options.command;
  settings.queue = settings.endpoint = options.queue;
  // A configuration that is not there must not become one that must be there.
  if (common.config_given || ::access(common.config.c_str(), F_OK) == 0) settings.config = common.config;
  return settings;
}

}  // namespace

int64_t pause_after_failure_ms(unsigned failures) {
  constexpr int64_t first_ms = 1'000, most_ms = 60'000;
  return failures > 6 ? most_ms : std::min(most_ms, first_ms << (failures == 0 ? 0 : failures - 1));
}

Result<ExitCode> run_worker(const WorkerOptions& options, const CommonOptions& common) {
  GW_TRY(check_options(options));
  GW_TRY_ASSIGN(HandlerSettings settings, make_settings(options, common));
  GW_TRY_ASSIGN(std::unique_ptr<Root> root, open_root(common, false));
  settings.root = root->path();
  GW_TRY_ASSIGN(settings.program, find_program(options.command[0]));
  GW_TRY_ASSIGN(Queue queue, root->queue(options.queue));
  GW_TRY_ASSIGN(std::unique_ptr<ScratchDir> scratch, ScratchDir::create());
  Signals::install();
  return Worker(options, std::move(settings), *root, std::move(queue), *scratch).run();
}

}  // namespace gw::distributor
