// The calls: a message, a property, an acknowledgement; and how their bodies come in.
#include <algorithm>

#include "body_sinks.hpp"
#include "diag.hpp"
#include "receive_steps.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

constexpr size_t read_bytes = 64 * 1024;

Answer broken_body(const Exchange& exchange, Exchange::Read how, uint64_t got, const BodyPlan& plan) {
  if (how == Exchange::Read::malformed) return refusal(400, exchange.fault());
  if (how == Exchange::Read::too_slow) return refusal(408, "the body came too slowly");
  std::string text = "the body ended after " + std::to_string(got);
  text += plan.chunked ? " bytes without its last chunk" : " of " + std::to_string(plan.length) + " bytes";
  return refusal(400, std::move(text));
}

}  // namespace

Answer Receiver::receive_message(const Incoming& in, Headers&& headers) const {
  const bool needs_properties = in.call.type == WireCall::Type::submit && !in.call.data_bus_headers.empty();
  if (needs_properties) {
    // Without them the body need not come. What says so is only a hint, but a refusal is never wrong.
    auto found = in.data_bus->find(in.key, false);
    if (!found) return answer_error(found.error());
    auto missing = found->message ? std::nullopt : missing_property(expected_properties(in.call), found->rows);
    if (missing) return refusal(*std::move(missing));
  }
  auto got = read_body(in);
  if (auto* refused = std::get_if<Answer>(&got)) return std::move(*refused);
  Received& received = std::get<Received>(got);
  if (in.call.md5 && *in.call.md5 != received.md5) return refusal(412, other_md5);
  if (!needs_properties) return store(in, std::move(headers), std::move(received));
  HeldProperties properties(in.data_bus->root_path());
  if (auto answer = fill_in(in, headers, received.sha256, properties)) return *std::move(answer);
  Answer answer = store(in, std::move(headers), std::move(received));
  if (answer.status == 200) properties.release();
  return answer;
}

// De-duplication comes first: the properties of a message that was accepted are gone.
std::optional<Answer> Receiver::fill_in(const Incoming& in, Headers& headers, const Sha256& body_sha256, HeldProperties& properties) const {
  auto found = in.data_bus->find(in.key, true);
  if (!found) return answer_error(found.error());
  if (found->message) return known_message(in, *found->message, body_sha256);
  const auto expected = expected_properties(in.call);
  if (auto held = properties.hold(found->rows); !held) return answer_error(held.error());
  if (auto missing = missing_property(expected, found->rows)) return refusal(*std::move(missing));
  rewrite_properties(headers, expected, found->rows);
  return std::nullopt;
}

Answer Receiver::known_message(const Incoming& in, const DedupRow& row, const Sha256& body_sha256) const {
  DedupRow came;
  came.body_sha256 = body_sha256;
  if (row.other_body(came)) return refusal(422, other_body);
  event(Level::info, "duplicate", {{"id", in.call.id}});
  counts_.duplicate.fetch_add(1, std::memory_order_relaxed);
  note(Happened::duplicate, in.call.id, 0, "");
  return in.held ? release(in.call.id, true) : ok();
}

Answer Receiver::receive_property(const Incoming& in, const Headers& headers) const {
  auto before = in.data_bus->find(in.key, false);
  if (!before) return answer_error(before.error());
  // NServiceBus 3 sends its properties after the message.
  auto is_known = [&](const DedupStore::Properties& found) {
    return (found.message && !in.call.legacy) || find_property(found.rows, in.call.data_bus_key);
  };
  const bool known = is_known(*before);
  BlobSink sink(*in.data_bus, known);
  Digests digests(in.call.md5.has_value());
  auto refused = copy_body(in, known ? UINT64_MAX : 0, [&](std::string_view bytes) {
    digests.update(bytes);
    return sink.write(bytes);
  });
  if (refused) return *std::move(refused);
  if (in.call.md5 && *in.call.md5 != digests.md5()) return refusal(412, other_md5);
  if (known) {
    auto still = in.data_bus->find(in.key, true);
    if (!still) return answer_error(still.error());
    if (!is_known(*still)) return refusal(503, "not now: the property was purged meanwhile", retry_soon);
    const PropertyRow* row = find_property(still->rows, in.call.data_bus_key);
    if (row && row->sha256 != digests.sha256()) event(Level::warn, "property-differs", {{"id", in.call.id}, {"property", in.call.data_bus_key}});
    return ok();
  }
  // Also if its message never comes.
  const WireTimes times = wire_times(headers, in.call, in.date, now_ms());
  PropertyRow row;
  row.id = in.key;
  row.name = in.call.data_bus_key;
  row.sha256 = digests.sha256();
  auto added = sink.finish(std::move(row), in.call.legacy, times.expires_at_ms);
  if (!added) return answer_error(added.error());
  if (added->other_body) event(Level::warn, "property-differs", {{"id", in.call.id}, {"property", in.call.data_bus_key}});
  return ok();
}

