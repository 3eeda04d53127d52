#include "web_client.hpp"

#include <strings.h>

#include <algorithm>

#include "json.hpp"

namespace gw::listen {

namespace {

constexpr size_t callback_bytes_max = 128;
constexpr size_t asked_headers_bytes_max = 4096;

bool same_name(std::string_view a, std::string_view b) { return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0; }

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$'; }

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// Inside of '...' in a script, also one that stands in a page.
std::string script_text(std::string_view text) {
  constexpr char hex_digits[] = "0123456789abcdef";
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\'' || byte == '\\') {
      result += '\\';
      result += text[i];
    } else if (byte < 0x20 || byte == 0x7f || byte == '<' || byte == '>' || byte == '&') {
      result += "\\x";
      result += hex_digits[byte >> 4];
      result += hex_digits[byte & 15];
    } else if (text.substr(i, 2) == "\xe2\x80" && i + 2 < text.size() && (text[i + 2] == '\xa8' || text[i + 2] == '\xa9')) {
      result += text[i + 2] == '\xa8' ? "\\u2028" : "\\u2029";
      i += 2;
    } else {
      result += text[i];
    }
  }
  return result;
}

/// The page's origin, if this channel speaks with browsers at all and the request comes from one.
std::optional<std::string_view> origin_of(const Channel& channel, const RequestHead& head) {
  if (channel.cors_origins.empty()) return std::nullopt;
  return head.find("Origin");
}

bool is_allowed(const Channel& channel, std::string_view origin) {
  return std::any_of(channel.cors_origins.begin(), channel.cors_origins.end(), [&](const std::string& one) { return same_name(one, origin); });
}

/// Names that a browser wants to send: `content-md5, nservicebus.id`.
bool names_only(std::string_view list) {
  return list.size() <= asked_headers_bytes_max &&
         std::all_of(list.begin(), list.end(), [](char c) { return c > 0x20 && c < 0x7f ? c != '"' && c != '(' && c != ')' && c != '<' && c != '>' : c == ' '; });
}

}  // namespace

void WebQuery::merge_into(Headers& wire) const {
  for (const auto& [name, value] : headers) wire.set(name, value);
}

std::variant<WebQuery, WireRefusal> read_web_query(std::string_view query) {
  WebQuery result;
  for (size_t at = 0; at < query.size();) {
    const size_t end = std::min(query.find('&', at), query.size());
    const std::string_view pair = query.substr(at, end - at);
    at = end + 1;
    if (pair.empty()) continue;
    const size_t equals = std::min(pair.find('='), pair.size());
    std::string name = wire_decode(pair.substr(0, equals)), value = wire_decode(pair.substr(std::min(equals + 1, pair.size())));
    if (name.empty()) continue;
    if (has_control(name)) return WireRefusal{400, "query key with control characters"};
    if (!utf8_ok(name)) return WireRefusal{400, "query key is not UTF-8"};
    if (!utf8_ok(value)) return WireRefusal{400, "query value of '" + name + "' is not UTF-8"};
    for (const auto& [other, unused] : result.headers)
      if (same_name(other, name)) return WireRefusal{400, "query key '" + name + "' is there twice"};
    if (result.headers.size() == query_keys_max) return WireRefusal{431, "more than " + std::to_string(query_keys_max) + " query keys"};
    if (same_name(name, "Message")) result.message = value;
    if (same_name(name, "callback")) {
      if (!callback_ok(value)) return WireRefusal{400, "the callback is not a name"};
      result.callback = value;
    }
    result.headers.emplace_back(std::move(name), std::move(value));
  }
  return result;
}

bool callback_ok(std::string_view name) {
  if (name.empty() || name.size() > callback_bytes_max || !is_letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '.'; });
}

void wrap_in_callback(Answer& answer, const std::string& callback) {
  answer.reason = answer.text;
  answer.text = callback + "({ status: '" + script_text(answer.text) + "'})";
  answer.content_type = "application/javascript; charset=utf-8";
}

Exchange::Read MessageExchange::read(char* into, size_t room, size_t& got) {
  got = std::min(room, left_.size());
  std::copy_n(left_.data(), got, into);
  left_.remove_prefix(got);
  return got > 0 ? Read::data : Read::end;
}

std::optional<Answer> answer_origin(const Channel& channel, const RequestHead& head) {
  const auto origin = origin_of(channel, head);
  if (origin && !is_allowed(channel, *origin)) {
    Answer refused;
    refused.status = 403;
    refused.text = "origin '" + std::string(*origin) + "' is not allowed";
    return refused;
  }
  if (head.method != "OPTIONS" || channel.cors_origins.empty()) return std::nullopt;
  Answer answer;
  answer.status = 204;
  answer.fields = "Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: 600\r\n";
  if (auto asked = head.find("Access-Control-Request-Headers"); asked && names_only(*asked))
    answer.fields += "Access-Control-Allow-Headers: " + std::string(*asked) + "\r\n";
  return answer;
}

void allow_origin(const Channel& channel, const RequestHead& head, Answer& answer) {
  if (channel.cors_origins.empty()) return;
  answer.fields += "Vary: Origin\r\n";
  if (const auto origin = origin_of(channel, head); origin && is_allowed(channel, *origin))
    answer.fields += "Access-Control-Allow-Origin: " + std::string(*origin) + "\r\n";
}

}  // namespace gw::listen
