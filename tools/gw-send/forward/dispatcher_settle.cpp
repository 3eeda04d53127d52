// From answers to outcomes: acks, retries, the error queue.
#include <algorithm>
#include <set>

#include "diag.hpp"
#include "dispatcher_site.hpp"
#include "failure.hpp"
#include "handling_times.hpp"
#include "outbox.hpp"
#include "put_notes.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr size_t reason_body_bytes = 1024;
constexpr size_t late_outcomes_max = 100'000;
constexpr int64_t commit_trouble_pause_ms = 1000;
constexpr size_t outboxes_of_their_own_max = 4, shared_transaction_max = 1000;
constexpr int64_t after_probe_ms = 50;  // a message that was just tried lets another one be the next probe

std::string cut_utf8(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end);
}

/// `503 Service Unavailable: first KiB of the body`, or what the library says.
std::string describe(const Transfer& transfer) {
  const HttpAnswer& answer = transfer.answer;
  if (answer.word == HttpAnswer::Word::refuse) return "refused: " + answer.reason;
  if (answer.word == HttpAnswer::Word::retry) return answer.reason.empty() ? "retry" : answer.reason;
  if (answer.status == 0 && answer.tls_failed) return answer.error;
  if (answer.status == 0 && answer.error.starts_with("no answer")) return answer.error;
  if (answer.status == 0) return answer.error.empty() ? "no answer" : "no answer: " + answer.error;
  std::string text = std::to_string(answer.status);
  if (!answer.reason.empty()) text += " " + answer.reason;
  const std::string more = answer.complete ? cut_utf8(answer.body, reason_body_bytes) : answer.error;
  if (!more.empty()) text += ": " + more;
  if (answer.status == 200 && transfer.call().envelope && answer.complete) text += " (expected the MD5 of the request)";
  return text;
}

}  // namespace

/// What is told of a message when its commit has succeeded or failed.
struct Dispatcher::SettledMessage {
  size_t site = 0;
  uint64_t seq = 0;
  std::string id;
  unsigned attempt = 0;
  int status = 0;
  std::string reason;
  int64_t next_try_ms = 0;
  OutcomeState state = OutcomeState::stored;
  std::string traceparent;
};

/// What a group of transfers comes to; committed together.
struct Dispatcher::Settlement {
  using After = SettledMessage;
  /// One message that leaves the forwarder's hands.
  struct Item {
    Claim claim;
    std::optional<Defer> defer;     ///< nullopt: ack
    std::optional<Message> failed;  ///< for the error queue
    After after;
  };
  std::vector<Outcome> outcomes;
  std::vector<Item> items;

  void add(Claim&& claim, Outcome outcome, size_t site, std::optional<Defer> defer = {}, std::optional<Message> failed = {}) {
    After after{site, claim.seq(), outcome.id, outcome.attempts, outcome.status, outcome.reason, outcome.next_try_ms, outcome.state,
                std::string(std::as_const(claim).message().headers.get(traceparent_header))};
    items.push_back({std::move(claim), defer, std::move(failed), std::move(after)});
    outcomes.push_back(std::move(outcome));
  }
};

void Dispatcher::settle(std::vector<TransferPtr>&& transfers) {
  if (transfers.empty() && late_outcomes_.empty()) return;
  if (failed()) {
    out_ -= transfers.size();  // their claims go with them
    return;
  }
  // First what speaks for the sites: it decides how failures of the same round are read.
  for (const TransferPtr& transfer : transfers) note_answer(*sites_[transfer->site], *transfer);
  Settlement settlement;
  for (TransferPtr& transfer : transfers) settle_one(std::move(transfer), settlement);
  commit(settlement);
}

/// The site answered: it is not out of order.
void Dispatcher::note_answer(Site& site, const Transfer& transfer) {
  if (!transfer.sent || !transfer.answer.answered() || transfer.policy) return;
  const Attempt attempt{true, transfer.answer.status, 0, false};
  if (is_outage(attempt)) return;
  site.last_answer_ms = std::max(site.last_answer_ms, transfer.finished_ms);
  const double took_ms = static_cast<double>(transfer.finished_ms - transfer.started_ms);
  site.answer_ms = site.answers == 0 ? took_ms : site.answer_ms * 0.9 + took_ms * 0.1;
  if (site.answers < 1000) ++site.answers;
  if (!site.record.up) {
    site.record.up = true;
    site.record_changed = true;
  }
  if (!site.circuit.open()) return;
  site.circuit.answered();
  site.record.next_try_ms = site.record.probe_interval_ms = 0;
  site.record_changed = true;
  event(Level::info, "site-up", {{"site", site.key}});
}

