#include "receive.hpp"

#include <algorithm>
#include <cerrno>

#include "config_names.hpp"
#include "diag.hpp"
#include "machine_door.hpp"
#include "envelope_exchange.hpp"
#include "proxy.hpp"
#include "put_notes.hpp"
#include "units.hpp"
#include "web_client.hpp"

namespace gw::listen {

namespace {

constexpr size_t read_bytes = 64 * 1024;
constexpr int64_t slot_wait_ms = 10'000;
constexpr int comes_later = 0;  // the status of an answer that another thread gives
constexpr const char* other_md5 = "MD5 hash received does not match hash calculated on server. Please resubmit.";
constexpr const char* retry_soon = "Retry-After: 5\r\n";
constexpr const char* retry_when_space = "Retry-After: 60\r\n";

Answer refusal(int status, std::string text, std::string fields = {}) {
  Answer answer;
  answer.status = status;
  answer.text = std::move(text);
  answer.fields = std::move(fields);
  return answer;
}
Answer refusal(WireRefusal&& why) { return refusal(why.status, std::move(why.text)); }

Answer ok() {
  Answer answer;
  answer.text = "OK";
  return answer;
}

// As the original's HTTP layer says it.
Answer not_found() {
  Answer answer = refusal(404, "<h1>Not Found (Not Found)</h1>");
  answer.content_type = "text/html";
  return answer;
}

/// What the sender says of itself by this name does not count.
void set_site(Headers& headers, const std::string& site) {
  headers.remove(site_header);
  if (!site.empty()) headers.set(site_header, site);
}

bool is_space_error(const Error& error) { return error.sys_errno == ENOSPC || error.sys_errno == EDQUOT; }

/// What a store that failed means for the sender. io_error never comes here.
Answer answer_error(const Error& error) {
  const bool for_now = is_space_error(error) || error.code == ExitCode::not_now;
  // Paths and reasons of this machine are not for the other side.
  event(for_now ? Level::warn : Level::error, for_now ? "store-refused" : "store-failed", {{"reason", error.text}});
  if (is_space_error(error)) return refusal(507, "not enough space", retry_when_space);
  if (for_now) return refusal(503, "not now: try again later", retry_soon);
  return refusal(500, "Unexpected server error");
}

/// Where a message of another machine goes; nullptr: it is none.
const std::string* destination_of(const Headers& wire_headers) {
  static const std::string with_prefix = std::string(wire::header_prefix).append(header::destination_queue);
  const std::string* found = wire_headers.find(with_prefix);
  return found ? found : wire_headers.find(header::destination_queue);
}

bool is_envelope(const RequestHead& head) {
  return head.find("Content-Type").value_or(std::string_view()).starts_with("application/json") && !head.find(wire::id);
}

/// How far our clock is ahead of the sender's; what a date of whole seconds and the way of a request explain is no difference.
int64_t clock_difference_ms(std::string_view date, int64_t now) {
  constexpr int64_t none_ms = 3000;
  const int64_t difference = now - parse_http_date_ms(date).value_or(now);
  return difference > none_ms || difference < -none_ms ? difference : 0;
}

class Digests {
 public:
  explicit Digests(bool with_md5) : sha256_(Digest::Kind::sha256) {
    if (with_md5) md5_.emplace(Digest::Kind::md5);
  }
  void update(std::string_view bytes) {
    sha256_.update(bytes);
    if (md5_) md5_->update(bytes);
  }
  Sha256 sha256() {
    std::string bytes = sha256_.finish();
    Sha256 result;
    std::copy(bytes.begin(), bytes.end(), result.begin());
    return result;
  }
  std::string md5() { return md5_ ? base64(md5_->finish()) : std::string(); }

 private:
  Digest sha256_;
  std::optional<Digest> md5_;
};

// Bodies that end below the limit of the queue never see a file.
class BodySink {
 public:
  explicit BodySink(const std::function<BodyWriter()>& writer) : make_writer_(writer) {}
  Result<void> write(std::string_view bytes) {
    if (!writer_ && memory_.size() + bytes.size() <= inline_body_bytes_max) {
      memory_ += bytes;
      return {};
    }
    if (!writer_) {
      writer_.emplace(make_writer_());
      GW_TRY(writer_->write(memory_));
      memory_ = {};
    }
    return writer_->write(bytes);
  }
  Result<Body> finish() {
    if (!writer_) return Body(std::move(memory_));
    return std::move(*writer_).finish();
  }

