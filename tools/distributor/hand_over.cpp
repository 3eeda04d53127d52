#include "hand_over.hpp"

#include <algorithm>

#include "diag.hpp"
#include "failure.hpp"
#include "put_notes.hpp"
#include "address.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

using Kind = ControlMessage::Kind;

constexpr size_t controls_at_once = 64;
constexpr size_t changes_soft_max = 1000;   // messages of the ledger that control messages of one turn may touch, about
constexpr size_t loose_changes_max = 800;   // of those that may wait for the next turn
constexpr size_t targets_max = transaction_targets_max - 100;
constexpr size_t lease_changes = 3;         // what telling a worker its lease takes: the message, and its record anew
constexpr int64_t pause_ms = 1000, vanished_pause_ms = 50;
constexpr int64_t aside_again_ms = 2'000;  // what is foreign and could not be set aside

}  // namespace

// Everything that is the fault of a queue, a message or the configuration, and not of the disk.
bool may_be_over_soon(const Error& error) {
  return error.code == ExitCode::not_now || error.code == ExitCode::no_input || error.code == ExitCode::bad_data || error.code == ExitCode::usage || error.code == ExitCode::config;
}

HandOver::HandOver(Root& root, HandOverSettings settings, Ledger ledger, Destination errors, DistributorReporter reporter, Destinations destinations)
    : root_(root),
      settings_(std::move(settings)),
      ledger_(std::move(ledger)),
      errors_(std::move(errors)),
      reporter_(std::move(reporter)),
      destinations_(std::move(destinations)),
      batch_(settings_.concurrency) {}

Result<void> HandOver::begin() {
  // What a distributor that died held, and what it committed without showing it.
  GW_TRY(root_.recover_dead_owners());
  auto before = read_distributor_report(root_, settings_.endpoint);
  GW_TRY(reload());
  if (before && *before)
    for (const WorkerReport& was : (*before)->workers)
      if (Worker* worker = table_->find(was.worker); worker && worker->session == was.session) {
        worker->done = was.done;
        worker->failed = was.failed;
      }
  return {};
}

// The queues say what is; memory is only a copy of that.
Result<void> HandOver::reload() {
  const int64_t now = monotonic_ms();
  std::vector<uint64_t> foreign;
  std::unique_ptr<ReadyTable> before = std::move(table_);
  GW_TRY_ASSIGN(table_, ledger_.load(now, foreign));
  if (before)
    for (Worker* was : before->workers())
      if (Worker* worker = table_->find(was->name); worker && worker->session == was->session) {
        worker->heard_ms = was->heard_ms;
        worker->done = was->done;
        worker->failed = was->failed;
      }
  for (auto& [name, until] : blocked_)
    if (Worker* worker = table_->find(name)) table_->block(*worker);
  table_->loaded();
  return set_foreign_aside(foreign);
}

// Tokens of workers that nobody knows are void; what is no token is for a person.
Result<void> HandOver::set_foreign_aside(const std::vector<uint64_t>& foreign) {
  for (uint64_t seq : foreign) {
    GW_TRY_ASSIGN(auto claim, ledger_.storage().claim_seq(seq));
    if (!claim) continue;
    const std::string id = claim->message().id(), worker(claim->message().headers.get(header::reply_to_address));
    const bool token = claim->message().headers.find(worker_header::session) != nullptr;
    Turn turn;
    if (token) turn.transaction.ack(*std::move(claim));
    else foreign_control(turn, *std::move(claim), "not a token");
    auto done = root_.commit(std::move(turn.transaction));
    if (!done && done.error().code == ExitCode::io_error) return std::move(done).error();
    if (!done) continue;  // the next look finds it again
    if (token) event(Level::warn, "token-void", {{"endpoint", settings_.endpoint}, {"worker", worker}, {"id", id}});
    for (auto& say : turn.said) say();
  }
  return {};
}

// --- control messages ---------------------------------------------------------------------------------------------------------

