// What a request brings: its header fields as they become a message, and its head as HTTP.
#include <algorithm>
#include <string>
#include <vector>

#include "json.hpp"
#include "message.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tools/gw-listen/channel.hpp"
#include "tools/gw-listen/proxy.hpp"
#include "tools/gw-listen/web_client.hpp"
#include "wire_codec.hpp"

namespace gw::fuzz {

namespace {

constexpr int64_t some_day_ms = 1'795'000'000'000;

std::string_view take_line(std::string_view& text) {
  size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

std::string_view take_word(std::string_view& line) {
  size_t end = line.find(' ');
  std::string_view word = line.substr(0, end);
  line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  return word;
}

/// `name: value` lines.
std::vector<std::pair<std::string_view, std::string_view>> take_fields(std::string_view& text) {
  std::vector<std::pair<std::string_view, std::string_view>> fields;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (line.empty()) break;
    size_t colon = line.find(": ");
    if (colon == std::string_view::npos) fields.emplace_back(line, std::string_view());
    else fields.emplace_back(line.substr(0, colon), line.substr(colon + 2));
  }
  return fields;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void check_refusal(const WireRefusal& refusal) {
  require(refusal.status >= 400 && refusal.status < 600 && !refusal.text.empty(), "a refusal has a status and a text");
}

void check_delivered(const Headers& headers, const WireCall& call) {
  require(headers.get(header::message_id) == call.id, "the message has the id of its call");
  require(headers.get(header::reply_to_address) == "E.gateway", "replies come to us");
  require(!headers.find("Gatepost.Site") && !headers.find("Authorization"), "what is ours never comes from outside");
  for (const auto& entry : headers.entries()) {
    require(!entry.name.empty() && !has_control(entry.name), "names are printable");
    require(utf8_ok(entry.name) && utf8_ok(entry.value), "headers are UTF-8");
    auto same_name = [&](const auto& other) { return wire_encode(other.name) == wire_encode(entry.name); };
    require(std::count_if(headers.entries().begin(), headers.entries().end(), same_name) == 1, "a name is there once");
  }
  auto back = headers_from_text(headers_to_text(headers));
  require(back && *back == headers, "the text form keeps everything");
  auto decoded = decode_headers(encode_headers(headers));
  require(decoded && *decoded == headers, "the binary form keeps everything");
}

}  // namespace

void wire_fields(std::string_view input) {
  std::string_view rest = input;
  auto fields = take_fields(rest);
  for (const auto& [name, value] : fields) require(wire_decode(wire_encode(value)) == value, "encoding can be undone");
  auto decoded = decode_wire_fields(fields);
  if (auto* refusal = std::get_if<WireRefusal>(&decoded)) return check_refusal(*refusal);
  Headers& headers = std::get<Headers>(decoded);
  auto read = read_wire_call(headers);
  if (auto* refusal = std::get_if<WireRefusal>(&read)) return check_refusal(*refusal);
  const WireCall& call = std::get<WireCall>(read);
  require(message_id_ok(call.id), "an id that is accepted is an id");
  const std::string date(headers.get("Date"));
  HeaderNames own(std::vector<std::string>{"X-Shop-Till"});
  Headers delivered = delivered_headers(std::move(headers), call, "E", own);
  check_delivered(delivered, call);
  WireTimes times = wire_times(delivered, call, date, some_day_ms);
  require(times.expires_at_ms == 0 || times.expires_at_ms >= some_day_ms, "what is late expires now");
}

void request_head(std::string_view input) {
  listen::RequestHead head;
  std::string_view rest = input, line = take_line(rest);
  head.method = take_word(line);
  head.target = take_word(line);
  head.version = line;
  if (size_t query = head.target.find('?'); query != std::string_view::npos) {
    head.has_query = true;
    head.query = head.target.substr(query + 1);
    head.target = head.target.substr(0, query);
  }
  auto fields = take_fields(rest);
  head.fields = fields;
  head.bytes = input.size();
  auto plan = listen::check_head(head);
  if (auto* refusal = std::get_if<WireRefusal>(&plan)) check_refusal(*refusal);
  listen::is_web_client_query(head.query);

  std::string path = listen::decode_path(head.target);
  require(path.empty() || path[0] == '/', "a path begins with a slash");
  require(path.find('\0') == std::string::npos && (path + "/").find("/../") == std::string::npos, "a path goes nowhere else");
  if (auto channel = listen::parse_channel(head.target)) require(listen::path_matches(*channel, channel->path), "a channel is at its path");

  listen::proxy_advice(head);
  listen::is_probe(head);
  auto report = JsonValue::parse(listen::probe_report(head, "E", 1, "00"));
  require(report && report->is_object(), "the answer to a probe is JSON");

  listen::Answer answer;
  answer.status = 400;
  answer.text = std::string(input);
  std::string bytes = listen::format_answer(answer, true, false, some_day_ms);
  require(std::count(bytes.begin(), bytes.end(), '\n') == 7 && bytes.ends_with("\r\n\r\n"), "a text never ends a line of the answer");
  if (!fields.empty()) {
    retry_after_ms(fields[0].first, fields[0].second, some_day_ms);
    if (auto date = parse_http_date_ms(fields[0].second)) require(parse_http_date_ms(format_http_date(*date)) == date, "a date comes back");
  }
}

void query(std::string_view input) {
  const bool of_web_client = listen::is_web_client_query(input);
  auto read = listen::read_web_query(input);
  if (auto* refusal = std::get_if<WireRefusal>(&read)) return check_refusal(*refusal);
  const auto& found = std::get<listen::WebQuery>(read);
  require(of_web_client || (!found.message && !found.callback), "what only web clients send is seen as theirs");
  Headers wire;
  found.merge_into(wire);
  require(wire.entries().size() == found.headers.size(), "each key is a header");
  if (!found.callback) return;
  listen::Answer answer;
  answer.status = 412;
  answer.text = std::string(input);
  listen::wrap_in_callback(answer, *found.callback);
  const std::string_view script = answer.text;
  require(script.starts_with(*found.callback + "({ status: '") && script.ends_with("'})"), "an answer is one call");
  const std::string_view text = script.substr(found.callback->size() + 12, script.size() - found.callback->size() - 15);
  for (size_t i = 0; i < text.size(); ++i) {
    require(text[i] != '\'' && text[i] != '\n' && text[i] != '\r' && text[i] != '<', "a text ends neither the string nor a script");
    if (text[i] == '\\') ++i;
  }
}

}  // namespace gw::fuzz
