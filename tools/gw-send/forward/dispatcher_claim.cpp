// What the dispatcher claims, and how a claimed message becomes a request.
#include <algorithm>

#include "databus.hpp"
#include "diag.hpp"
#include "envelope.hpp"
#include "dispatcher_site.hpp"
#include "gateway_route.hpp"
#include "map_senders.hpp"
#include "outbox.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t claim_trouble_pause_ms = 1000;
constexpr int64_t empty_claim_pause_ms = 50;  // next_due_ms() is a lower bound: do not spin on it
constexpr double fast_answer_ms = 20;         // sites that answer within this get work before they ask for it
constexpr unsigned fast_answers = 8;
constexpr size_t ahead_min = 32, ahead_max = 512;  // so that requests go on while a group of acks is made durable
constexpr size_t give_up_at_once = 64;
constexpr int64_t earlier_pause_ms = 200;  // between two looks whether all earlier messages have arrived
constexpr size_t surely_few_headers = 40, surely_small_headers = 4096;  // three times as many bytes, encoded, still fit into a head

/// Between machines nothing is refused for its headers: what no request's head can carry goes in its body.
bool needs_envelope(const Message& message, const Target& target, RequestContext context) {
  if (!context.to_machine || target.carrier != Target::Carrier::http) return false;
  size_t bytes = 0;
  for (const Headers::Entry& entry : message.headers.entries()) bytes += entry.name.size() + entry.value.size();
  if (message.headers.entries().size() < surely_few_headers && bytes < surely_small_headers) return false;
  context.with_token = target.link && !target.link->token.empty();
  return !check_http_limits(message, target.url, context);
}

}  // namespace

/// How many more messages this site should get now.
size_t Dispatcher::wanted(const Site& site, int64_t now) const {
  if (!site.usable() || site.paused_until_ms > now) return 0;
  if (job_.mode == ForwardJob::Mode::once || job_.mode == ForwardJob::Mode::listed) {
    if (site.listed.first_due_ms() > now) return 0;
  } else if (!site.look && site.next_due_ms > now) {
    return 0;
  }
  if (!site.window_open) return 0;
  if (site.circuit.open()) return site.circuit.may_send(now) ? 1 : 0;
  size_t limit = site.target->concurrency;
  if (site.answers >= fast_answers && site.answer_ms < fast_answer_ms) limit += std::clamp(limit * 8, ahead_min, ahead_max);
  return site.out < limit ? limit - site.out : 0;
}

void Dispatcher::claim_more() {
  const int64_t now = monotonic_ms();
  const size_t most = settings_->max_transfers + std::min<size_t>(settings_->max_transfers * 8, ahead_max);
  // Sites that do not answer hold their requests until the time is up: they share half of the room, so that the others have theirs.
  size_t hanging = 0;
  for (const SitePtr& site : sites_)
    if (!site->record.up) hanging += site->out;
  const size_t hanging_most = std::max<size_t>(settings_->max_transfers / 2, 1);
  for (size_t i = 0; i < sites_.size(); ++i) {
    Site& site = *sites_[(first_site_ + i) % sites_.size()];
    if (site.circuit.open()) give_up_old(site, now);
    size_t want = std::min(wanted(site, now), most - std::min(most, out_));
    if (!site.record.up) want = std::min(want, hanging_most - std::min(hanging_most, hanging));
    if (want == 0) continue;
    const size_t before = site.out;
    claim_from(site, want, now);
    if (!site.record.up) hanging += site.out - before;
  }
  if (!sites_.empty()) first_site_ = (first_site_ + 1) % sites_.size();
  if (!batch_.empty()) send_loop_->submit(std::move(batch_));
  batch_.clear();
}

void Dispatcher::claim_from(Site& site, size_t want, int64_t now) {
  const bool listed = job_.mode == ForwardJob::Mode::once || job_.mode == ForwardJob::Mode::listed;
  site.bell = site.queue.bell();
  std::vector<Claim> claims = listed ? claim_listed(site, want, now) : claim_next(site, want, now);
  for (Claim& claim : claims) dispatch(site, std::move(claim));
}

std::vector<Claim> Dispatcher::claim_next(Site& site, size_t want, int64_t now) {
  auto claims = site.queue.claim(want, true);
  if (!claims) {
    site.look = false;
    site.held = claims.error().code == ExitCode::not_now;
    site.next_due_ms = now + claim_trouble_pause_ms;
    if (site.held) return {};
    event(Level::error, "outbox-unreadable", {{"site", site.key}, {"reason", claims.error().text}});
    // It may have been removed and made again.
    if (auto again = root_.create_queue(outbox_of_site(site.key))) site.begin_anew(*again);
    site.paused_until_ms = now + claim_trouble_pause_ms;
    return {};
  }
  site.held = false;
  if (claims->size() < want) {
    site.look = false;
    site.next_due_ms = monotonic_of(site.queue.next_due_ms());
    if (claims->empty()) site.next_due_ms = std::max(site.next_due_ms, now + empty_claim_pause_ms);
  }
  return *std::move(claims);
}