Result<void> HandOver::apply_controls(Turn& turn) {
  auto claims = ledger_.control().claim(controls_at_once);
  if (!claims) {
    if (claims.error().code != ExitCode::not_now) return std::move(claims).error();
    if (!control_held_) event(Level::warn, "queue-held", {{"queue", ledger_.control().name()}, {"reason", claims.error().text}});
    control_held_ = true;
    control_empty_ = false;  // what workers say is in there
    return {};
  }
  control_held_ = false;
  control_empty_ = claims->empty();
  size_t size = 0;
  for (Claim& claim : *claims) {
    if (size > changes_soft_max) break;  // the rest is given back and comes next
    auto control = parse_control(claim.message());
    if (!control) {
      GW_TRY(set_aside(std::move(claim), control.error().text));
      continue;
    }
    size += control->hand_outs.size() + (control->kind == Kind::returned ? control->capacity : worker_capacity_max / 4) + 1;
    apply(turn, *control, claim.info().put_at_ms);
    turn.transaction.ack(std::move(claim));
    ++turn.controls;
  }
  return {};
}

// A commit of its own: while the error queue takes nothing, what lies behind it goes on.
Result<void> HandOver::set_aside(Claim&& claim, const std::string& why) {
  const uint64_t seq = claim.seq();
  Turn aside;
  foreign_control(aside, std::move(claim), why);
  auto done = root_.commit(std::move(aside.transaction));
  if (!done && !may_be_over_soon(done.error())) return std::move(done).error();
  if (done) {
    for (auto& say : aside.said) say();
    return {};
  }
  // Somebody has removed it: it is made anew, and serves the next time.
  const bool removed = done.error().code == ExitCode::no_input && errors_.remote_queue.empty();
  if (removed) {
    GW_TRY_ASSIGN(errors_.queue, root_.create_queue(errors_.queue.name()));
  }
  event(Level::warn, "refused", {{"endpoint", settings_.endpoint}, {"reason", done.error().text}});
  return put_off(ledger_.control(), seq, removed ? pause_ms : aside_again_ms);
}

// Others must not wait behind a message that nothing can be done with for now.
Result<void> HandOver::put_off(Queue& queue, uint64_t seq, int64_t for_ms) {
  GW_TRY_ASSIGN(auto claim, queue.claim_seq(seq));
  if (!claim) return {};
  Transaction later;
  later.defer(*std::move(claim), Defer{now_ms() + for_ms, false});
  GW_TRY(root_.commit(std::move(later)));
  return {};
}

void HandOver::foreign_control(Turn& turn, Claim&& claim, const std::string& why) {
  const std::string id = claim.message().id(), queue = claim.queue_name();
  const int64_t expires = claim.info().expires_at_ms;
  Message message = std::move(claim.message());
  Failure failure;
  failure.failed_queue = queue + "@" + root_.machine();
  failure.exception_type = "Gatepost.NotAControlMessage";
  failure.message = why;
  failure.processing_endpoint = settings_.endpoint;
  failure.processing_machine = root_.machine();
  failure.at_us = now_us();
  add_failure_headers(message.headers, failure);
  turn.transaction.ack(std::move(claim));
  put_to(turn.transaction, errors_, std::move(message), for_a_person(expires));
  ++turn.puts;
  ++turn.controls;
  turn.said.push_back([this, id, queue, why] {
    event(Level::error, "control-message-foreign", {{"queue", queue}, {"id", id}, {"reason", why}, {"error_queue", errors_.name()}});
  });
}

void HandOver::apply(Turn& turn, const ControlMessage& control, int64_t put_at_ms) {
  switch (control.kind) {
    case Kind::starting: return apply_starting(turn, control);
    case Kind::returned: return apply_returned(turn, control);
    case Kind::heartbeat: return apply_heartbeat(turn, control, put_at_ms);
    case Kind::stopping:
      if (table_->stopping(control))
        turn.said.push_back([this, control] {
          event(Level::info, "worker-stopping", {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"session", control.session}});
        });
      return;
    case Kind::unregister:
    case Kind::drain:
    case Kind::resume: return apply_operator(turn, control);
  }
}

void HandOver::apply_starting(Turn& turn, const ControlMessage& control) {
  Worker* before = table_->find(control.worker);
  const size_t cleared = before ? before->free.size() : 0;
  if (!table_->starting(control, monotonic_ms(), now_ms())) {
    turn.said.push_back([this, control] {
      event(Level::info, "start-ignored",
            {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"session", control.session}, {"reason", "it is older than the session that is known"}});
    });
    return;
  }
  Worker* worker = table_->find(control.worker);
  const size_t held = worker->out.size();
  const bool plain = worker->plain, draining = worker->draining;
  turn.said.push_back([=, this] {
    if (cleared > 0)
      event(Level::info, "tokens-cleared", {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"tokens", cleared}, {"reason", "it began a new session"}});
    event(Level::info, "worker-registered",
          {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"capacity", control.capacity}, {"session", control.session}, {"in_flight", held}});
    if (plain) event(Level::warn, "worker-of-old-version", {{"worker", control.worker}, {"reason", "it names no hand-outs: returns are counted only"}});
    if (draining)
      event(Level::warn, "worker-draining", {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"reason", "it was drained by hand and not resumed"}});
  });
}

