// Messages of the queues E.gateway - answers of handlers above all - on their way into the outboxes of sites: each leaves the one and
// enters the others in one commit. From there on they are like any other message.
#include <algorithm>

#include "diag.hpp"
#include "dispatcher_site.hpp"
#include "failure.hpp"
#include "gateway_route.hpp"
#include "outbox.hpp"
#include "put_notes.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr size_t claims_at_once = 64, batches_at_once = 16;
constexpr int64_t trouble_pause_ms = 1000;
constexpr int64_t empty_claim_pause_ms = 50;     // next_due_ms() is a lower bound
constexpr int64_t set_aside_ms = 5000;           // a message whose outbox takes nothing now lets others pass
constexpr int64_t others_message_ms = 60'000;    // with --to: a site that only other forwarders know
constexpr size_t looked_at_for_address = 16;
constexpr int64_t unlisted_again_ms = 60'000;    // empty outboxes of addresses are looked at so often

}  // namespace

/// What is told of a message that was handed on.
struct Dispatcher::RoutedMessage {
  uint64_t seq = 0;
  std::string id, sites, problem, traceparent;
  bool left = false;  ///< it stays in its queue for now
};

Result<void> Dispatcher::find_gateway_queues() {
  if (job_.mode == ForwardJob::Mode::listed) return {};
  GW_TRY_ASSIGN(auto names, root_.list_queues());
  if (monotonic_ms() >= unlisted_again_ms_) {
    unlisted_seen_.clear();
    unlisted_again_ms_ = monotonic_ms() + unlisted_again_ms;
  }
  for (const std::string& name : names) {
    if (is_gateway_queue(name)) {
      auto queue = root_.queue(name);
      auto known = [&](const GatewayQueue& from) { return queue && same_queue(from.queue, *queue); };
      if (std::any_of(gateway_queues_.begin(), gateway_queues_.end(), known)) continue;
      std::erase_if(gateway_queues_, [&](const GatewayQueue& from) { return from.queue.name() == name; });  // removed, and made anew
      if (queue) gateway_queues_.push_back({.queue = *queue});
      continue;
    }
    const auto key = site_of_outbox(name);
    if (!key || !is_unlisted_key(*key) || !job_.options.to.empty()) continue;
    auto known = site_by_key_.find(*key);
    if (known != site_by_key_.end() && sites_[known->second]->target) continue;
    if (unlisted_seen_.insert(*key).second) GW_TRY(adopt_unlisted(*key));
  }
  return {};
}

/// What an earlier forwarder has put there says where it goes.
Result<void> Dispatcher::adopt_unlisted(const std::string& key) {
  auto queue = root_.queue(outbox_of_site(key));
  if (!queue) return {};  // removed meanwhile
  std::optional<SiteAddress> at;
  size_t looked = 0;
  GW_TRY(queue->scan([&](const MessageInfo& info) {
    auto message = queue->read(info.seq);
    if (message && *message) at = address_of_copy((*message)->second.headers);
    return !at && ++looked < looked_at_for_address;
  }));
  if (!at || unlisted_site(*at).key != key) return {};
  const SiteConfig* configured = site_with_address(configured_sites_, *at);
  SiteConfig site = configured ? *configured : unlisted_site(*at);
  site.key = key;
  GW_TRY(configure_unlisted(site));
  return open_outboxes();
}

void Dispatcher::route_gateway_messages() {
  const int64_t now = monotonic_ms();
  bool more = false;
  for (GatewayQueue& from : gateway_queues_) {
    if (!from.look && from.next_due_ms <= now) from.look = true;
    if (from.paused_until_ms > now) continue;
    // --once: all that is due, before it is listed.
    for (size_t i = 0; from.look && (i < batches_at_once || job_.mode == ForwardJob::Mode::once) && !failed(); ++i)
      if (!route_from(from)) break;
    more |= from.look && from.paused_until_ms <= now;
  }
  std::erase_if(gateway_queues_, [](const GatewayQueue& from) { return !from.queue; });
  if (!more) return;
  std::lock_guard guard(mutex_);
  bell_rang_ = true;  // the rest after others have had their turn
}

/// One batch. False: there is nothing more, or it cannot be done now.
bool Dispatcher::route_from(GatewayQueue& from) {
  from.bell = from.queue.bell();
  auto claims = from.queue.claim(claims_at_once);
  if (!claims) {
    from.held = claims.error().code == ExitCode::not_now;
    from.paused_until_ms = monotonic_ms() + trouble_pause_ms;
    if (from.held) return false;
    event(Level::error, "queue-unreadable", {{"queue", from.queue.name()}, {"reason", claims.error().text}});
    from.queue = Queue();  // found again if it was removed and made anew
    return false;
  }
  from.held = false;
  if (claims->size() < claims_at_once) {
    from.look = false;
    from.next_due_ms = monotonic_of(from.queue.next_due_ms());
    if (claims->empty()) from.next_due_ms = std::max(from.next_due_ms, monotonic_ms() + empty_claim_pause_ms);
  }
  std::vector<Transaction> transactions;
  std::vector<RoutedMessage> told;
  for (Claim& claim : *claims) {
    RoutedMessage about;
    about.seq = claim.seq();
    auto transaction = route_one(from, std::move(claim), about);
    if (!transaction) {
      if (!is_full_disk(transaction.error())) return fail(transaction.error()), false;
      set_aside(from, about.seq);
      continue;
    }
    transactions.push_back(*std::move(transaction));
    told.push_back(std::move(about));
  }
  if (transactions.empty()) return from.look;
  auto results = root_.commit_all(std::move(transactions));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i]) {
      event(Level::error, "commit-failed", {{"id", told[i].id}, {"queue", from.queue.name()}, {"reason", results[i].error().text}});
      if (results[i].error().code == ExitCode::no_input) find_outboxes_again();
      else if (results[i].error().code != ExitCode::not_now) return fail(results[i].error()), false;
      set_aside(from, told[i].seq);
    } else if (!told[i].problem.empty()) {
      event(told[i].left ? Level::warn : Level::error, "not-routed",
            {{"id", told[i].id}, {"queue", from.queue.name()}, {"reason", told[i].problem}});
      failed_total_ += told[i].left ? 0 : 1;
      if (!told[i].left) note_routed(from, told[i], *results[i]);
    } else {
      event(Level::debug, "routed", {{"id", told[i].id}, {"queue", from.queue.name()}, {"sites", told[i].sites}});
      note_routed(from, told[i], *results[i]);
    }
  }
  root_.journal().write();
  return from.look;
}

