#include "receive.hpp"

#include <cerrno>

#include "diag.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

constexpr size_t read_bytes = 64 * 1024;
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

bool allowed(const Channel& channel, std::string_view endpoint) {
  if (channel.allow_endpoints.empty()) return true;
  for (const std::string& name : channel.allow_endpoints)
    if (name == endpoint) return true;
  return false;
}

bool is_space_error(const Error& error) { return error.sys_errno == ENOSPC || error.sys_errno == EDQUOT; }

/// What a store that failed means for the sender. io_error never comes here.
Answer answer_error(const Error& error) {
  if (is_space_error(error)) return refusal(507, "not enough space: " + error.text, retry_when_space);
  if (error.code == ExitCode::not_now) return refusal(503, "not now: " + error.text, retry_soon);
  event(Level::error, "store-failed", {{"reason", error.text}});
  return refusal(500, "Unexpected server error");
}

// The digests and where the bytes go.
class BodySink {
 public:
  BodySink(const std::function<BodyWriter()>& writer, bool with_md5) : make_writer_(writer), sha256_(Digest::Kind::sha256) {
    if (with_md5) md5_.emplace(Digest::Kind::md5);
  }
  /// Bodies that end below the limit of the queue never see a file.
  Result<void> write(std::string_view bytes) {
    sha256_.update(bytes);
    if (md5_) md5_->update(bytes);
    size_ += bytes.size();
    if (!writer_ && size_ <= inline_body_bytes_max) {
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
  uint64_t size() const { return size_; }
  Result<Body> finish() {
    if (!writer_) return Body(std::move(memory_));
    return std::move(*writer_).finish();
  }
  Sha256 sha256() {
    std::string bytes = sha256_.finish();
    Sha256 result;
    std::copy(bytes.begin(), bytes.end(), result.begin());
    return result;
  }
  std::string md5() { return md5_ ? base64(md5_->finish()) : std::string(); }

 private:
  const std::function<BodyWriter()>& make_writer_;
  std::optional<BodyWriter> writer_;
  std::string memory_;
  Digest sha256_;
  std::optional<Digest> md5_;
  uint64_t size_ = 0;
};

Answer broken_body(Exchange::Read how, uint64_t got, const BodyPlan& plan) {
  if (how == Exchange::Read::too_slow) return refusal(408, "the body came too slowly");
  std::string text = "the body ended after " + std::to_string(got);
  text += plan.chunked ? " bytes without its last chunk" : " of " + std::to_string(plan.length) + " bytes";
  return refusal(400, std::move(text));
}

}  // namespace

void Receiver::set_channels(std::vector<Channel> channels) {
  all_channels_.push_back(std::make_unique<const std::vector<Channel>>(std::move(channels)));
  channels_.store(all_channels_.back().get(), std::memory_order_release);
}

void Receiver::handle(Exchange& exchange) const {
  std::string id;
  Answer answer = route(exchange, id);
  if (answer.status >= 400)
    event(Level::warn, "refused",
          {{"id", id}, {"status", answer.status}, {"reason", answer.status == 404 ? "Not Found" : answer.text}, {"from", exchange.head().from}});
  exchange.send(answer);
}

Answer Receiver::route(Exchange& exchange, std::string& id) const {
  const RequestHead& head = exchange.head();
  if (const auto* refused = std::get_if<WireRefusal>(&exchange.plan())) return refusal(WireRefusal(*refused));
  const std::string path = decode_path(head.target);
  if (path.empty()) return not_found();
  const bool reads = head.method == "GET" || head.method == "HEAD";
  if (path == "/healthz" && reads) {
    if (context_.stopping()) return refusal(503, "stopping", retry_soon);
    Answer healthy = ok();
    healthy.content_type = "text/plain; charset=utf-8";
    return healthy;
  }
  const Channel* channel = find_channel(*channels_.load(std::memory_order_acquire), head.port, path);
  if (!channel) return not_found();
  if (!reads && head.method != "POST") return refusal(405, "Method Not Allowed", "Allow: GET, HEAD, POST\r\n");
  if (head.has_query && is_web_client_query(head.query))
    return refusal(403, "messages in query strings and callbacks are not accepted here");
  if (reads) {
    if (head.find(wire::call_type)) return refusal(405, "messages are sent with POST", "Allow: POST\r\n");
    return status_page();
  }
  if (context_.stopping()) return refusal(503, "this listener is stopping", "Retry-After: 1\r\n");
  return receive(exchange, *channel, std::get<BodyPlan>(exchange.plan()), id);
}

Answer Receiver::status_page() const {
  Answer answer;
  answer.text = "<html><body>EndpointName:" + context_.endpoint + " - Status: Ok</body></html>";
  answer.content_type = "text/html";
  return answer;
}

Answer Receiver::receive(Exchange& exchange, const Channel& channel, const BodyPlan& plan, std::string& id) const {
  const RequestHead& head = exchange.head();
  auto decoded = decode_wire_fields(head.fields);
  if (auto* refused = std::get_if<WireRefusal>(&decoded)) return refusal(std::move(*refused));
  Headers& wire_headers = std::get<Headers>(decoded);
  auto read = read_wire_call(wire_headers);
  if (auto* refused = std::get_if<WireRefusal>(&read)) {
    id = std::string(wire_headers.get(wire::id));
    return refusal(std::move(*refused));
  }
  const WireCall& call = std::get<WireCall>(read);
  id = call.id;
  Headers headers = delivered_headers(std::move(wire_headers), call, context_.endpoint);
  if (!allowed(channel, headers.get(header::originating_endpoint)))
    return refusal(403, "endpoint '" + std::string(headers.get(header::originating_endpoint)) + "' is not allowed");
  if (call.type == WireCall::Type::submit && !call.data_bus_headers.empty())
    return refusal(412, "Expected " + std::to_string(call.data_bus_headers.size()) +
                            " claimcheck properties. None were received. Please resubmit.");
  auto got = read_body(exchange, channel, plan, call.md5.has_value());
  if (auto* refused = std::get_if<Answer>(&got)) return std::move(*refused);
  Received& received = std::get<Received>(got);
  if (call.md5 && *call.md5 != received.md5)
    return refusal(412, "MD5 hash received does not match hash calculated on server. Please resubmit.");
  if (call.type == WireCall::Type::data_bus_property) return refusal(501, "data bus properties are not supported by this version");
  return store(std::move(headers), std::move(received), call, head.find("Date").value_or(std::string_view()), head.from);
}

std::variant<Receiver::Received, Answer> Receiver::read_body(Exchange& exchange, const Channel& channel, const BodyPlan& plan,
                                                             bool with_md5) const {
  auto too_large = [&] { return refusal(413, "body larger than " + std::to_string(channel.max_body_bytes) + " bytes"); };
  if (plan.length > channel.max_body_bytes) return too_large();
  if (plan.length > inline_body_bytes_max) {
    uint64_t free = context_.free_bytes();
    if (free < context_.min_free_bytes || free - context_.min_free_bytes < plan.length)
      return refusal(507, "not enough space for " + std::to_string(plan.length) + " bytes", retry_when_space);
  }
  if (plan.expects_continue) exchange.send_continue();
  BodySink sink(context_.body_writer, with_md5);
  std::string buffer;
  buffer.resize(plan.chunked ? read_bytes : static_cast<size_t>(std::min<uint64_t>(plan.length, read_bytes)));
  while (plan.chunked || sink.size() < plan.length) {
    size_t got = 0;
    Exchange::Read how = exchange.read(buffer.data(), buffer.size(), got);
    if (how == Exchange::Read::end && plan.chunked) break;
    if (how != Exchange::Read::data) return broken_body(how, sink.size(), plan);
    if (sink.size() + got > channel.max_body_bytes) return too_large();
    if (auto written = sink.write(std::string_view(buffer.data(), got)); !written) return answer_error(written.error());
  }
  auto body = sink.finish();
  if (!body) return answer_error(body.error());
  return Received{*std::move(body), sink.sha256(), sink.md5()};
}

Answer Receiver::store(Headers&& headers, Received&& received, const WireCall& call, std::string_view date, std::string_view from) const {
  const WireTimes times = wire_times(headers, call, date, now_ms());
  const uint64_t bytes = received.body.size();
  PutOptions options;
  options.expires_at_ms = times.expires_at_ms;
  options.dedup = DedupKey{context_.endpoint, context_.endpoint, call.id, received.sha256, times.first_sent_ms};
  Transaction transaction;
  transaction.put(context_.queue, Message{std::move(headers), std::move(received.body)}, std::move(options));
  auto committed = context_.committer->commit(std::move(transaction));
  if (!committed) return answer_error(committed.error());
  switch (committed->puts.at(0).outcome) {
    case PutOutcome::stored:
      event(Level::debug, "received", {{"id", call.id}, {"bytes", bytes}, {"seq", committed->puts[0].seq}, {"from", from}});
      return ok();
    case PutOutcome::duplicate:
      event(Level::info, "duplicate", {{"id", call.id}, {"from", from}});
      return ok();
    case PutOutcome::conflict:
      return refusal(422, "same id, other body");
    case PutOutcome::too_old:
      return refusal(410, "too old to be told apart from a duplicate: ids of its time are purged; if it was never delivered, send it with a new id");
  }
  return refusal(500, "Unexpected server error");
}

}  // namespace gw::listen