void HandOver::apply_returned(Turn& turn, const ControlMessage& control) {
  auto result = table_->returned(control, monotonic_ms());
  for (const HandOut& one : result.ignored)
    turn.said.push_back([this, worker = control.worker, one] {
      event(Level::info, "return-ignored",
            {{"endpoint", settings_.endpoint}, {"worker", worker}, {"hand_out", to_text(one)}, {"reason", "that hand-out is not out with this worker"}});
    });
  if (control.hand_outs.empty() && result.applied == 0)
    turn.said.push_back([this, worker = control.worker] {
      event(Level::info, "return-ignored", {{"endpoint", settings_.endpoint}, {"worker", worker}, {"reason", "it names no hand-out of this session"}});
    });
  if (!control.times.empty()) turn.said.push_back([this, control] { keep_times(control); });
  if (settings_.verbose && result.applied > 0)
    turn.said.push_back([this, worker = control.worker, n = result.applied] {
      event(Level::debug, "worker-available", {{"endpoint", settings_.endpoint}, {"worker", worker}, {"tokens", n}});
    });
}

// Workers of this root count for themselves.
void HandOver::keep_times(const ControlMessage& control) {
  auto address = parse_address(control.worker);
  if (!address || is_here(*address, root_.machine())) return;
  for (const std::string& name : {settings_.endpoint, full_address(*address, root_.machine())}) {
    auto& times = times_[name];
    if (!times) {
      auto opened = HandlingTimes::open(root_.path(), name);
      if (!opened) continue;
      times = *std::move(opened);
    }
    for (const Took& one : control.times) times->handled(one.critical_s, one.processing_s);
  }
}

void HandOver::apply_heartbeat(Turn& turn, const ControlMessage& control, int64_t put_at_ms) {
  const int64_t now = monotonic_ms();
  auto alive = table_->heartbeat(control, now);
  auto address = parse_address(control.worker);
  std::vector<HandOut> lost;
  // It may have waited in the control queue: what it says is as old as it is.
  if (alive.known && address && is_here(*address, root_.machine()))
    lost = table_->missing(control, now - std::max<int64_t>(now_ms() - put_at_ms, 0), settings_.lease_ms);
  if (alive.was_silent)
    turn.said.push_back([this, worker = control.worker] { event(Level::info, "worker-back", {{"endpoint", settings_.endpoint}, {"worker", worker}}); });
  for (const HandOut& one : lost)
    turn.said.push_back([this, worker = control.worker, one] {
      event(Level::warn, "hand-out-lost",
            {{"endpoint", settings_.endpoint}, {"worker", worker}, {"hand_out", to_text(one)}, {"reason", "the message is not in the worker's queue any more: its token is free again"}});
    });
}

void HandOver::apply_operator(Turn& turn, const ControlMessage& control) {
  bool known = false;
  const char* name = "";
  switch (control.kind) {
    case Kind::drain: known = table_->drain(control.worker), name = "worker-draining"; break;
    case Kind::resume: known = table_->resume(control.worker), name = "worker-resumed"; break;
    default: known = table_->unregister(control.worker), name = "worker-unregistered"; break;
  }
  if (control.kind == Kind::unregister) reclaim_at_ms_ = 0;
  turn.said.push_back([=, this] {
    if (known) event(Level::info, name, {{"endpoint", settings_.endpoint}, {"worker", control.worker}});
    else event(Level::warn, "worker-unknown", {{"endpoint", settings_.endpoint}, {"worker", control.worker}, {"reason", "there is nothing to do"}});
  });
}

// --- handing out ------------------------------------------------------------------------------------------------------------------

Result<Destination> HandOver::destination_of(const Worker& worker) {
  auto known = workers_.find(worker.name);
  if (known != workers_.end()) return known->second;
  GW_TRY_ASSIGN(Destination destination, destinations_.find(worker.name));
  workers_[worker.name] = destination;
  return destination;
}

