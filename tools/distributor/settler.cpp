#include "settler.hpp"

#include <algorithm>
#include <utility>

#include "diag.hpp"
#include "failure.hpp"
#include "sender_map.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

using Verdict = AttemptEnd::Verdict;

constexpr size_t together_max = worker_capacity_max;
constexpr int64_t refused_again_ms = 2'000;

std::string_view without_line_end(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

std::string with_colon(const std::string& what, std::string_view more) {
  if (more.empty()) return what;
  return what + ": " + std::string(more);
}

const char* outcome_word(Verdict verdict) {
  switch (verdict) {
    case Verdict::done: return "acked";
    case Verdict::rejected: return "error-queue";
    case Verdict::interrupted: return "interrupted";
    case Verdict::given_back: return "given-back";
    case Verdict::failed:
    case Verdict::later: break;
  }
  return "";
}

}  // namespace

std::string AttemptEnd::reason() const { return with_colon(what, without_line_end(tail)); }

std::string AttemptEnd::message() const {
  std::string_view text = without_line_end(tail);
  return with_colon(what, text.substr(text.rfind('\n') + 1));
}

Settler::Settler(Root& root, Queue queue, Destination errors, std::optional<Destination> audit, AttemptTable& attempts, std::optional<JobLog> log,
                 SettlerOptions options)
    : root_(root),
      queue_(std::move(queue)),
      errors_(std::move(errors)),
      audit_(std::move(audit)),
      attempts_(attempts),
      log_(std::move(log)),
      options_(std::move(options)),
      thread_([&root](std::vector<Transaction>&& transactions) { return root.commit_all(std::move(transactions)); }) {}

Settler::Settled& Settler::note(const Claim& claim, AttemptEnd&& end) {
  Settled& settled = settled_.emplace_back();
  settled.info = claim.info();
  settled.id = claim.message().id();
  settled.sent_at_ms = parse_nsb_time_ms(claim.message().headers.get(header::time_sent)).value_or(settled.info.put_at_ms);
  settled.body_bytes = claim.message().body.size();
  settled.traceparent = claim.message().headers.get(traceparent_header);
  settled.outcome = outcome_word(end.verdict);
  settled.ended_at_ms = now_ms();
  settled.end = std::move(end);
  if (options_.enlistment) settled.hand_out = Enlistment::hand_out_of(claim.message());
  ++pending_messages_;
  pending_bytes_ += settled.body_bytes;
  return settled;
}

void Settler::add(Claim&& claim, AttemptEnd&& end) {
  count_refusal(claim.seq(), end);
  const Verdict verdict = end.verdict;
  if (verdict == Verdict::given_back) attempts_.take_back(claim.info());
  else if (verdict != Verdict::interrupted) attempts_.end(claim.info());
  if (verdict == Verdict::done) failed_in_a_row_ = 0;
  else if (verdict != Verdict::given_back && verdict != Verdict::rejected) ++failed_in_a_row_;
  Settled& settled = note(claim, std::move(end));
  Transaction& transaction = transactions_.emplace_back();
  switch (verdict) {
    case Verdict::done:
      settled.leaves = true;
      if (settled.hand_out && settled.end.sends.empty() && !audit_ && settled_together_.size() < together_max) {
        together_.ack(std::move(claim));
        settled_together_.push_back(settled_.size() - 1);
      } else if (auto fine = acknowledge(std::move(claim), transaction, settled); !fine) {
        // A queue that a send goes to is not there: the attempt failed.
        settled.end.what = "held messages were not sent: " + fine.error().text;
        settled.end.exception_type = "Gatepost.HandlerFailed";
        transaction = {};
        settled.leaves = false;
        ++failed_in_a_row_;
        try_again(std::move(claim), transaction, settled, true);
      }
      break;
    case Verdict::failed: try_again(std::move(claim), transaction, settled, false); break;
    case Verdict::later: try_again(std::move(claim), transaction, settled, true); break;
    case Verdict::rejected: move_to_errors(std::move(claim), transaction, settled.end); settled.to_errors = settled.leaves = true; break;
    case Verdict::interrupted:
    case Verdict::given_back:
      if (options_.once) had_attempt_.insert(settled.info.seq);
      left_over_ = true;
      claim.release();
      break;
  }
  const bool failed = verdict == Verdict::failed || verdict == Verdict::later || verdict == Verdict::rejected;
  if (options_.enlistment && failed) options_.enlistment->attempt_failed();
  give_back(transaction, settled);
}