void Dispatcher::note_routed(const GatewayQueue& from, const RoutedMessage& told, const CommitResult& result) {
  for (const PutResult& put : result.puts) {
    const std::string site = site_of_outbox(put.queue).value_or("");
    JournalLine line;
    line.event = told.problem.empty() ? Happened::moved : Happened::failed;
    line.id = told.id;
    line.queue = from.queue.name();
    line.to = put.queue;
    line.seq = put.seq;
    line.site = site;
    line.reason = told.problem;
    line.traceparent = told.traceparent;
    root_.journal().add(line);
  }
}

Result<Transaction> Dispatcher::route_one(GatewayQueue& from, Claim&& claim, RoutedMessage& told) {
  const Message& message = std::as_const(claim).message();
  told.id = message.id();
  told.traceparent = message.headers.get(traceparent_header);
  const GatewayRoute route = route_gateway_message(message.headers, configured_sites_);
  told.problem = route.problem;
  Transaction transaction;
  if (route.unknown_site && !job_.options.to.empty()) {
    told.left = true;
    transaction.defer(std::move(claim), Defer{now_ms() + others_message_ms, false});
    return transaction;
  }
  if (!route.problem.empty()) {
    GW_TRY(open_error_queues());
    if (!errors_.queue) return Error{ExitCode::not_now, 0, "there is no room for the error queue"};
    const std::string& name = from.queue.name();
    Failure failure;
    failure.failed_queue = name + "@" + root_.machine();
    failure.exception_type = "Gatepost.NoDestination";
    failure.message = route.problem;
    failure.source = "gw-send";
    failure.processing_endpoint = name.substr(0, name.rfind('.'));
    failure.processing_machine = root_.machine();
    failure.at_us = now_us();
    Message failed = message;
    add_failure_headers(failed.headers, failure);
    put_to(transaction, errors_, std::move(failed), for_a_person(claim.info().expires_at_ms));
  }
  const bool is_reply = message.headers.get(header::message_intent) == "Reply";
  for (const SiteConfig& site : route.sites) {
    GW_TRY_ASSIGN(Queue outbox, outbox_for(site));
    Message copy = message;
    if (!is_reply) copy.headers.set(header::destination_sites, is_unlisted_key(site.key) ? site.address : site.key);
    PutOptions how;
    how.expires_at_ms = claim.info().expires_at_ms;
    transaction.put(outbox, std::move(copy), std::move(how));
    told.sites += (told.sites.empty() ? "" : ",") + site.key;
  }
  transaction.ack(std::move(claim));
  return transaction;
}

/// Made when it is needed; a site that is not configured is ours from now on.
Result<Queue> Dispatcher::outbox_for(const SiteConfig& site) {
  const bool adopt = is_unlisted_key(site.key) && job_.options.to.empty();
  auto known = site_by_key_.find(site.key);
  if (adopt && (known == site_by_key_.end() || !sites_[known->second]->target)) {
    GW_TRY(configure_unlisted(site));
    known = site_by_key_.find(site.key);
  }
  if (known == site_by_key_.end()) return root_.create_queue(outbox_of_site(site.key));
  Site& ours = *sites_[known->second];
  if (!ours.queue) {
    GW_TRY_ASSIGN(ours.queue, root_.create_queue(outbox_of_site(site.key)));
  }
  ours.look = true;
  return ours.queue;
}

/// Its outbox takes nothing now: others go first.
void Dispatcher::set_aside(GatewayQueue& from, uint64_t seq) {
  if (job_.mode == ForwardJob::Mode::once) left_over_ = true;
  auto claim = from.queue.claim_seq(seq);
  if (!claim || !*claim) return;
  Transaction transaction;
  transaction.defer(std::move(**claim), Defer{now_ms() + set_aside_ms, false});
  auto done = root_.commit(std::move(transaction));
  if (!done && done.error().code != ExitCode::not_now && done.error().code != ExitCode::no_input) fail(done.error());
}

/// --drain: nothing is left in them, or nothing that we may take.
bool Dispatcher::gateway_queues_done() {
  for (const GatewayQueue& from : gateway_queues_) {
    auto status = from.queue.status();
    if (!status || status->ready + status->claimed + status->deferred == 0) continue;
    if (!from.held) return false;
    left_over_ = true;
  }
  return true;
}

}  // namespace gw