// Does it not know yet how often it has to report?
bool HandOver::is_untold(const Worker& worker) const {
  return worker.lease_ms != settings_.lease_ms && !worker.plain && !worker.gone && !worker.unregistered;
}

size_t HandOver::untold_workers() const {
  size_t count = 0;
  for (const Worker* worker : table_->workers()) count += is_untold(*worker);
  return count;
}

bool HandOver::may_hand_out() const { return table_->available() > 0; }

Result<void> HandOver::hand_out(Turn& turn) {
  const size_t before = turn.controls + turn.puts + table_->changes(loose_changes_max).size() + lease_changes * untold_workers();
  const size_t room = before < targets_max ? (targets_max - before) / 3 : 0;
  const size_t wanted = std::min({table_->available(), size_t{batch_}, room});
  if (wanted == 0) return {};
  auto works = ledger_.input().claim(wanted);
  if (!works) {
    turn.input_gone = works.error().code == ExitCode::no_input;
    if (works.error().code != ExitCode::not_now) return std::move(works).error();
    if (!input_held_) event(Level::warn, "queue-held", {{"queue", settings_.endpoint}, {"reason", works.error().text}});
    input_held_ = true;
    return {};
  }
  input_held_ = false;
  const int64_t now = monotonic_ms();
  for (Claim& work : *works) {
    const ReadyTable::Taken taken = table_->take(work.seq(), now);
    const HandOut hand_out{taken.slot, work.seq()};
    turn.last_worker = taken.worker->name;
    turn.last_work = work.seq();
    GW_TRY_ASSIGN(Destination destination, destination_of(*taken.worker));
    if (is_untold(*taken.worker)) {  // first, as a worker that has its hands full reads no more
      put_to(turn.transaction, destination, lease_message(settings_.lease_ms));
      ++turn.puts;
      table_->told_lease(*taken.worker, settings_.lease_ms);
    }
    Message message = std::move(work.message());
    message.headers.set(worker_header::session, taken.worker->session);
    message.headers.set(worker_header::hand_out, to_text(hand_out));
    PutOptions options;
    options.expires_at_ms = work.info().expires_at_ms;
    options.failures = work.info().failures;
    if (options.failures > 0) options.due_at_ms = work.info().due_at_ms;  // over; it says how many immediate retries were left out
    if (settings_.verbose)
      turn.said.push_back([this, worker = taken.worker->name, id = message.id(), hand_out, trace = std::string(message.headers.get(traceparent_header))] {
        event(Level::debug, "forwarded",
              {{"endpoint", settings_.endpoint}, {"worker", worker}, {"id", id}, {"hand_out", to_text(hand_out)}, {"traceparent", trace}});
      });
    turn.moved.push_back({message.id(), destination.name(), taken.worker->name, std::string(message.headers.get(traceparent_header)), turn.puts});
    turn.transaction.ack(std::move(work));
    put_to(turn.transaction, destination, std::move(message), std::move(options));
    ++turn.puts;
    ++turn.works;
  }
  return {};
}

Result<bool> HandOver::turn() {
  if (monotonic_ms() < paused_until_ms_) return false;
  Turn turn;
  if (!separate_ || controls_turn_) GW_TRY(apply_controls(turn));
  if (!separate_ || !controls_turn_ || turn.controls == 0)
    if (may_hand_out())
      if (auto handed = hand_out(turn); !handed) return refused(turn, std::move(handed).error());
  controls_turn_ = !controls_turn_;
  return commit(turn);
}

Result<bool> HandOver::commit(Turn& turn) {
  auto changes = table_->changes(loose_changes_max);
  if (turn.controls + turn.works == 0 && changes.empty()) return false;
  GW_TRY_ASSIGN(turn.written, ledger_.write(turn.transaction, turn.puts, std::move(changes)));
  if (!turn.written.vanished.empty()) {
    // Somebody took tokens out of the storage queue. The queues say what is left.
    turn.transaction = {};
    event(Level::warn, "tokens-vanished", {{"endpoint", settings_.endpoint}, {"tokens", turn.written.vanished.size()}, {"reason", "new ones take their place"}});
    GW_TRY(reload());
    paused_until_ms_ = monotonic_ms() + vanished_pause_ms;  // perhaps somebody only looks at them
    return true;
  }
  auto result = root_.commit(std::move(turn.transaction));
  if (!result) return refused(turn, std::move(result).error());
  Ledger::written(*table_, turn.written, *result, monotonic_ms());
  write_journal(turn, *result);
  for (auto& say : turn.said) say();
  if (batch_ < settings_.concurrency) {
    batch_ = std::min(settings_.concurrency, batch_ * 2);
  } else {
    separate_ = false;
  }
  return true;
}