// Exactly one return for each hand-out, in the commit that takes its message away.
void Settler::give_back(Transaction& transaction, const Settled& settled) {
  if (!settled.hand_out || !settled.leaves || transaction.empty()) return;
  std::vector<Took> times;
  if (settled.outcome == "acked") times.push_back(took(settled));
  options_.enlistment->give_back(transaction, {*settled.hand_out}, std::move(times));
}

Took Settler::took(const Settled& settled) {
  auto seconds = [](int64_t ms) { return static_cast<double>(std::max<int64_t>(ms, 0)) / 1000; };
  return {seconds(now_ms() - settled.sent_at_ms), seconds(settled.ended_at_ms - settled.end.started_at_ms)};
}

void Settler::reject(Claim&& claim, const std::string& exception_type, const std::string& why) {
  attempts_.end(claim.info());
  AttemptEnd end;
  end.verdict = Verdict::rejected;
  end.what = why;
  end.exception_type = exception_type;
  Settled& settled = note(claim, std::move(end));
  settled.outcome.clear();
  settled.to_errors = settled.leaves = true;
  Transaction& transaction = transactions_.emplace_back();
  move_to_errors(std::move(claim), transaction, settled.end);
  give_back(transaction, settled);
}

void Settler::consume(Claim&& claim) {
  attempts_.end(claim.info());
  Settled& settled = note(claim, {});
  settled.outcome.clear();
  settled.leaves = true;
  Transaction& transaction = transactions_.emplace_back();
  transaction.ack(std::move(claim));
  give_back(transaction, settled);
}

void Settler::move_to_errors(Claim&& claim, Transaction& transaction, const AttemptEnd& end) {
  const int64_t expires = claim.info().expires_at_ms;
  Message message = claim.message();
  Failure failure;
  // Where it came from, and where it goes when somebody returns it: any worker may have it then.
  failure.failed_queue = handed_out(message) ? options_.enlistment->endpoint_address() : queue_.name() + "@" + root_.machine();
  failure.exception_type = end.exception_type;
  failure.message = end.message();
  failure.stack_trace = without_line_end(end.tail);
  failure.source = options_.command;
  failure.processing_endpoint = options_.endpoint;
  failure.processing_machine = root_.machine();
  failure.at_us = now_us();
  add_failure_headers(message.headers, failure);
  remove_hand_out(message.headers);
  transaction.ack(std::move(claim));
  put_to(transaction, errors_, std::move(message), for_a_person(expires));
}

Result<void> Settler::acknowledge(Claim&& claim, Transaction& transaction, Settled& settled) {
  std::vector<Queue> targets;
  for (const HeldSend& send : settled.end.sends) {
    GW_TRY_ASSIGN(Queue target, root_.queue(send.queue));
    targets.push_back(std::move(target));
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    HeldSend& send = settled.end.sends[i];
    GW_TRY_ASSIGN(auto behind, told_again(root_, send.queue, send.message.headers, settled.map_uses));
    if (settled.hand_out) set_return_address(send.message.headers);
    settled.sent.push_back(note_put(targets[i], send.message, settled.id));
    transaction.put(targets[i], std::move(send.message), std::move(send.options));
    if (behind) transaction.put(targets[i], *std::move(behind));
  }
  if (audit_) {
    Message copy = claim.message();
    copy.headers.remove(returned_header);
    copy.headers.set("NServiceBus.ProcessingStarted", format_nsb_time(settled.end.started_at_ms * 1000));
    copy.headers.set("NServiceBus.ProcessingEnded", format_nsb_time(settled.ended_at_ms * 1000));
    copy.headers.set(header::processing_endpoint, options_.endpoint);
    copy.headers.set(header::processing_machine, root_.machine());
    remove_hand_out(copy.headers);
    put_to(transaction, *audit_, std::move(copy), for_a_person(claim.info().expires_at_ms));
  }
  transaction.ack(std::move(claim));
  return {};
}