std::vector<Claim> Dispatcher::claim_listed(Site& site, size_t want, int64_t now) {
  std::vector<Claim> claims;
  site.held = !site.queue.takes_on();
  if (site.held) return claims;
  while (claims.size() < want && site.listed.first_due_ms() <= now) {
    const uint64_t seq = site.listed.take();
    auto claim = site.queue.claim_seq(seq);
    if (claim && *claim) {
      claims.push_back(std::move(**claim));
      continue;
    }
    // Claimed by somebody: gw-send's own are tried again until they are gone.
    if (job_.mode == ForwardJob::Mode::once) {
      left_over_ |= !claim;
      continue;
    }
    auto there = site.queue.read(seq);
    if (there && *there) site.listed.add(now + claim_trouble_pause_ms / 4, seq);
    if (!there) event(Level::error, "outbox-unreadable", {{"site", site.key}, {"reason", there.error().text}});
  }
  return claims;
}

// Gatepost.MapVersion says "nothing more comes behind this", so nothing of before may come behind it: it waits until all earlier messages
// of its outbox have arrived or have gone elsewhere.
bool Dispatcher::waits_for_earlier(Site& site, Claim& claim) {
  if (!is_map_version_message(std::as_const(claim).message().headers)) return false;
  bool first = true;
  [[maybe_unused]] auto scanned = site.queue.scan([&](const MessageInfo& info) {
    first = info.seq >= claim.seq();
    return false;
  });
  if (first) return false;
  if (job_.mode == ForwardJob::Mode::once || job_.mode == ForwardJob::Mode::listed) {
    // With nothing under way the earlier ones have had their attempt.
    if (site.out > 0) site.listed.add(monotonic_ms() + earlier_pause_ms, claim.seq());
    claim.release();
    return true;
  }
  Transaction later;
  later.defer(std::move(claim), {now_ms() + earlier_pause_ms, false});
  if (auto done = root_.commit(std::move(later)); !done) event(Level::error, "not-deferred", {{"site", site.key}, {"reason", done.error().text}});
  return true;
}

void Dispatcher::dispatch(Site& site, Claim claim) {
  if (waits_for_earlier(site, claim)) return;
  auto transfer = std::make_unique<Transfer>(std::move(claim));
  transfer->target = site.target;
  transfer->site = site.number;
  // The command line wins over the site, and the site over the gateway.
  const bool connect_given = !job_.options.connect_timeout.empty(), answer_given = !job_.options.answer_timeout.empty();
  transfer->connect_timeout_ms = connect_given ? settings_->connect_timeout_ms : site.config.connect_timeout_ms.value_or(settings_->connect_timeout_ms);
  transfer->answer_timeout_ms = answer_given ? settings_->answer_timeout_ms : site.config.answer_timeout_ms.value_or(settings_->answer_timeout_ms);
  ++site.out;
  ++out_;
  if (root_.expired(transfer->claim.info())) {
    transfer->verdict = Transfer::Verdict::expired;
    own_back_.push_back(std::move(transfer));
    return;
  }
  if (auto made = make_calls(*transfer); !made) {
    transfer->verdict = Transfer::Verdict::unreadable;
    transfer->answer.error = made.error().text;
    own_back_.push_back(std::move(transfer));
    return;
  }
  transfer->probe = site.circuit.sent();
  const Body& body = std::as_const(transfer->claim).message().body;
  if (body.is_file() || transfer->calls.size() > 1) return digester_->add(std::move(transfer));
  const bool in_envelope = transfer->target->carrier == Target::Carrier::envelope || transfer->calls[0].in_envelope;
  set_sums(*transfer, transfer->calls[0], {content_md5(body.bytes()), in_envelope ? envelope_digits(body.bytes()) : 0});
  batch_.push_back(std::move(transfer));
}

/// Of its own endpoint, else of ours, else of the only one that listens here.
const std::string& Dispatcher::originating_site_of(const Message& message) const {
  static const std::string unknown;
  if (!originating_site_.empty()) return originating_site_;
  for (const std::string& endpoint : {std::string(message.headers.get(header::originating_endpoint)), settings_->endpoint})
    if (auto known = published_sites_.find(endpoint); known != published_sites_.end()) return known->second;
  return published_sites_.size() == 1 ? published_sites_.begin()->second : unknown;
}