void HandOver::write_journal(const Turn& turn, const CommitResult& result) {
  for (const Moved& moved : turn.moved) {
    JournalLine line;
    line.event = Happened::moved;
    line.id = moved.id;
    line.queue = settings_.endpoint;
    line.to = moved.to;
    line.seq = result.puts[moved.put].seq;
    line.worker = moved.worker;
    line.traceparent = moved.traceparent;
    root_.journal().add(line);
  }
  root_.journal().write();
}

void HandOver::pause(const Error& error) {
  paused_until_ms_ = monotonic_ms() + pause_ms;
  event(Level::warn, "refused", {{"endpoint", settings_.endpoint}, {"reason", error.text}});
}

// Nothing of the turn has happened. Smaller turns find out whose fault it is.
Result<bool> HandOver::refused(Turn& turn, Error&& error) {
  turn.transaction = {};  // what it claimed is free again
  const bool for_now = may_be_over_soon(error) && !turn.input_gone;
  if (!for_now) return std::move(error);
  const bool alone = turn.works <= 1 && turn.controls == 0 && !turn.last_worker.empty();
  if (alone && error.code == ExitCode::bad_data) {
    GW_TRY(reload());
    GW_TRY(reject_work(turn.last_work, error.text));
    return true;
  }
  if (alone) {
    event(Level::warn, "worker-blocked", {{"endpoint", settings_.endpoint}, {"worker", turn.last_worker}, {"reason", error.text}});
    blocked_[turn.last_worker] = monotonic_ms() + pause_ms;
    workers_.erase(turn.last_worker);
  } else if (separate_ && turn.works == 0) {
    pause(error);
  }
  separate_ = true;
  controls_turn_ = true;
  batch_ = 1;
  GW_TRY(reload());
  return true;
}

Result<void> HandOver::reject_work(uint64_t seq, const std::string& why) {
  GW_TRY_ASSIGN(auto claim, ledger_.input().claim_seq(seq));
  if (!claim) return {};
  Turn turn;
  foreign_control(turn, *std::move(claim), why);
  if (auto done = root_.commit(std::move(turn.transaction)); !done) {
    if (!may_be_over_soon(done.error())) return std::move(done).error();
    pause(done.error());
    return put_off(ledger_.input(), seq, aside_again_ms);
  }
  for (auto& say : turn.said) say();
  return {};
}

// --- telling ------------------------------------------------------------------------------------------------------------------------

DistributorReport make_report(const std::string& endpoint, ReadyTable& table, const Root& root) {
  DistributorReport report;
  report.endpoint = endpoint;
  for (Worker* worker : table.workers()) {
    if (worker->unregistered) continue;
    WorkerReport& row = report.workers.emplace_back();
    row.worker = worker->name;
    row.state = to_string(worker->state());
    row.session = worker->session;
    row.capacity = worker->capacity;
    row.tokens = static_cast<unsigned>(worker->free.size()) + worker->fresh;
    row.in_flight = static_cast<unsigned>(worker->out.size());
    row.since_ms = worker->since_ms;
    row.done = worker->done;
    row.failed = worker->failed;
    auto address = parse_address(worker->name);
    row.here = address && is_here(*address, root.machine());
  }
  return report;
}

void HandOver::report() {
  auto written = reporter_.write(make_report(settings_.endpoint, *table_, root_));
  if (!written && !report_failed_) event(Level::warn, "report-not-written", {{"endpoint", settings_.endpoint}, {"reason", written.error().text}});
  report_failed_ = !written;
}

void apply_for_show(ReadyTable& table, const ControlMessage& control, int64_t now) {
  switch (control.kind) {
    case Kind::starting: table.starting(control, now, now_ms()); break;
    case Kind::returned: static_cast<void>(table.returned(control, now)); break;
    case Kind::heartbeat: static_cast<void>(table.heartbeat(control, now)); break;
    case Kind::stopping: table.stopping(control); break;
    case Kind::unregister: table.unregister(control.worker); break;
    case Kind::drain: table.drain(control.worker); break;
    case Kind::resume: table.resume(control.worker); break;
  }
}

}  // namespace gw::distributor