Answer Receiver::receive_ack(const Incoming& in) const {
  Digests digests(in.call.md5.has_value());
  auto refused = copy_body(in, UINT64_MAX, [&](std::string_view bytes) {
    digests.update(bytes);
    return Result<void>();
  });
  if (refused) return *std::move(refused);
  if (in.call.md5 && *in.call.md5 != digests.md5()) return refusal(412, other_md5);
  return release(in.call.id, false);
}

// `known`: the id was accepted, so if it is not held there is nothing to do.
Answer Receiver::release(const std::string& id, bool known) const {
  auto released = known ? context_.held->release_if_held(id) : context_.held->release(id);
  if (!released) return answer_error(released.error());
  switch (released->outcome) {
    case HeldMessages::Outcome::released: return ok();
    case HeldMessages::Outcome::unknown: return refusal(412, "Message ID was never received. Please resubmit.");
    case HeldMessages::Outcome::busy: return refusal(503, "not now: another call is about to release the message", retry_soon);
    case HeldMessages::Outcome::incomplete: return refusal(*std::move(released->missing));
  }
  return refusal(500, "Unexpected server error");
}

// Bodies of more than `file_above` bytes need space.
std::optional<Answer> Receiver::copy_body(const Incoming& in, uint64_t file_above, const Write& write) const {
  const BodyPlan& plan = in.plan;
  auto too_large = [&] { return refusal(413, "body larger than " + std::to_string(in.channel.max_body_bytes) + " bytes"); };
  if (plan.length > in.channel.max_body_bytes) return too_large();
  if (plan.length > file_above) {
    uint64_t free = context_.free_bytes();
    if (free < context_.min_free_bytes || free - context_.min_free_bytes < plan.length)
      return refusal(507, "not enough space for " + std::to_string(plan.length) + " bytes", retry_when_space);
  }
  if (plan.expects_continue) in.exchange.send_continue();
  std::string buffer;
  buffer.resize(plan.chunked ? read_bytes : static_cast<size_t>(std::min<uint64_t>(plan.length, read_bytes)));
  uint64_t size = 0;
  while (plan.chunked || size < plan.length) {
    size_t got = 0;
    Exchange::Read how = in.exchange.read(buffer.data(), buffer.size(), got);
    if (how == Exchange::Read::end && plan.chunked) break;
    if (how != Exchange::Read::data) return broken_body(in.exchange, how, size, plan);
    size += got;
    if (size > in.channel.max_body_bytes) return too_large();
    if (auto written = write(std::string_view(buffer.data(), got)); !written) return answer_error(written.error());
  }
  return std::nullopt;
}

std::variant<Receiver::Received, Answer> Receiver::read_body(const Incoming& in) const {
  BodySink sink(context_.body_writer);
  Digests digests(in.call.md5.has_value());
  auto refused = copy_body(in, inline_body_bytes_max, [&](std::string_view bytes) {
    digests.update(bytes);
    return sink.write(bytes);
  });
  if (refused) return *std::move(refused);
  auto body = sink.finish();
  if (!body) return answer_error(body.error());
  return Received{*std::move(body), digests.sha256(), digests.md5()};
}

}  // namespace gw::listen