 private:
  const std::function<BodyWriter()>& make_writer_;
  std::optional<BodyWriter> writer_;
  std::string memory_;
};

// The body of a property. One that is known already is only counted and hashed.
class BlobSink {
 public:
  BlobSink(DataBus& data_bus, bool known) : data_bus_(data_bus), known_(known) {}
  Result<void> write(std::string_view bytes) {
    size_ += bytes.size();
    if (known_) return {};
    GW_TRY(open());
    return blob_->writer.write(bytes);
  }
  Result<DedupStore::AddedProperty> finish(PropertyRow&& row, bool even_after_message, int64_t expires_at_ms) {
    GW_TRY(open());
    row.bytes = size_;
    return data_bus_.add(*std::move(blob_), std::move(row), even_after_message, expires_at_ms);
  }

 private:
  Result<void> open() {
    if (blob_) return {};
    auto begun = data_bus_.begin();
    if (!begun) return std::move(begun).error();
    blob_.emplace(*std::move(begun));
    return {};
  }
  DataBus& data_bus_;
  bool known_;
  uint64_t size_ = 0;
  std::optional<DataBus::Blob> blob_;
};

Answer broken_body(const Exchange& exchange, Exchange::Read how, uint64_t got, const BodyPlan& plan) {
  if (how == Exchange::Read::malformed) return refusal(400, exchange.fault());
  if (how == Exchange::Read::too_slow) return refusal(408, "the body came too slowly");
  std::string text = "the body ended after " + std::to_string(got);
  text += plan.chunked ? " bytes without its last chunk" : " of " + std::to_string(plan.length) + " bytes";
  return refusal(400, std::move(text));
}

void report_refused(const RequestHead& head, const Answer& answer, const std::string& id) {
  const Field status("status", answer.status), reason("reason", answer.status == 404 ? "Not Found" : answer.plain_text()), from("from", head.from);
  const std::string advice = answer.status == 400 ? proxy_advice(head) : "";
  if (advice.empty())
    event(Level::warn, "refused", {{"id", id}, status, reason, from});
  else
    event(Level::warn, "refused", {{"id", id}, status, reason, from, {"hint", advice}});
}

}  // namespace

void Receiver::set_channels(std::vector<Channel> channels) {
  all_channels_.push_back(std::make_unique<const std::vector<Channel>>(std::move(channels)));
  channels_.store(all_channels_.back().get(), std::memory_order_release);
}

void Receiver::handle(Exchange& exchange) const {
  std::string id;
  Answer answer = route(exchange, id);
  if (answer.status == comes_later) return;
  if (answer.status >= 400) refused(exchange.head(), answer, id);
  exchange.send(answer);
}

void Receiver::refused(const RequestHead& head, const Answer& answer, const std::string& id) const {
  counts_.refused.fetch_add(1, std::memory_order_relaxed);
  report_refused(head, answer, id);
  note(Happened::refused, id, answer.status, answer.plain_text());
}

Answer Receiver::handle_call(Exchange& exchange, const Channel& channel, Headers&& wire) const {
  std::string id(wire.get(wire::id));
  const std::string date(wire.get("Date"));
  Answer answer;
  if (auto refused = check_wire_headers(wire))
    answer = refusal(*std::move(refused));
  else
    answer = receive_call(exchange, channel, {"", &channel.allow_endpoints}, std::move(wire), date, id);
  if (answer.status >= 400) this->refused(exchange.head(), answer, id);
  return answer;
}

/// What the committer has no part in.
void Receiver::note(Happened happened, const std::string& id, int status, const std::string& reason) const {
  if (!context_.journal || id.empty()) return;
  JournalLine line;
  line.event = happened;
  line.id = id;
  line.queue = context_.endpoint;
  line.status = status;
  line.reason = reason;
  context_.journal->add(line);
  context_.journal->write();
}

Answer Receiver::route(Exchange& exchange, std::string& id) const {
  const RequestHead& head = exchange.head();
  if (const auto* refused = std::get_if<WireRefusal>(&exchange.plan())) return refusal(WireRefusal(*refused));
  const std::string path = decode_path(head.target);
  if (path.empty()) return not_found();
  const bool reads = head.method == "GET" || head.method == "HEAD";
  const std::vector<Channel>& channels = *channels_.load(std::memory_order_acquire);
  auto in_use = [&] { return std::any_of(channels.begin(), channels.end(), [&](const Channel& channel) { return channel.port == head.port; }); };
  if (path == "/healthz" && reads && in_use()) {
    if (context_.stopping()) return refusal(503, "stopping", retry_soon);
    Answer healthy = ok();
    healthy.content_type = "text/plain; charset=utf-8";
    return healthy;
  }
  const Channel* channel = find_channel(channels, head.port, path);
  if (!channel) return not_found();
  Answer answer = serve(exchange, *channel, id);
  allow_origin(*channel, head, answer);
  return answer;
}

Answer Receiver::serve(Exchange& exchange, const Channel& channel, std::string& id) const {
  const RequestHead& head = exchange.head();
  if (auto answer = answer_origin(channel, head)) return *std::move(answer);
  const bool reads = head.method == "GET" || head.method == "HEAD";
  auto admitted = admit(channel, exchange);
  if (auto* refused = std::get_if<Answer>(&admitted)) return std::move(*refused);
  if (!reads && head.method != "POST") return refusal(405, "Method Not Allowed", "Allow: GET, HEAD, POST\r\n");
  bool is_message = !reads || head.find(wire::call_type);
  WebQuery query;
  if (head.has_query) {
    const bool in_query = is_web_client_query(head.query);
    if (in_query && !channel.web_clients) return refusal(403, "messages in query strings and callbacks are not accepted here");
    is_message |= in_query;
    if (channel.web_clients) {
      auto read = read_web_query(head.query);
      if (auto* refused = std::get_if<WireRefusal>(&read)) return refusal(std::move(*refused));
      query = std::get<WebQuery>(std::move(read));
    }
  }
  if (!is_message) return status_page();
  if (reads && (!channel.web_clients || head.method == "HEAD"))
    return refusal(405, "messages are sent with POST", channel.web_clients ? "Allow: GET, POST\r\n" : "Allow: POST\r\n");
  if (context_.stopping()) return refusal(503, "this listener is stopping", "Retry-After: 1\r\n");
  Answer answer = receive(exchange, channel, std::get<Caller>(admitted), query, id);
  if (query.callback) wrap_in_callback(answer, *query.callback);
  return answer;
}

Answer Receiver::status_page() const {
  Answer answer;
  answer.text = "<html><body>EndpointName:" + name() + " - Status: Ok</body></html>";
  answer.content_type = "text/html";
  return answer;
}

/// What people call this listener.
const std::string& Receiver::name() const { return context_.endpoint.empty() && context_.machine ? context_.machine->name() : context_.endpoint; }

// What the steps of one request share.
struct Receiver::Incoming {
  Exchange& exchange;
  const Channel& channel;
  const BodyPlan& plan;
  const WireCall& call;
  std::string_view date{};
  std::string key{};     // of de-duplication and properties
  std::string store{};   // where that is remembered
  Queue queue{};
  DataBus* data_bus = nullptr;
  HeldMessages* held = nullptr;  // null: a message of another machine
  Arrival arrival{};
  int64_t ahead_ms = 0;  // our clock before the sender's
};

namespace {

/// A place among the messages that the channel takes at once.
class Slot {
 public:
  explicit Slot(Slots* slots) : slots_(slots), entered_(!slots || slots->enter(slot_wait_ms)) {}
  ~Slot() {
    if (slots_ && entered_) slots_->leave();
  }
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;
  bool entered() const { return entered_; }

