#include "stream_codec.hpp"

#include <algorithm>
#include <cmath>

#include "failure.hpp"
#include "hash.hpp"
#include "json.hpp"

namespace gw::distributor {

namespace {

constexpr size_t answer_bytes_max = 64u << 20;  // of one line or frame
constexpr size_t quoted_bytes_max = 200;

JsonObject head_of(const MessageInfo& info, const Message& message) {
  JsonObject headers;
  Headers room;
  for (const auto& [name, value] : without_mark(message.headers, room).entries()) headers.add(name, value);
  JsonObject head;
  head.add("id", message.headers.get(header::message_id)).add("seq", info.seq).add("attempt", info.failures + 1);
  head.add_raw("headers", headers.str());
  return head;
}

Error broken(const std::string& what, std::string_view quoted) {
  std::string shown(quoted.substr(0, quoted_bytes_max));
  if (quoted.size() > shown.size()) shown += "...";
  return Error{ExitCode::protocol, 0, what + ": '" + shown + "'"};
}

using Fault = std::optional<std::string>;

// Absent is fine, another type is not.
Fault read_text(const JsonValue& object, std::string_view name, std::string& into) {
  auto member = object.get(name);
  if (!member || member->is_null()) return std::nullopt;
  if (!member->is_string()) return "'" + std::string(name) + "' is not a string";
  into = *member->string();
  return std::nullopt;
}

Fault read_headers(const JsonValue& send, Headers& into) {
  auto headers = send.get("headers");
  if (!headers || headers->is_null()) return std::nullopt;
  if (!headers->is_object()) return "'headers' is not an object";
  for (const auto& [name, value] : headers->members()) {
    if (name.empty() || name.size() > UINT16_MAX || !value.is_string()) return "header '" + name + "' is not a string";
    into.set(name, *value.string());
  }
  return std::nullopt;
}

Fault read_body_bytes(const JsonValue& object, size_t& into) {
  auto count = object.get("body_bytes");
  if (!count) return std::nullopt;
  auto number = count->integer();
  if (!number || *number < 0 || static_cast<uint64_t>(*number) > answer_bytes_max) return "'body_bytes' is not a size";
  into = static_cast<size_t>(*number);
  return std::nullopt;
}

// How the bytes behind a head belong to it.
struct BodyBytes {
  size_t of_frame = 0;
  std::vector<size_t> of_sends;
  size_t total() const {
    size_t sum = 0;
    for (size_t bytes : of_sends) sum += bytes;
    return std::max(sum, of_frame);
  }
};

Fault read_send(const JsonValue& item, AnswerSend& into, BodyBytes& body_bytes) {
  if (!item.is_object()) return "an entry of 'send' is not an object";
  for (auto [name, text] : {std::pair{"queue", &into.queue}, {"to", &into.sites}, {"type", &into.type}})
    if (auto fault = read_text(item, name, *text)) return fault;
  if (into.queue.empty() && into.sites.empty() && into.type.empty()) return "an entry of 'send' names neither queue nor to nor type";
  if (!into.queue.empty() && !into.sites.empty()) return "an entry of 'send' names both queue and to";
  if (auto fault = read_headers(item, into.headers)) return fault;
  auto body = item.get("body");
  if (body && !body->is_string()) return "'body' is not a string";
  if (body) into.body = *body->string();
  std::string encoded;
  if (auto fault = read_text(item, "body_base64", encoded)) return fault;
  if (!encoded.empty()) {
    auto decoded = unbase64(encoded);
    if (!decoded) return "'body_base64' is not base64";
    into.body = *std::move(decoded);
  }
  return read_body_bytes(item, body_bytes.of_sends.emplace_back());
}

Fault read_delay(const JsonValue& object, Answer& into) {
  auto delay = object.get("delay_s");
  if (!delay || delay->is_null()) return std::nullopt;
  constexpr double longest_s = 366.0 * 24 * 3600;
  auto seconds = delay->number();
  if (!seconds || !(*seconds >= 0)) return "'delay_s' is not a number of seconds";
  into.delay_ms = std::llround(std::min(*seconds, longest_s) * 1000);
  return std::nullopt;
}

Fault read_answer(const JsonValue& object, Answer& into, BodyBytes& body_bytes) {
  if (!object.is_object()) return "not an object";
  auto seq = object.get("seq");
  auto number = seq ? seq->integer() : std::nullopt;
  if (!number || *number < 0) return "'seq' is not the number of a message";
  into.seq = static_cast<uint64_t>(*number);
  std::string result;
  if (auto fault = read_text(object, "result", result)) return fault;
  if (result == "ok") into.result = Answer::Result::ok;
  else if (result == "retry") into.result = Answer::Result::retry;
  else if (result == "fail") into.result = Answer::Result::fail;
  else return "'result' is neither ok nor retry nor fail";
  if (auto fault = read_text(object, "reason", into.reason)) return fault;
  if (auto fault = read_delay(object, into)) return fault;
  if (auto fault = read_body_bytes(object, body_bytes.of_frame)) return fault;
  auto sends = object.get("send");
  if (!sends || sends->is_null()) return std::nullopt;
  if (!sends->is_array()) return "'send' is not a list";
  for (const JsonValue& item : sends->items())
    if (auto fault = read_send(item, into.sends.emplace_back(), body_bytes)) return fault;
  // The only message of a frame may have its size in the head.
  if (body_bytes.of_sends.size() == 1 && body_bytes.of_sends[0] == 0) body_bytes.of_sends[0] = body_bytes.of_frame;
  return std::nullopt;
}

// The commonest answer of all, {"seq":N,"result":"ok"}, without a parser.
std::optional<uint64_t> plain_ok(std::string_view line) {
  constexpr std::string_view before = "{\"seq\":", after = ",\"result\":\"ok\"}";
  if (!line.starts_with(before) || !line.ends_with(after) || line.size() <= before.size() + after.size()) return std::nullopt;
  std::string_view digits = line.substr(before.size(), line.size() - before.size() - after.size());
  if (digits.size() > 18 || (digits[0] == '0' && digits.size() > 1)) return std::nullopt;
  uint64_t number = 0;
  for (char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  return number;
}

Result<Answer> parse_answer(std::string_view text, BodyBytes& body_bytes) {
  Answer answer;
  if (auto seq = plain_ok(text)) {
    answer.seq = *seq;
    return answer;
  }
  auto object = JsonValue::parse(text);
  if (!object) return broken(object.error().text, text);
  if (auto fault = read_answer(*object, answer, body_bytes)) return broken(*fault, text);
  return answer;
}

}  // namespace

std::string stream_line(const MessageInfo& info, const Message& message) {
  JsonObject head = head_of(info, message);
  if (message.body.is_file()) head.add("body_file", message.body.file()->path);
  else if (utf8_ok(message.body.bytes())) head.add("body", message.body.bytes());
  else head.add("body_base64", base64(message.body.bytes()));
  return head.str() + "\n";
}

std::string stream_frame_head(const MessageInfo& info, const Message& message) {
  JsonObject head = head_of(info, message);
  head.add("body_bytes", message.body.size());
  const std::string text = head.str();
  std::string frame;
  for (int shift : {24, 16, 8, 0}) frame += static_cast<char>(text.size() >> shift & 255);
  return frame + text;
}

void AnswerReader::compact() {
  constexpr size_t worth_it = 64 * 1024;
  if (at_ < worth_it && at_ < buffer_.size()) return;
  buffer_.erase(0, at_);
  looked_ -= std::min(looked_, at_);
  at_ = 0;
}

Result<std::optional<Answer>> AnswerReader::next_line() {
  size_t end = buffer_.find('\n', std::max(at_, looked_));
  if (end == std::string::npos) {
    looked_ = buffer_.size();
    if (buffer_.size() - at_ > answer_bytes_max) return broken("a line of more than 64 MiB", std::string_view(buffer_).substr(at_));
    compact();
    return std::optional<Answer>();
  }
  std::string_view line = std::string_view(buffer_).substr(at_, end - at_);
  BodyBytes body_bytes;
  GW_TRY_ASSIGN(Answer answer, parse_answer(line, body_bytes));
  if (body_bytes.total() != 0) return broken("'body_bytes' stands in a line", line);
  last_at_ = at_;
  last_bytes_ = line.size();
  at_ = looked_ = end + 1;
  return std::optional(std::move(answer));
}

Result<std::optional<Answer>> AnswerReader::next_frame() {
  constexpr size_t length_bytes = 4;
  std::string_view rest = std::string_view(buffer_).substr(at_);
  // A line is fine, too: no frame is so long that it begins like one.
  if (!rest.empty() && rest[0] == '{') return next_line();
  if (rest.size() < length_bytes) return std::optional<Answer>();
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) length = length << 8 | static_cast<unsigned char>(rest[i]);
  if (length > answer_bytes_max) return broken("a frame of " + std::to_string(length) + " bytes", rest);
  if (rest.size() < length_bytes + length) return std::optional<Answer>();
  std::string_view head = rest.substr(length_bytes, length);
  BodyBytes body_bytes;
  GW_TRY_ASSIGN(Answer answer, parse_answer(head, body_bytes));
  const size_t total = length_bytes + length + body_bytes.total();
  if (total > answer_bytes_max) return broken("a frame of " + std::to_string(total) + " bytes", head);
  if (rest.size() < total) return std::optional<Answer>();
  size_t at = length_bytes + length;
  for (size_t i = 0; i < body_bytes.of_sends.size(); ++i) {
    if (body_bytes.of_sends[i] == 0) continue;
    answer.sends[i].body = rest.substr(at, body_bytes.of_sends[i]);
    at += body_bytes.of_sends[i];
  }
  last_at_ = at_ + length_bytes;
  last_bytes_ = length;
  at_ += total;
  looked_ = at_;
  return std::optional(std::move(answer));
}

Error AnswerReader::wrong(const std::string& what) const { return broken(what, std::string_view(buffer_).substr(last_at_, last_bytes_)); }

Result<std::optional<Answer>> AnswerReader::next() {
  auto answer = binary_ ? next_frame() : next_line();
  if (answer && !*answer) compact();
  return answer;
}

}  // namespace gw::distributor