void Settler::try_again(Claim&& claim, Transaction& transaction, Settled& settled, bool skip_immediate) {
  settled.next = next_step(options_.schedule, settled.info, skip_immediate, settled.end.delay_ms, settled.ended_at_ms);
  // Only a handler that asks for it gets a message again that an operator returned.
  if (is_returned(claim.message().headers) && settled.end.verdict == Verdict::failed) settled.next = {};
  if (settled.next.kind == NextStep::Kind::error) {
    settled.to_errors = settled.leaves = true;
    settled.outcome = "error-queue";
    return move_to_errors(std::move(claim), transaction, settled.end);
  }
  settled.outcome = settled.next.kind == NextStep::Kind::immediate ? "immediate-retry" : "delayed-retry";
  if (options_.once) had_attempt_.insert(settled.info.seq);
  left_over_ = true;
  if (settled.hand_out && settled.next.kind == NextStep::Kind::delayed) return send_back(std::move(claim), transaction, settled);
  transaction.defer(std::move(claim), settled.next.defer);
}

// Its token must not wait with it: it waits in the endpoint's queue, and goes to whoever is ready then.
void Settler::send_back(Claim&& claim, Transaction& transaction, Settled& settled) {
  if (options_.once) had_attempt_ids_.insert(settled.id);
  settled.leaves = true;
  Message message = claim.message();
  remove_hand_out(message.headers);
  message.headers.remove(worker_header::interruptions);
  PutOptions options;
  options.due_at_ms = settled.next.defer.due_at_ms;
  options.failures = settled.info.failures + 1;
  options.expires_at_ms = settled.info.expires_at_ms;
  transaction.ack(std::move(claim));
  options_.enlistment->put_to_endpoint(transaction, std::move(message), std::move(options));
}

bool Settler::handed_out(const Message& message) const { return options_.enlistment && Enlistment::hand_out_of(message); }

// Answers go to the endpoint, not to this worker, unless the handler says otherwise.
void Settler::set_return_address(Headers& headers) const {
  const std::string* said = headers.find(header::reply_to_address);
  if (said && *said != options_.endpoint && *said != queue_.name()) return;
  headers.set(header::reply_to_address, options_.enlistment->endpoint_address());
}

// Somebody has removed the error or audit queue: it is made anew, and the message is settled as it was to be, without another run of its
// handler. False: that is not to be.
Result<bool> Settler::settle_again(Settled& settled) {
  Destination* target = settled.to_errors ? &errors_ : settled.outcome == "acked" && audit_ ? &*audit_ : nullptr;
  if (!target || !target->remote_queue.empty()) return false;
  GW_TRY_ASSIGN(target->queue, root_.create_queue(target->queue.name()));
  if (!settled.end.sends.empty()) return false;  // they are gone with the transaction: the handler makes them again
  GW_TRY_ASSIGN(auto again, queue_.claim_seq(settled.info.seq));
  if (!again) return false;
  Transaction transaction;
  if (settled.to_errors) move_to_errors(*std::move(again), transaction, settled.end);
  else GW_TRY(acknowledge(*std::move(again), transaction, settled));
  give_back(transaction, settled);
  if (!root_.commit(std::move(transaction))) return false;
  event(Level::warn, "queue-made-anew", {{"queue", target->name()}, {"reason", "it had been removed"}});
  return true;
}

// The claim has been given back. An acknowledgement that was refused because of what leaves with it must not run the handler again and
// again: that counts.
Result<void> Settler::refuse(Settled& settled, const Error& error) {
  if (error.code == ExitCode::no_input) {
    GW_TRY_ASSIGN(const bool settled_now, settle_again(settled));
    if (settled_now) return {};
  }
  ++refused_;
  left_over_ = true;
  event(Level::warn, "refused", {{"queue", queue_.name()}, {"id", settled.id}, {"seq", settled.info.seq}, {"reason", error.text}, {"traceparent", settled.traceparent}});
  if (settled.leaves && settled.outcome == "delayed-retry") return retry_here(settled);
  if (settled.to_errors) return fail_later(settled);
  settled.outcome = settled.outcome.empty() ? "" : "given-back";
  settled.leaves = false;
  if (settled.end.verdict != Verdict::done || settled.end.sends.empty()) return {};
  settled.end.what = "held messages were not sent: " + error.text;
  settled.end.exception_type = "Gatepost.HandlerFailed";
  settled.end.verdict = Verdict::later;
  GW_TRY_ASSIGN(auto again, queue_.claim_seq(settled.info.seq));
  if (!again) {  // another worker has it, or we have it again already: then it counts when that attempt ends
    refusals_[settled.info.seq] = settled.end.what;
    return {};
  }
  Transaction transaction;
  try_again(*std::move(again), transaction, settled, true);
  give_back(transaction, settled);
  GW_TRY(root_.commit(std::move(transaction)));
  return {};
}