void Dispatcher::settle_one(TransferPtr transfer, Settlement& into) {
  Site& site = *sites_[transfer->site];
  switch (transfer->verdict) {
    case Transfer::Verdict::expired:
      return settle_final(std::move(transfer), site, into, OutcomeState::expired, "time to be received is over", false);
    case Transfer::Verdict::too_old: {
      const auto last = known_outcome(transfer->id(), site.key);
      const std::string reason = last ? last->reason : site.record.last_error;
      return settle_final(std::move(transfer), site, into, OutcomeState::failed, reason, true);
    }
    case Transfer::Verdict::unreadable:
      return settle_failed(std::move(transfer), site, into);
    case Transfer::Verdict::by_answer:
      break;
  }
  if (!transfer->sent) return settle_unsent(std::move(transfer));
  if (transfer->delivered()) return settle_delivered(std::move(transfer), site, into);
  settle_failed(std::move(transfer), site, into);
}

/// It was not tried: back to its old place.
void Dispatcher::settle_unsent(TransferPtr transfer) {
  Site& site = *sites_[transfer->site];
  if (transfer->probe) site.circuit.probe_given_back();
  if (job_.mode == ForwardJob::Mode::listed || job_.mode == ForwardJob::Mode::once) site.listed.add(0, transfer->claim.seq());
  transfer->claim.release();
  site.look = true;
  --site.out;
  --out_;
}

void Dispatcher::settle_delivered(TransferPtr transfer, Site& site, Settlement& into) {
  const int64_t now = now_ms();
  Outcome outcome;
  outcome.id = transfer->id();
  outcome.site = site.key;
  outcome.state = OutcomeState::delivered;
  outcome.since_ms = now;
  outcome.attempts = transfer->claim.info().failures + 1;
  outcome.status = transfer->answer.status;
  site.record.last_delivered_ms = now;
  site.record_changed = true;
  if (!site.unanswered.empty()) site.unanswered.erase(transfer->claim.seq());
  into.add(std::move(transfer->claim), std::move(outcome), site.number);
}

/// What the answer of a failed attempt means.
Attempt Dispatcher::read_attempt(const Transfer& transfer, Site& site) {
  const HttpAnswer& answer = transfer.answer;
  Attempt attempt{answer.answered(), answer.status, answer.retry_after_ms, false};
  if (transfer.verdict == Transfer::Verdict::unreadable) attempt.answered = true;  // no fault of the site's
  if (attempt.answered) return attempt;
  const auto [first, added] = site.unanswered.try_emplace(transfer.claim.seq(), transfer.started_ms);
  attempt.others_answered = site.last_answer_ms >= first->second;
  if (!added || attempt.others_answered) return attempt;
  // An earlier forwarder may have got no answer for it either, and others have been delivered since.
  const auto last = known_outcome(transfer.id(), site.key);
  attempt.others_answered = last && last->state == OutcomeState::stored && last->status == 0 && site.record.last_delivered_ms > last->since_ms;
  return attempt;
}

/// What a failed attempt says of the site.
void Dispatcher::note_failure(Site& site, const Transfer& transfer, const Attempt& attempt, const std::string& reason) {
  site.record.last_error = reason;
  site.record.up = !is_outage(attempt);
  site.record_changed = true;
  const bool alone = !attempt.answered && attempt.others_answered;
  if (site.policy(*settings_).outages != Outages::wait || !is_outage(attempt) || alone) {
    if (transfer.probe) site.circuit.probe_given_back();
    return;
  }
  if (site.circuit.failed(monotonic_ms(), attempt.retry_after_ms, transfer.probe)) {
    site.give_up_check_ms = 0;
    send_loop_->recall(site.number);
    event(Level::warn, "site-down", {{"site", site.key}, {"reason", reason}, {"next_try_at", format_rfc3339(wall_of(site.circuit.probe_at_ms()))}});
  }
  site.record.next_try_ms = wall_of(site.circuit.probe_at_ms());
  site.record.probe_interval_ms = site.circuit.interval_ms();
}

/// It comes back when the program has answered.
void Dispatcher::ask_policy(TransferPtr transfer, const std::string& reason) {
  const Message& message = std::as_const(transfer->claim).message();
  PolicyQuestion question;
  question.program = policy_program_;
  question.name = settings_->retry_policy;
  question.endpoint = settings_->endpoint.empty() ? std::string(message.headers.get(header::originating_endpoint)) : settings_->endpoint;
  question.root = root_.path();
  question.config = job_.config_path;
  question.attempt = transfer->claim.info().failures + 1;
  question.error = reason;
  policy_->ask(std::move(transfer), std::move(question));
}

