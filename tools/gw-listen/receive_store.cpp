// A message on its way to the committer, and what is answered when its commit has succeeded or failed.
#include <algorithm>
#include <memory>
#include <utility>

#include "diag.hpp"
#include "put_notes.hpp"
#include "receive_steps.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

/// Nothing but the outcome of the commit decides what is sent.
bool may_answer_late(const Channel& channel, const RequestHead& head) {
  return !channel.slots && channel.cors_origins.empty() && !head.has_query;
}

}  // namespace

PutOptions Receiver::put_options(const Incoming& in, const Headers& headers, const Sha256& body_sha256) const {
  const WireTimes times = wire_times(headers, in.call, in.date, now_ms());
  PutOptions options;
  options.expires_at_ms = times.expires_at_ms;
  int64_t first_sent_ms = times.first_sent_ms;
  if (!in.held) {
    const Arrival& arrival = in.arrival;
    auto by_our_clock = [&](int64_t ms) { return ms == 0 ? 0 : ms + in.ahead_ms; };
    if (arrival.expires_at_ms) options.expires_at_ms = by_our_clock(*arrival.expires_at_ms);
    options.due_at_ms = by_our_clock(arrival.due_at_ms);
    options.failures = arrival.failures;
    first_sent_ms = by_our_clock(arrival.put_at_ms);  // of this transfer, however old the message is
  }
  // With a clock that is behind everything would look older than what was purged.
  if (first_sent_ms != 0) first_sent_ms += context_.clock().behind_ms;
  options.dedup = DedupKey{in.store, in.store, in.key, body_sha256, first_sent_ms};
  return options;
}

Answer Receiver::store(const Incoming& in, Headers&& headers, Received&& received) const {
  const WireCall& call = in.call;
  Stored what{call.id, in.key, std::string(in.exchange.head().from), in.data_bus, received.body.size(), call.type == WireCall::Type::hold,
              !call.data_bus_headers.empty(), in.held == nullptr, std::string(headers.get(traceparent_header))};
  Queue queue = in.queue;
  if (what.hold) {
    auto made = in.held->queue();
    if (!made) return answer_error(made.error());
    queue = *std::move(made);
  }
  PutOptions options = put_options(in, headers, received.sha256);
  Transaction transaction;
  Message message{std::move(headers), std::move(received.body)};
  std::optional<Destination> instead;
  if (!what.hold && context_.instances) {
    context_.instances->note(queue.name(), message.headers);
    auto found = context_.instances->instead_of(queue.name());
    if (!found) return answer_error(found.error());
    instead = *std::move(found);
  }
  if (instead) {
    if (is_map_version_message(message.headers)) return ok();  // it has said what it had to say
    what.closed_queue = queue.name();
    what.late_to = instead->name();
    forget_map(message.headers);
    put_to(transaction, *instead, std::move(message), std::move(options));
  } else {
    transaction.put(queue, std::move(message), std::move(options));
  }
  if (!what.hold && !what.properties && !instead && may_answer_late(in.channel, in.exchange.head()))
    if (LateAnswer* late = in.exchange.later()) {
      answer_late(*late, std::move(what), std::move(transaction));
      return refusal(comes_later, {});
    }
  return stored(what, context_.committer->commit(std::move(transaction)));
}

/// The thread of the connection need not be woken for the answer: the next thing it waits for is the next request.
void Receiver::answer_late(LateAnswer& answer, Stored&& what, Transaction&& transaction) const {
  context_.committer->submit(std::move(transaction), [this, &answer, what = std::move(what)](Result<CommitResult>&& committed) mutable {
    if (committed && committed->puts.at(0).outcome == PutOutcome::stored) return answer.send(stored(what, std::move(committed)));
    context_.afterwards->post([this, &answer, what = std::move(what), committed = std::make_shared<Result<CommitResult>>(std::move(committed))] {
      const Answer other = stored(what, std::move(*committed));
      RequestHead head;  // all that is left of it
      head.from = what.from;
      if (other.status >= 400) refused(head, other, what.id);
      answer.send(other);
    });
  });
}

Answer Receiver::stored(const Stored& what, Result<CommitResult>&& committed) const {
  if (!committed) return answer_error(committed.error());
  switch (committed->puts.at(0).outcome) {
    case PutOutcome::stored:
      counts_.delivered.fetch_add(1, std::memory_order_relaxed);
      if (!what.late_to.empty()) context_.instances->sent_on(what.id, what.closed_queue, what.late_to, what.from);
      event(Level::debug, "received", {{"id", what.id}, {"bytes", what.bytes}, {"seq", committed->puts[0].seq}, {"from", what.from}, {traceparent_header, what.traceparent}});
      if (what.hold || !what.properties) return ok();
      // The message owns the blobs. Rows that stay are seen as such by the next purge.
      if (auto done = what.data_bus->accepted(what.key); !done)
        event(Level::warn, "properties-left", {{"id", what.id}, {"reason", done.error().text}});
      return ok();
    case PutOutcome::duplicate:
      counts_.duplicate.fetch_add(1, std::memory_order_relaxed);
      event(Level::info, "duplicate", {{"id", what.id}, {"from", what.from}, {traceparent_header, what.traceparent}});
      return what.hold || what.of_machine ? ok() : release(what.id, true);
    case PutOutcome::conflict:
      return refusal(422, other_body);
    case PutOutcome::too_old:
      return refusal(410, "too old to be told apart from a duplicate: ids of its time are purged; if it was never delivered, send it with a new id");
  }
  return refusal(500, "Unexpected server error");
}

}  // namespace gw::listen