// The error queue takes nothing for now. Others must not wait behind a message that fails whenever it is tried.
Result<void> Settler::fail_later(Settled& settled) {
  const bool attempted = !settled.outcome.empty();
  settled.to_errors = false;
  if (attempted) settled.outcome = "delayed-retry";
  settled.next.kind = NextStep::Kind::delayed;
  constexpr int64_t step_ms = 256;  // a due time also says how many retries were left out
  settled.next.due_at_ms = ((now_ms() + refused_again_ms) / step_ms + 1) * step_ms + skipped_retries(settled.info);
  settled.next.defer = {settled.next.due_at_ms, attempted};
  if (options_.once) had_attempt_.insert(settled.info.seq);
  return retry_here(settled);
}

// The endpoint's queue does not take it back for now: it waits here, and its token with it.
Result<void> Settler::retry_here(Settled& settled) {
  settled.leaves = false;
  GW_TRY_ASSIGN(auto again, queue_.claim_seq(settled.info.seq));
  if (!again) {  // begun again already: this attempt is not counted
    settled.outcome = "given-back";
    return {};
  }
  Transaction transaction;
  transaction.defer(*std::move(again), settled.next.defer);
  GW_TRY(root_.commit(std::move(transaction)));
  return {};
}

void Settler::count_refusal(uint64_t seq, AttemptEnd& end) {
  if (refusals_.empty()) return;
  auto found = refusals_.find(seq);
  if (found == refusals_.end()) return;
  if (end.verdict == Verdict::done) {
    end.verdict = Verdict::later;
    end.what = found->second;
    end.exception_type = "Gatepost.HandlerFailed";
    end.delay_ms.reset();
  }
  refusals_.erase(found);
}

Result<void> Settler::commit() {
  Result<void> result;
  if (thread_.busy()) {
    if (!thread_.done()) return {};
    auto results = thread_.take();
    result = end_commit(std::exchange(committing_, {}), std::move(results));
  }
  if (!settled_.empty()) begin_commit();
  return result;
}

void Settler::begin_commit() {
  Batch batch;
  std::vector<Transaction> transactions;
  for (size_t i = 0; i < transactions_.size(); ++i) {
    if (transactions_[i].empty()) continue;
    transactions.push_back(std::move(transactions_[i]));
    batch.index.push_back({i});
  }
  if (!settled_together_.empty()) {
    std::vector<HandOut> hand_outs;
    std::vector<Took> times;
    for (size_t i : settled_together_) {
      hand_outs.push_back(*settled_[i].hand_out);
      times.push_back(took(settled_[i]));
    }
    options_.enlistment->give_back(together_, hand_outs, std::move(times));
    transactions.push_back(std::exchange(together_, {}));
    batch.index.push_back(std::exchange(settled_together_, {}));
  }
  batch.settled = std::exchange(settled_, {});
  transactions_.clear();
  if (transactions.empty()) {  // given back, all of them
    static_cast<void>(end_commit(std::move(batch), {}).has_value());
    return;
  }
  committing_ = std::move(batch);
  thread_.submit(std::move(transactions));
}

Result<void> Settler::end_commit(Batch&& batch, CommitThread::Results&& results) {
  std::optional<Error> fatal;
  std::vector<bool> in_doubt(batch.settled.size());
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i]) continue;
    Error& error = results[i].error();
    if (error.code == ExitCode::not_now || error.code == ExitCode::no_input || error.code == ExitCode::bad_data) {
      for (size_t one : batch.index[i])
        if (auto refused = refuse(batch.settled[one], error); !refused && !fatal) fatal = std::move(refused).error();
    } else {
      for (size_t one : batch.index[i]) in_doubt[one] = true;
      if (!fatal) fatal = std::move(error);
    }
  }
  for (size_t i = 0; i < batch.settled.size(); ++i) {
    --pending_messages_;
    pending_bytes_ -= batch.settled[i].body_bytes;
    if (!in_doubt[i]) tell(batch.settled[i]);
  }
  root_.journal().write();
  if (fatal) return *std::move(fatal);
  return {};
}

