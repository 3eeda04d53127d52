#include "worker.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "bell_watch.hpp"
#include "config_watch.hpp"
#include "control_receiver.hpp"
#include "diag.hpp"
#include "distributor_status.hpp"
#include "open_target.hpp"
#include "runner.hpp"
#include "units.hpp"
#include "worker_presence.hpp"
#include "worker_settings.hpp"

namespace gw::distributor {

namespace {

constexpr int64_t finish_ms = 8'000;  // on SIGTERM: how long handlers may go on
constexpr int64_t pause_ms = 1'000;   // when there is no room for another process, or a queue refuses something
constexpr int64_t maintain_every_ms = 5'000;
constexpr int64_t overdue_look_ms = 100;       // something is due and not to be had: look again after
constexpr unsigned failures_to_limit = 10;     // failed attempts one after the other: something is wrong, be careful
constexpr int64_t limited_pause_ms = 100;      // between attempts then
constexpr unsigned interruptions_max = 10;
constexpr int64_t control_look_ms = 500;  // while there is no room: whether the distributor has something to say

class Worker {
 public:
  Worker(const WorkerSettings& settings, ConfigWatch config_file, Root& root, Queue queue, AttemptTable& attempts, Settler& settler,
         Enlistment* enlistment, WorkerPresence* presence)
      : settings_(settings),
        config_file_(std::move(config_file)),
        root_(root),
        queue_(std::move(queue)),
        attempts_(attempts),
        settler_(settler),
        enlistment_(enlistment),
        presence_(presence),
        bell_(root),
        control_(root, settings.settler.endpoint, queue_.name()) {}
  Result<ExitCode> run(Runner& runner);
  /// Has the time been used up that a stopping worker has?
  bool out_of_time();

 private:
  bool bounded() const { return settings_.once || settings_.drain; }
  bool stopping() const { return stopped_at_ms_ != 0; }
  /// Of events about the worker itself: who runs it from cron wants to hear of what failed only.
  Level level() const { return bounded() ? Level::debug : Level::info; }
  void stop(const char* why);
  void look_at_signals();
  void fail(Error error) {
    if (!fatal_) fatal_ = std::move(error);
  }
  size_t room() const;
  void fill();
  bool set_apart(Claim& claim);
  void start(Claim&& claim);
  bool apply_control(Claim& claim);
  void look_for_control();
  static unsigned interruptions_elsewhere(const Message& message);
  bool master_has_more();
  void wait();
  int64_t wait_limit_ms() const;
  void settle();
  void keep_rate();
  bool nothing_left();
  bool nothing_to_do();
  Result<ExitCode> result();
  void maintain();