 private:
  Slots* slots_;
  bool entered_;
};

}  // namespace

Answer Receiver::receive(Exchange& http, const Channel& channel, const Caller& caller, const WebQuery& query, std::string& id) const {
  if (is_probe(http.head())) return answer_probe(http, channel, std::get<BodyPlan>(http.plan()));
  const Slot slot(channel.slots.get());
  if (!slot.entered()) return refusal(503, "this channel takes no more messages at once", retry_soon);
  // From another machine large headers come in an envelope, whatever the type of the channel is.
  const bool envelope = is_envelope_type(channel.type) || (context_.machine && is_envelope(http.head()));
  if (envelope && http.head().method == "POST" && !query.message) return receive_envelope(http, channel, caller, id);
  // A body in the query replaces the other one, which nobody looks at.
  std::optional<MessageExchange> in_query;
  if (query.message) {
    const WireCall none;
    auto skip = [](std::string_view) { return Result<void>(); };
    if (auto refused = copy_body({http, channel, std::get<BodyPlan>(http.plan()), none, {}}, UINT64_MAX, skip)) return *std::move(refused);
    in_query.emplace(http, *query.message);
  }
  Exchange& exchange = in_query ? static_cast<Exchange&>(*in_query) : http;
  auto decoded = decode_wire_fields(exchange.head().fields);
  if (auto* refused = std::get_if<WireRefusal>(&decoded)) return refusal(std::move(*refused));
  Headers& wire_headers = std::get<Headers>(decoded);
  query.merge_into(wire_headers);
  return receive_call(exchange, channel, caller, std::move(wire_headers), exchange.head().find("Date").value_or(std::string_view()), id);
}

/// The same answers as on http, but for that of success.
Answer Receiver::receive_envelope(Exchange& exchange, const Channel& channel, const Caller& caller, std::string& id) const {
  EnvelopeExchange inner(exchange);
  if (auto refused = inner.read_headers()) return *std::move(refused);
  Headers wire = inner.take_headers();
  if (auto refused = check_wire_headers(wire)) return refusal(*std::move(refused));
  Answer answer = receive_call(inner, channel, caller, std::move(wire), exchange.head().find("Date").value_or(std::string_view()), id);
  if (answer.status != 200) return answer;
  answer.text = inner.md5();
  answer.content_type = "text/plain; charset=utf-8";
  return answer;
}

Answer Receiver::receive_call(Exchange& exchange, const Channel& channel, const Caller& caller, Headers&& wire_headers, std::string_view date,
                              std::string& id) const {
  auto read = read_wire_call(wire_headers);
  if (auto* refused = std::get_if<WireRefusal>(&read)) {
    id = std::string(wire_headers.get(wire::id));
    return refusal(std::move(*refused));
  }
  const WireCall& call = std::get<WireCall>(read);
  id = call.id;
  if (destination_of(wire_headers)) return receive_from_machine(exchange, channel, caller, std::move(wire_headers), call, date);
  if (context_.endpoint.empty()) return refusal(400, "Required header '" + std::string(header::destination_queue) + "' missing.");
  Headers headers = delivered_headers(std::move(wire_headers), call, context_.endpoint, channel.header_names);
  set_site(headers, caller.site);
  if (!caller.may_send_as(headers.get(header::originating_endpoint)))
    return refusal(403, "endpoint '" + std::string(headers.get(header::originating_endpoint)) + "' is not allowed");
  const Incoming in{exchange, channel, std::get<BodyPlan>(exchange.plan()), call, date, call.id, context_.endpoint, context_.queue, context_.data_bus, context_.held};
  switch (call.type) {
    case WireCall::Type::data_bus_property: return receive_property(in, headers);
    case WireCall::Type::ack: return receive_ack(in);
    case WireCall::Type::submit:
    case WireCall::Type::hold: return receive_message(in, std::move(headers));
  }
  return refusal(500, "Unexpected server error");
}

/// By its header; before it is known whether it is allowed in.
Answer Receiver::receive_from_machine(Exchange& exchange, const Channel& channel, const Caller& caller, Headers&& wire_headers, const WireCall& call,
                                      std::string_view date) const {
  const std::string named = *destination_of(wire_headers);
  Headers headers = arrived_headers(std::move(wire_headers), call, channel.header_names);
  if (!caller.may_send_as(headers.get(header::originating_endpoint)))
    return refusal(403, "endpoint '" + std::string(headers.get(header::originating_endpoint)) + "' is not allowed");
  if (call.legacy) return refusal(400, "Invalid CallType for a queue of a machine. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'");
  std::optional<Queue> queue = context_.machine ? context_.machine->open(named) : std::nullopt;
  if (!queue) return refusal(403, "queue '" + named + "' is not allowed");
  Incoming in{exchange, channel, std::get<BodyPlan>(exchange.plan()), call, date, {}, context_.machine->store(), *std::move(queue), &context_.machine->data_bus(), nullptr};
  in.arrival = take_arrival(headers);
  // The same message may go to several queues, and to one of them again: a transfer has a name of its own.
  in.key = in.arrival.transfer_id.empty() ? named + ":" + call.id : in.arrival.transfer_id;
  in.ahead_ms = clock_difference_ms(date, now_ms());
  if (call.type == WireCall::Type::data_bus_property) return receive_property(in, headers);
  return receive_message(in, std::move(headers));
}

// Nothing is stored.
Answer Receiver::answer_probe(Exchange& exchange, const Channel& channel, const BodyPlan& plan) const {
  const WireCall none;
  uint64_t bytes = 0;
  Digest digest(Digest::Kind::sha256);
  auto refused = copy_body({exchange, channel, plan, none, {}}, UINT64_MAX, [&](std::string_view part) {
    bytes += part.size();
    digest.update(part);
    return Result<void>();
  });
  if (refused) return *std::move(refused);
  event(Level::info, "probe", {{"from", exchange.head().from}, {"body_bytes", bytes}});
  Answer answer;
  answer.text = probe_report(exchange.head(), name(), bytes, hex(digest.finish()));
  return answer;
}

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
  if (row.other_body(came)) return refusal(422, "same id, other body");
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

// What the answer needs to know of a message that was handed to the committer.
struct Receiver::Stored {
  std::string id, key, from;
  DataBus* data_bus = nullptr;
  uint64_t bytes = 0;
  bool hold = false, properties = false, of_machine = false;
  std::string traceparent{};
  std::string closed_queue{}, late_to{};  // of an instance that is out of service, and where the message goes instead
};

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
      return refusal(422, "same id, other body");
    case PutOutcome::too_old:
      return refusal(410, "too old to be told apart from a duplicate: ids of its time are purged; if it was never delivered, send it with a new id");
  }
  return refusal(500, "Unexpected server error");
}

}  // namespace gw::listen