void Settler::keep_times(const Settled& settled) {
  const Took one = took(settled);
  for (const auto& times : options_.times) times->handled(one.critical_s, one.processing_s);
}

void Settler::write_journal(const Settled& settled) {
  const bool acked = settled.outcome == "acked", retry = settled.outcome == "immediate-retry" || settled.outcome == "delayed-retry",
             interrupted = settled.outcome == "interrupted", failed = !acked && !retry && !interrupted && settled.to_errors;
  if (settled.outcome == "given-back" || !(acked || retry || interrupted || failed)) return;
  const std::string worker = queue_.name() + "@" + root_.machine(), reason = settled.end.reason(), errors = failed ? errors_.name() : "";
  JournalLine line;
  line.event = acked ? Happened::handled : failed ? Happened::failed : Happened::deferred;
  line.id = settled.id;
  line.queue = queue_.name();
  if (failed)
    line.to = errors;
  else
    line.seq = settled.info.seq;
  line.worker = worker;
  // Neither an interruption nor a rejection without an attempt is one.
  if (!interrupted) line.attempt = settled.info.failures + (settled.outcome.empty() ? 0 : 1);
  if (!acked) line.reason = reason;
  if (retry) line.next_try_ms = std::max(settled.next.due_at_ms, settled.ended_at_ms);
  line.traceparent = settled.traceparent;
  root_.journal().add(line);
  if (acked)
    for (const PutNote& sent : settled.sent) root_.journal().add(sent.line(Happened::stored, 0));
}

void Settler::tell(const Settled& settled) {
  write_journal(settled);
  const MessageInfo& info = settled.info;
  if (settled.outcome == "acked") {
    ++acked_;
    keep_times(settled);
    event(Level::debug, "handled", {{"queue", queue_.name()}, {"id", settled.id}, {"seq", info.seq}, {"traceparent", settled.traceparent}});
  } else if (settled.outcome == "immediate-retry" || settled.outcome == "delayed-retry") {
    ++failed_;
    if (settled.leaves && options_.queue_times) options_.queue_times->sent_back();
    event(Level::warn, "attempt-failed",
          {{"queue", queue_.name()},
           {"id", settled.id},
           {"seq", info.seq},
           {"attempt", info.failures + 1},
           {"reason", settled.end.reason()},
           {"next_try_at", format_rfc3339(std::max(settled.next.due_at_ms, settled.ended_at_ms))},
           {"traceparent", settled.traceparent}});
  } else if (settled.outcome == "interrupted") {
    event(Level::warn, "attempt-interrupted",
          {{"queue", queue_.name()}, {"id", settled.id}, {"seq", info.seq}, {"reason", settled.end.reason()}, {"traceparent", settled.traceparent}});
  } else if (settled.to_errors && settled.outcome != "given-back") {
    ++to_error_queue_;
    const bool attempted = !settled.outcome.empty();
    if (attempted) ++failed_;
    if (attempted && options_.queue_times) options_.queue_times->gave_up();
    event(Level::error, attempted ? "attempt-failed" : "message-failed",
          {{"queue", queue_.name()},
           {"id", settled.id},
           {"seq", info.seq},
           {"attempt", info.failures + (attempted ? 1 : 0)},
           {"reason", settled.end.reason()},
           {"error_queue", errors_.name()},
           {"traceparent", settled.traceparent}});
  }
  if (!log_ || settled.outcome.empty()) return;
  JobLine line;
  line.seq = info.seq;
  line.host = root_.machine();
  line.command = options_.command;
  line.id = settled.id;
  line.outcome = settled.outcome;
  line.started_at_ms = settled.end.started_at_ms;
  line.ended_at_ms = settled.ended_at_ms;
  line.sent_bytes = settled.body_bytes;
  line.received_bytes = settled.end.output_bytes;
  line.exit_status = settled.end.exit_status;
  line.signal = settled.end.signal;
  line.attempt = info.failures + 1;
  if (auto logged = log_->append(line); !logged) event(Level::error, "job-log-failed", {{"reason", logged.error().text}});
}

}  // namespace gw::distributor