void Dispatcher::settle_failed(TransferPtr transfer, Site& site, Settlement& into) {
  const HttpAnswer& answer = transfer->answer;
  const MessageInfo& info = transfer->claim.info();
  const int64_t now = now_ms();
  const Attempt attempt = read_attempt(*transfer, site);
  const std::string reason = transfer->verdict == Transfer::Verdict::unreadable ? answer.error : describe(*transfer);
  if (!transfer->policy) note_failure(site, *transfer, attempt, reason);
  Decision decision = decide(site.policy(*settings_), attempt, info.failures, info.put_at_ms, now, wall_of(site.circuit.probe_at_ms()));
  const bool refused = answer.word == HttpAnswer::Word::refuse;
  // A returned message gets no retries, but the outage of its site is none of its failures.
  const bool final = refused || (decision.kind == Decision::Kind::retry && is_returned(std::as_const(transfer->claim).message().headers));
  if (final) decision = {Decision::Kind::error, 0, false};
  if (!transfer->policy && !final && !policy_program_.empty() && policy_decides(decision)) return ask_policy(std::move(transfer), reason);
  if (transfer->policy) {
    if (!transfer->policy->trouble.empty())
      event(Level::error, "retry-policy-failed",
            {{"id", transfer->id()}, {"site", site.key}, {"attempt", info.failures + 1}, {"reason", transfer->policy->trouble}});
    decision = apply_policy(decision, *transfer->policy, attempt, now);
  }
  if (decision.kind == Decision::Kind::error)
    return settle_final(std::move(transfer), site, into, OutcomeState::failed, reason, decision.gave_up);

  const bool counts = decision.kind == Decision::Kind::retry;
  Outcome outcome;
  outcome.id = transfer->id();
  outcome.site = site.key;
  outcome.since_ms = now;
  outcome.attempts = info.failures + (counts ? 1 : 0);
  outcome.status = answer.status;
  outcome.reason = reason;
  outcome.next_try_ms = decision.due_at_ms;
  const int64_t due = counts ? decision.due_at_ms : decision.due_at_ms + after_probe_ms;
  into.add(std::move(transfer->claim), std::move(outcome), site.number, Defer{due, counts});
  if (!counts) ++into.items.back().after.attempt;  // it was one, though it does not count
}

std::optional<Outcome> Dispatcher::known_outcome(const std::string& id, const std::string& site) {
  if (!store_) return std::nullopt;
  auto found = store_->find(id, site);
  return found ? *found : std::nullopt;
}

/// False, and told: they cannot be made now.
bool Dispatcher::have_error_queues() {
  auto opened = open_error_queues();
  if (opened && errors_.queue) return true;
  event(Level::error, "error-queue-missing",
        {{"queue", settings_->error_queue}, {"reason", opened ? "there is no room for it" : opened.error().text}});
  return false;
}

/// What the attempt has come to cannot be stored: it counts as not made.
void Dispatcher::settle_later(TransferPtr transfer, Site& site) {
  site.paused_until_ms = monotonic_ms() + commit_trouble_pause_ms;
  const uint64_t seq = transfer->claim.seq();
  settle_unsent(std::move(transfer));
  if (job_.mode != ForwardJob::Mode::once) return;
  site.listed.forget(seq);
  left_over_ = true;
}

/// As it goes into the error queue.
Message Dispatcher::failed_message(const Transfer& transfer, const Site& site, const Outcome& outcome, bool gave_up) {
  const Message& message = transfer.claim.message();
  const Target& target = *transfer.target;
  const std::string endpoint =
      settings_->endpoint.empty() ? std::string(message.headers.get(header::originating_endpoint)) : settings_->endpoint;
  // What was on its way to a machine goes nowhere but there.
  const std::string queue = endpoint.empty() || site.is_machine() ? outbox_of_site(site.key) : endpoint + ".gateway";
  const std::string how = target.carrier == Target::Carrier::program ? "gw-channel-" + target.type + " send " : "POST ";
  const std::string where = site.is_machine() ? "machine " + site.key.substr(1) : "site " + site.key;
  Failure failure;
  failure.failed_queue = queue + "@" + root_.machine();
  failure.exception_type = gave_up ? "Gatepost.GivenUp" : !transfer.answer.answered() ? "Gatepost.NoAnswer" : "Gatepost.TransferFailed";
  failure.message = outcome.reason;
  failure.stack_trace = "at " + how + target.url + "\n" + where + ", attempt " + std::to_string(outcome.attempts);
  failure.source = "gw-send";
  failure.processing_endpoint = endpoint;
  failure.processing_machine = root_.machine();
  failure.at_us = now_us();
  Message failed = message;
  if (const auto last = known_outcome(outcome.id, site.key); transfer.claim.info().failures > 0 && last)
    failed.headers.set(header::retries_timestamp, format_nsb_time(last->since_ms * 1000));
  add_failure_headers(failed.headers, failure);
  return failed;
}