  const WorkerSettings& settings_;
  ConfigWatch config_file_;
  Root& root_;
  Queue queue_;
  AttemptTable& attempts_;
  Settler& settler_;
  Enlistment* enlistment_;    // nullptr: no distributor hands out what it gets
  WorkerPresence* presence_;  // for those who look at workers without a distributor; nullptr: it cannot be seen
  BellWatch bell_;
  ControlReceiver control_;
  Runner* runner_ = nullptr;
  std::vector<Claim> apart_;  // --once: had their attempt or came later; given back at the end
  std::optional<Error> fatal_;
  int64_t started_at_ms_ = now_ms();
  int64_t stopped_at_ms_ = 0;    // monotonic; 0: not stopping
  int64_t paused_until_ms_ = 0;  // monotonic
  int64_t maintained_at_ms_ = 0;
  int64_t looked_for_control_ms_ = 0;  // monotonic
  uint64_t looked_at_seq_ = 0;
  uint64_t refused_ = 0;
  unsigned failed_in_a_row_ = 0;
  bool looked_and_empty_ = false, closed_ = false, held_ = false, killed_ = false, limited_ = false, finished_ = false;
};

void Worker::stop(const char* why) {
  if (stopping()) return;
  stopped_at_ms_ = monotonic_ms();
  if (!finished_)
    event(Level::info, "worker-stopping", {{"queue", queue_.name()}, {"reason", why}, {"in_flight", runner_->in_flight()}});
  if (enlistment_) enlistment_->leave();  // nothing new comes while the rest is finished
  runner_->finish();
}

bool Worker::out_of_time() {
  look_at_signals();
  return stopping() && monotonic_ms() > stopped_at_ms_ + finish_ms;
}

void Worker::look_at_signals() {
  if (Signals::stop_requested()) stop("signal");
  if (fatal_) stop("error");
  config_file_.look_again(Signals::take_reload());  // handlers use it: better to know now that it is bad
  if (!stopping() || killed_ || !runner_->running() || monotonic_ms() < stopped_at_ms_ + finish_ms) return;
  killed_ = true;
  runner_->kill();
}

// --- taking messages --------------------------------------------------------------------------------------------------

// How many more messages may be begun now. Who wants one at a time gets the next one when all is done with the one before; else
// handlers go on while what they did becomes durable.
size_t Worker::room() const {
  if (stopping() || closed_ || fatal_ || !runner_->ready() || settler_.full() || monotonic_ms() < paused_until_ms_) return 0;
  const size_t limit = limited_ ? 1 : settings_.capacity, busy = runner_->in_flight();
  if (limit == 1 && settler_.pending()) return 0;
  return busy < limit ? limit - busy : 0;
}

// --once: what already had its attempt, and what came after the start, is not for this run.
bool Worker::set_apart(Claim& claim) {
  if (!settings_.once) return false;
  bool came_later = !enlistment_ && claim.info().put_at_ms > started_at_ms_;  // what is handed out comes later by its nature
  if (!came_later && !settler_.had_attempt(claim)) return false;
  if (came_later) closed_ = true;
  apart_.push_back(std::move(claim));
  return true;
}

void Worker::fill() {
  looked_and_empty_ = false;
  while (size_t wanted = room()) {
    bell_.clear();
    auto claims = queue_.claim(wanted, settings_.keep_expired);
    if (!claims) {
      bool held = claims.error().code == ExitCode::not_now;
      if (!held || bounded()) {
        fail(std::move(claims).error());
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
      if (room() > 0 && !set_apart(claim)) start(std::move(claim));
    settle();  // what was not even begun
  }
}

// A distributor never hands out more than there is room for; but what it says to the worker itself must not wait for a handler's end.
void Worker::look_for_control() {
  if (!enlistment_ || stopping() || room() > 0 || monotonic_ms() < looked_for_control_ms_ + control_look_ms) return;
  looked_for_control_ms_ = monotonic_ms();
  std::vector<uint64_t> seqs;
  auto scanned = queue_.scan([&](const MessageInfo& info) {
    if (info.state == MessageState::ready && info.seq > looked_at_seq_) seqs.push_back(info.seq);
    return seqs.size() < worker_capacity_max;
  });
  if (!scanned) return;  // whoever claims the next time says so
  for (uint64_t seq : seqs) {
    looked_at_seq_ = seq;
    auto found = queue_.read(seq);
    if (!found || !*found || !enlistment_->is_for_worker((*found)->second)) continue;
    auto claim = queue_.claim_seq(seq);
    if (claim && *claim && enlistment_->apply((*claim)->message())) settler_.consume(**std::move(claim));
  }
}

// Subscriptions and their like are for us. True: the claim is used up.
bool Worker::apply_control(Claim& claim) {
  if (enlistment_ && enlistment_->apply(claim.message())) {
    settler_.consume(std::move(claim));
    return true;
  }
  auto applied = control_.apply(claim.message());
  if (applied && !*applied) return false;
  if (applied) {
    settler_.consume(std::move(claim));
  } else if (applied.error().code == ExitCode::bad_data) {
    settler_.reject(std::move(claim), "Gatepost.ControlMessage", applied.error().text);
  } else if (applied.error().code == ExitCode::not_now) {
    event(Level::warn, "refused", {{"queue", queue_.name()}, {"id", claim.message().id()}, {"reason", applied.error().text}});
    claim.release();
    paused_until_ms_ = monotonic_ms() + pause_ms;
  } else {
    fail(std::move(applied).error());
  }
  return true;
}

void Worker::start(Claim&& claim) {
  if (apply_control(claim)) return;
  const MessageInfo& info = claim.info();
  if (settings_.keep_expired && root_.expired(info))
    return settler_.reject(std::move(claim), "Gatepost.Expired", "expired at " + format_rfc3339(info.expires_at_ms));
  if (attempts_.interrupted(info) + interruptions_elsewhere(claim.message()) >= interruptions_max) return settler_.reject(std::move(claim), "Gatepost.Interrupted", "interrupted");
  auto started = runner_->start(std::move(claim), settler_);
  if (!started) return fail(std::move(started).error());
  if (*started == Started::not_now) paused_until_ms_ = monotonic_ms() + pause_ms;
}

// Which of its attempts were interrupted on other workers, before it was handed to this one.
unsigned Worker::interruptions_elsewhere(const Message& message) {
  const std::string* count = message.headers.find(worker_header::interruptions);
  return count ? static_cast<unsigned>(std::strtoul(count->c_str(), nullptr, 10)) : 0;
}

// --- waiting ------------------------------------------------------------------------------------------------------------

int64_t Worker::wait_limit_ms() const {
  const int64_t now = monotonic_ms();
  int64_t limit = maintain_every_ms;
  if (int64_t next = runner_->next_deadline_ms(); next != INT64_MAX) limit = std::min(limit, next - now);
  if (stopping()) limit = std::min(limit, killed_ ? pause_ms : stopped_at_ms_ + finish_ms - now);
  if (paused_until_ms_ > now) limit = std::min(limit, paused_until_ms_ - now);
  if (enlistment_) limit = std::min(limit, enlistment_->next_beat_ms() - now);
  if (enlistment_ && !stopping() && room() == 0) limit = std::min(limit, looked_for_control_ms_ + control_look_ms - now);
  if (looked_and_empty_) {
    int64_t due = queue_.next_due_ms(), wall = now_ms();
    if (due != INT64_MAX) limit = std::min(limit, due > wall ? due - wall : overdue_look_ms);
  }
  return std::max<int64_t>(limit, 1);
}

void Worker::wait() {
  std::vector<pollfd> items;
  if (!stopping()) items.push_back({Signals::wake_fd(), POLLIN, 0});  // stays readable after one to stop
  if (room() > 0) items.push_back({bell_.fd(), POLLIN, 0});
  if (settler_.pending()) items.push_back({settler_.commit_fd(), POLLIN, 0});
  runner_->add_poll(items);
  ::poll(items.data(), items.size(), static_cast<int>(wait_limit_ms()));
}

// --- what came of it ------------------------------------------------------------------------------------------------------

void Worker::settle() {
  if (auto stepped = runner_->step(settler_); !stepped) fail(std::move(stepped).error());
  if (auto committed = settler_.commit(); !committed) fail(std::move(committed).error());
  if (settler_.refused() != refused_) {
    refused_ = settler_.refused();
    paused_until_ms_ = monotonic_ms() + pause_ms;
  }
  keep_rate();
  if (presence_) presence_->tell(runner_->in_flight(), settler_.acked(), settler_.failed());
}

// Many failures in a row are seldom the messages' fault: until one succeeds, one at a time shows whether it is worth going on.
void Worker::keep_rate() {
  if (settler_.failed_in_a_row() == failed_in_a_row_) return;
  failed_in_a_row_ = settler_.failed_in_a_row();
  const bool limit = failed_in_a_row_ >= failures_to_limit;
  if (limit) paused_until_ms_ = std::max(paused_until_ms_, monotonic_ms() + limited_pause_ms);
  if (limit == limited_) return;
  limited_ = limit;
  if (limit)
    event(Level::warn, "rate-limited", {{"queue", queue_.name()}, {"failed_in_a_row", failed_in_a_row_}, {"capacity", 1}});
  else
    event(Level::info, "rate-limit-ended", {{"queue", queue_.name()}, {"capacity", settings_.capacity}});
}

// --- the end ----------------------------------------------------------------------------------------------------------------

bool Worker::nothing_left() {
  if (runner_->in_flight() > 0 || settler_.pending()) return false;
  if (stopping()) return !runner_->running();
  if (!nothing_to_do()) return false;
  if (!runner_->running()) return true;
  finished_ = true;
  stop("done");  // a handler of many messages is told to end, and is waited for
  return false;
}

bool Worker::nothing_to_do() {
  if (!bounded() || (!looked_and_empty_ && !closed_)) return false;
  if (master_has_more()) return false;
  if (settings_.once) return true;
  auto status = queue_.status();
  if (!status) fail(std::move(status).error());
  return fatal_ || status->ready + status->claimed + status->deferred == 0;
}

// Is there something in the queue of the distributor that may still come? Only a master of this machine can be asked.
bool Worker::master_has_more() {
  if (!enlistment_ || !enlistment_->input()) return false;
  auto status = enlistment_->input()->status();
  if (!status) return fail(std::move(status).error()), false;
  if (settings_.drain) return status->ready + status->claimed + status->deferred > 0;
  return status->ready > 0 && root_.singleton(distributor_lock(enlistment_->endpoint())).pid != 0;
}

Result<ExitCode> Worker::result() {
  apart_.clear();
  if (enlistment_) enlistment_->leave();
  event(level(), "worker-stopped",
        {{"queue", queue_.name()}, {"handled", settler_.acked()}, {"failed", settler_.failed()}, {"to_error_queue", settler_.to_error_queue()}});
  if (fatal_) return *std::move(fatal_);
  if (!bounded()) return ExitCode::ok;
  if (settler_.to_error_queue() > 0) return ExitCode::no;
  if (stopping() && !finished_) return ExitCode::not_now;  // there may be more to do
  if (settings_.once && settler_.any_left_over()) return ExitCode::not_now;
  GW_TRY_ASSIGN(QueueStatus status, queue_.status());
  return status.deferred > 0 ? ExitCode::not_now : ExitCode::ok;
}

void Worker::maintain() {
  attempts_.sync_old(monotonic_ms());
  if (monotonic_ms() < maintained_at_ms_ + maintain_every_ms) return;
  maintained_at_ms_ = monotonic_ms();
  if (auto done = root_.maintain(); !done) event(Level::warn, "maintenance-failed", {{"reason", done.error().text}});
}

Result<ExitCode> Worker::run(Runner& runner) {
  runner_ = &runner;
  maintained_at_ms_ = monotonic_ms();
  attempts_.tidy(queue_);
  if (enlistment_) GW_TRY(enlistment_->announce());
  if (!bounded()) GW_TRY(print_ready("ready"));
  if (enlistment_)
    event(level(), "worker-enlisted",
          {{"worker", enlistment_->worker()}, {"master", enlistment_->endpoint_address()}, {"capacity", settings_.capacity}, {"session", enlistment_->session()}});
  event(level(), "worker-started", {{"queue", queue_.name()}, {"capacity", settings_.capacity}, {"command", settings_.handler.program}});
  for (;;) {
    look_at_signals();
    fill();
    look_for_control();
    look_at_signals();
    if (nothing_left()) return result();
    wait();
    settle();
    if (enlistment_) enlistment_->beat();
    maintain();
  }
}

}  // namespace

namespace {

// Beside the bodies, so that what a handler sends need not be copied.
Result<std::unique_ptr<ScratchDir>> make_outboxes(const std::string& root) {
  const std::string path = root + "/outbox";
  struct stat status{};
  if (::mkdir(path.c_str(), 0700) == 0) {
    if (::stat(root.c_str(), &status) == 0 && (status.st_mode & 020) != 0) ::chmod(path.c_str(), 02770);
  } else if (errno != EEXIST) {
    return errno_error("create", path, errno);
  }
  return ScratchDir::create(path);
}

// Counting is no reason not to work.
std::vector<std::shared_ptr<HandlingTimes>> open_times(const std::string& root, const std::vector<std::string>& queues) {
  std::vector<std::shared_ptr<HandlingTimes>> all;
  for (const std::string& queue : queues) {
    auto times = HandlingTimes::open(root, queue);
    if (times) all.push_back(*std::move(times));
    else event(Level::warn, "times-not-kept", {{"queue", queue}, {"reason", times.error().text}});
  }
  return all;
}

// To be seen is no reason not to work either.
std::unique_ptr<WorkerPresence> be_present(Root& root, const std::string& queue, unsigned capacity) {
  auto presence = WorkerPresence::open(root, queue, capacity);
  if (presence) return *std::move(presence);
  event(Level::debug, "worker-not-listed", {{"queue", queue}, {"reason", presence.error().text}});
  return nullptr;
}

}  // namespace

Result<ExitCode> run_worker(const WorkerOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(WorkerSettings settings, make_worker_settings(options, common));
  ConfigWatch config_file(common.config, common.config_given);
  GW_TRY(config_file.read());
  std::optional<JobLog> log;
  if (!options.job_log.empty()) {
    GW_TRY_ASSIGN(log, JobLog::open(options.job_log));
  }
  GW_TRY_ASSIGN(std::unique_ptr<Root> root, open_root(common, settings.master.has_value()));
  settings.handler.root = root->path();
  GW_TRY_ASSIGN(settings.handler.program, find_program(options.command[0]));
  GW_TRY_ASSIGN(Queue queue, settings.master ? root->create_queue(settings.queue) : root->queue(settings.queue));
  Destinations destinations(*root, common.config, common.config_given);
  GW_TRY_ASSIGN(Destination errors, open_target(*root, destinations, options.error_queue));
  std::optional<Destination> audit;
  if (!options.audit.empty()) {
    GW_TRY_ASSIGN(audit, open_target(*root, destinations, options.audit));
  }
  GW_TRY_ASSIGN(std::unique_ptr<AttemptTable> attempts, AttemptTable::open(root->path(), settings.queue));
  GW_TRY_ASSIGN(std::unique_ptr<ScratchDir> scratch, ScratchDir::create());
  GW_TRY_ASSIGN(std::unique_ptr<ScratchDir> outboxes, make_outboxes(root->path()));
  settings.handler.outboxes = outboxes.get();
  std::vector<std::string> timed = {settings.queue};
  if (settings.master && is_here(settings.master->master, root->machine())) timed.push_back(settings.master->master.queue);
  settings.settler.times = open_times(root->path(), timed);
  if (auto& times = settings.settler.times; !times.empty()) settings.settler.queue_times = times.front();
  std::unique_ptr<Enlistment> enlistment;
  if (settings.master) {
    GW_TRY_ASSIGN(enlistment, Enlistment::open(*root, queue, *settings.master, destinations));
    settings.settler.enlistment = enlistment.get();
  }
  Signals::install();
  Settler settler(*root, queue, errors, audit, *attempts, std::move(log), settings.settler);
  const auto presence = settings.master ? nullptr : be_present(*root, settings.queue, settings.capacity);
  Worker worker(settings, std::move(config_file), *root, queue, *attempts, settler, enlistment.get(), presence.get());
  auto give_up = [&worker] { return worker.out_of_time(); };
  std::unique_ptr<Runner> runner = settings.stream ? make_stream_runner(settings.handler, *attempts, *root, settings.binary)
                                                   : make_process_runner(settings.handler, *scratch, *attempts, give_up);
  return worker.run(*runner);
}

}  // namespace gw::distributor
