#include "receive.hpp"

#include <algorithm>

#include "config_names.hpp"
#include "diag.hpp"
#include "envelope_exchange.hpp"
#include "machine_door.hpp"
#include "proxy.hpp"
#include "receive_steps.hpp"
#include "units.hpp"
#include "web_client.hpp"

namespace gw::listen {

namespace {

constexpr int64_t slot_wait_ms = 10'000;

/// What the sender says of itself by this name does not count.
void set_site(Headers& headers, const std::string& site) {
  headers.remove(site_header);
  if (!site.empty()) headers.set(site_header, site);
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

void report_refused(const RequestHead& head, const Answer& answer, const std::string& id) {
  const std::string advice = answer.status == 400 ? proxy_advice(head) : "";
  event(Level::warn, "refused",
        {{"id", id},
         {"status", answer.status},
         {"reason", answer.status == 404 ? "Not Found" : answer.plain_text()},
         {"from", head.from},
         advice.empty() ? Field("", "") : Field("hint", advice)});
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
  const Incoming in{exchange, channel, std::get<BodyPlan>(exchange.plan()), call, date, call.id, context_.endpoint, context_.queue->current(), context_.data_bus, context_.held};
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

}  // namespace gw::listen