/// Leaves the outbox for good.
void Dispatcher::settle_final(TransferPtr transfer, Site& site, Settlement& into, OutcomeState state, const std::string& reason,
                              bool gave_up) {
  const MessageInfo& info = transfer->claim.info();
  const Message& message = std::as_const(transfer->claim).message();
  const HttpAnswer& answer = transfer->answer;
  const bool tried = transfer->verdict == Transfer::Verdict::by_answer || transfer->verdict == Transfer::Verdict::unreadable;
  Outcome outcome;
  outcome.id = message.id();
  outcome.site = site.key;
  outcome.state = state;
  outcome.since_ms = now_ms();
  outcome.attempts = info.failures + (tried ? 1 : 0);
  outcome.status = answer.status;
  outcome.reason = gave_up ? "given up after " + human_duration(settings_->policy.give_up_after_ms) + (reason.empty() ? "" : ": " + reason)
                           : reason;
  std::optional<Message> failed;
  if (state == OutcomeState::failed) {
    if (!have_error_queues()) return settle_later(std::move(transfer), site);
    failed = failed_message(*transfer, site, outcome, gave_up);
  }
  site.unanswered.erase(info.seq);
  into.add(std::move(transfer->claim), std::move(outcome), site.number, {}, std::move(failed));
}

/// False: the store is broken, nothing may be acked.
bool Dispatcher::record_outcomes(Settlement& settlement) {
  std::vector<Outcome> rows = std::move(late_outcomes_);
  late_outcomes_.clear();
  std::move(settlement.outcomes.begin(), settlement.outcomes.end(), std::back_inserter(rows));
  std::vector<SiteRecord> changed;
  for (SitePtr& site : sites_)
    if (std::exchange(site->record_changed, false)) changed.push_back(site->record);
  if (rows.empty() && changed.empty()) return true;
  Result<void> recorded = open_store();
  if (recorded && !store_) recorded = Error{ExitCode::not_now, 0, "there is no room for the outcome store"};
  if (recorded) recorded = store_->record(root_.clock(), rows, changed);
  if (recorded) return true;
  if (!is_full_disk(recorded.error())) {
    fail(recorded.error());
    return false;
  }
  // A full disk must be able to empty itself: acks go on, their outcomes follow as soon as there is room.
  event(Level::error, "outcomes-late", {{"waiting", rows.size()}, {"reason", recorded.error().text}});
  if (rows.size() > late_outcomes_max) rows.erase(rows.begin(), rows.end() - static_cast<std::ptrdiff_t>(late_outcomes_max));
  late_outcomes_ = std::move(rows);
  return true;
}

/// What was on its way to a machine keeps the headers that say where, and does not fail again on the way to the error queue.
const Destination& Dispatcher::errors_of(size_t site) const { return sites_[site]->is_machine() ? local_errors_ : errors_; }

/// One transaction for each message, so that one that fails hinders no other; they share the syncs of their outbox. Where
/// many outboxes are concerned they go into one: its decision is one sync instead of one for each outbox.
std::vector<Transaction> Dispatcher::transactions_for(Settlement& settlement, std::vector<size_t>& transaction_of) {
  std::set<size_t> sites;
  for (const Settlement::Item& item : settlement.items) sites.insert(item.after.site);
  const bool together = sites.size() > outboxes_of_their_own_max;
  std::vector<Transaction> transactions;
  size_t shared = 0, shared_left = 0;
  for (Settlement::Item& item : settlement.items) {
    const bool join = together && !item.failed;
    size_t index = transactions.size();
    if (join && shared_left > 0) {
      index = shared;
      --shared_left;
    } else {
      transactions.emplace_back();
      if (join) shared = index, shared_left = shared_transaction_max - 1;
    }
    transaction_of.push_back(index);
    Transaction& transaction = transactions[index];
    if (item.failed) put_to(transaction, errors_of(item.after.site), std::move(*item.failed), for_a_person(item.claim.info().expires_at_ms));
    if (item.defer)
      transaction.defer(std::move(item.claim), *item.defer);
    else
      transaction.ack(std::move(item.claim));
  }
  return transactions;
}