/// What stands in the head only when the body is known.
void Dispatcher::set_sums(const Transfer& transfer, Call& call, const BodySums& sums) {
  const Target& target = *transfer.target;
  if (target.carrier == Target::Carrier::http && !call.in_envelope) {
    call.head += content_md5_line(sums.md5, target.lower_case_names);
    return;
  }
  call.fields.entries().push_back({"Content-MD5", sums.md5});
  if (target.carrier == Target::Carrier::program) return;
  call.head = envelope_head();
  call.envelope = std::make_shared<EnvelopeUpload>(call.fields, transfer.body_of(call), sums.digits);
  call.fields = {};
}

/// A call for each data bus property whose blob is ours, then one for the message; without what depends on the bodies.
Result<void> Dispatcher::make_calls(Transfer& transfer) {
  const Message& message = std::as_const(transfer.claim).message();
  const MessageInfo& info = transfer.claim.info();
  RequestContext context;
  context.failures = info.failures;
  context.to_machine = is_machine_key(transfer.target->key);
  if (!context.to_machine) context.originating_site = originating_site_of(message);
  context.without_site = is_answer_to(message.headers, SiteAddress{transfer.target->type, transfer.target->url});
  // Who asked is not known: an old receiver says so by an error, and a retry then has what it wants.
  context.original_version_1 = transfer.target->original_version_1 || (context.failures > 0 && is_unlisted_key(transfer.target->key));
  context.lower_case_names = transfer.target->lower_case_names;
  const std::vector<Attachment> attachments = attachments_of(message.headers, root_.path());
  std::optional<Outcome> last;
  if (info.failures > 0 || !attachments.empty()) last = known_outcome(message.id(), transfer.target->key);
  if (info.failures > 0) context.last_failure_us = last ? last->since_ms * 1000 : now_us();
  const bool in_envelope = needs_envelope(message, *transfer.target, context);
  auto add = [&](std::string property, std::shared_ptr<const Body> blob) {
    Call call;
    call.in_envelope = in_envelope;
    if (transfer.target->carrier == Target::Carrier::http && !in_envelope)
      call.head = property_head(message, property, context);
    else
      call.fields = call_fields(message, property, context);
    call.property = std::move(property);
    call.blob = std::move(blob);
    transfer.calls.push_back(std::move(call));
  };
  for (const Attachment& attachment : attachments) {
    GW_TRY_ASSIGN(Body blob, open_blob(root_.path(), attachment.key));
    add(property_wire_name(attachment.name), std::make_shared<const Body>(std::move(blob)));
  }
  add("", nullptr);
  // An attempt that did not count, or a forwarder that was killed in one, has got somewhere, too. Programs cannot say what is missing.
  const bool tried = info.failures > 0 || info.deliveries > 1 || last;
  transfer.plan_calls(tried && transfer.target->carrier != Target::Carrier::program);
  return {};
}

/// While a site is out of order nothing is sent to it, but messages grow too old.
void Dispatcher::give_up_old(Site& site, int64_t now) {
  if (!site.usable() || !site.queue.takes_on() || now < site.give_up_check_ms || site.policy(*settings_).outages != Outages::wait) return;
  const int64_t limit = settings_->policy.give_up_after_ms;
  const int64_t wall = now_ms();
  std::vector<uint64_t> old;
  site.give_up_check_ms = INT64_MAX;
  auto scanned = site.queue.scan([&](const MessageInfo& info) {
    const int64_t left = info.put_at_ms > INT64_MAX - limit ? INT64_MAX - now : std::max<int64_t>(info.put_at_ms + limit - wall, 0);
    if (left > 0 || old.size() == give_up_at_once) {
      site.give_up_check_ms = now + left;
      return false;
    }
    if (info.state != MessageState::claimed) old.push_back(info.seq);
    return true;
  });
  // Newer ones may come, or a claimed one come back.
  site.give_up_check_ms = std::min(site.give_up_check_ms, now + std::clamp<int64_t>(limit, 100, 60'000));
  if (!scanned) return;
  for (uint64_t seq : old) {
    auto claim = site.queue.claim_seq(seq);
    if (!claim || !*claim) continue;
    auto transfer = std::make_unique<Transfer>(std::move(**claim));
    transfer->target = site.target;
    transfer->site = site.number;
    transfer->verdict = Transfer::Verdict::too_old;
    site.listed.forget(seq);
    ++site.out;
    ++out_;
    own_back_.push_back(std::move(transfer));
  }
}

}  // namespace gw