void Dispatcher::commit(Settlement& settlement) {
  if (!record_outcomes(settlement)) {
    // Destroying the claims gives every message back.
    for (const Settlement::Item& item : settlement.items) {
      --sites_[item.after.site]->out;
      --out_;
    }
    return;
  }
  if (settlement.items.empty()) return;
  std::vector<size_t> transaction_of;
  auto results = root_.commit_all(transactions_for(settlement, transaction_of));
  for (size_t i = 0; i < settlement.items.size(); ++i) {
    const Settlement::After& after = settlement.items[i].after;
    const auto& result = results[transaction_of[i]];
    --sites_[after.site]->out;
    --out_;
    sites_[after.site]->look = true;
    if (result)
      committed(after);
    else
      not_committed(after, result.error());
  }
  root_.journal().write();
}

void Dispatcher::not_committed(const SettledMessage& after, const Error& error) {
  Site& site = *sites_[after.site];
  event(Level::error, "commit-failed", {{"id", after.id}, {"site", site.key}, {"reason", error.text}});
  // A queue that somebody has removed is made anew; the message stays, or has gone with its outbox.
  if (error.code != ExitCode::not_now && error.code != ExitCode::no_input) fail(error);
  site.paused_until_ms = monotonic_ms() + commit_trouble_pause_ms;
  if (job_.mode == ForwardJob::Mode::listed) site.listed.add(site.paused_until_ms, after.seq);
  if (job_.mode == ForwardJob::Mode::once) left_over_ = true;
}

void Dispatcher::note(const SettledMessage& after) {
  const Site& site = *sites_[after.site];
  JournalLine line;
  switch (after.state) {
    case OutcomeState::delivered: line.event = Happened::delivered; break;
    case OutcomeState::expired: line.event = Happened::expired; break;
    case OutcomeState::stored: line.event = Happened::deferred; break;
    case OutcomeState::failed:
    case OutcomeState::purged: line.event = Happened::failed; break;
  }
  const std::string queue = outbox_of_site(site.key), errors = errors_of(after.site).name();
  line.id = after.id;
  line.queue = queue;
  if (line.event == Happened::failed)
    line.to = errors;
  else
    line.seq = after.seq;
  line.site = site.key;
  line.attempt = after.attempt;
  line.status = after.status;
  line.reason = after.reason;
  line.next_try_ms = after.next_try_ms;
  line.traceparent = after.traceparent;
  root_.journal().add(line);
}

/// The last one has no next try.
void Dispatcher::tell_failed_attempt(const Site& site, const SettledMessage& after) {
  const bool again = after.state == OutcomeState::stored && after.next_try_ms > 0;
  const Field unknown("", "");  // left out
  event(again ? Level::warn : Level::error, "attempt-failed",
        {{"id", after.id},
         {"site", site.key},
         {"attempt", after.attempt},
         after.status == 0 ? unknown : Field("status", after.status),
         {"reason", after.reason},
         again ? Field("next_try_at", format_rfc3339(after.next_try_ms)) : unknown,
         {traceparent_header, after.traceparent}});
}

void Dispatcher::committed(const SettledMessage& after) {
  note(after);
  Site& site = *sites_[after.site];
  switch (after.state) {
    case OutcomeState::delivered:
      event(Level::debug, "delivered", {{"id", after.id}, {"site", site.key}, {"attempt", after.attempt}, {traceparent_header, after.traceparent}});
      return;
    case OutcomeState::expired:
      event(Level::warn, "expired", {{"id", after.id}, {"site", site.key}, {traceparent_header, after.traceparent}});
      return;
    case OutcomeState::stored:
      if (job_.mode == ForwardJob::Mode::listed) site.listed.add(monotonic_of(after.next_try_ms), after.seq);
      if (job_.mode == ForwardJob::Mode::once) left_over_ = true;
      return tell_failed_attempt(site, after);
    case OutcomeState::failed:
    case OutcomeState::purged:
      ++failed_total_;
      if (after.attempt > 0) count_given_up(root_.path(), outbox_of_site(site.key));
      return tell_failed_attempt(site, after);
  }
}

}  // namespace gw
