#include "http.hpp"

#include <strings.h>

#include <algorithm>
#include <array>

#include "wire_codec.hpp"

namespace gw::http {

namespace {

bool equal_no_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

/// What a field name is made of (RFC 9110, token).
constexpr std::array<bool, 256> token_table = [] {
  std::array<bool, 256> table{};
  for (char c : std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) table[static_cast<unsigned char>(c)] = true;
  return table;
}();

bool is_token(std::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) { return token_table[static_cast<unsigned char>(c)]; });
}

bool has_control(std::string_view value) {
  return std::any_of(value.begin(), value.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

size_t count(const RequestHead& head, std::string_view name) {
  return static_cast<size_t>(
      std::count_if(head.fields.begin(), head.fields.end(), [&](const HeadField& field) { return equal_no_case(field.first, name); }));
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

WireRefusal bad(std::string text) { return WireRefusal{400, std::move(text)}; }

std::optional<WireRefusal> check_fields(const RequestHead& head) {
  if (head.fields.size() > head_fields_max)
    return WireRefusal{431, "more than " + std::to_string(head_fields_max) + " header fields"};
  if (head.bytes > head_bytes_max) return WireRefusal{431, "header larger than " + std::to_string(head_bytes_max) + " bytes"};
  if (head.loose) return bad("malformed header");
  for (const auto& [name, value] : head.fields)
    if (!is_token(name) || has_control(value)) return bad("malformed header field");
  // The health check of a load balancer (HAProxy's) is HTTP/1.0 and names no host.
  const bool bare_check = head.version == "1.0" && (head.method == "GET" || head.method == "HEAD");
  if (const size_t hosts = count(head, "Host"); hosts != 1 && !(hosts == 0 && bare_check)) return bad("exactly one Host header is required");
  return std::nullopt;
}

std::variant<BodyPlan, WireRefusal> read_framing(const RequestHead& head) {
  size_t lengths = count(head, "Content-Length"), codings = count(head, "Transfer-Encoding");
  if (lengths > 1 || codings > 1 || (lengths && codings)) return bad("ambiguous length of the body");
  BodyPlan plan;
  if (codings) {
    if (!equal_no_case(trimmed(*head.find("Transfer-Encoding")), "chunked")) return bad("Transfer-Encoding is not 'chunked'");
    if (head.version != "1.1") return bad("Transfer-Encoding needs HTTP/1.1");
    plan.chunked = true;
  } else if (lengths) {
    std::string_view digits = trimmed(*head.find("Content-Length"));
    if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string_view::npos)
      return bad("Content-Length is not a number");
    for (char c : digits) plan.length = plan.length * 10 + static_cast<uint64_t>(c - '0');
  } else if (head.method == "POST") {
    return WireRefusal{411, "Length Required"};
  }
  return plan;
}

const char* standard_reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Error";
  }
}

// The original repeats the text in the status line. Not what a header line cannot carry.
bool fits_status_line(std::string_view text) {
  return !text.empty() && text.size() <= 256 && std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

}  // namespace

std::optional<std::string_view> RequestHead::find(std::string_view name) const {
  for (const auto& [field, value] : fields)
    if (equal_no_case(field, name)) return value;
  return std::nullopt;
}

std::variant<BodyPlan, WireRefusal> check_head(const RequestHead& head) {
  if (auto refusal = check_fields(head)) return *std::move(refusal);
  auto framing = read_framing(head);
  auto* plan = std::get_if<BodyPlan>(&framing);
  if (!plan) return framing;
  if ((head.method == "GET" || head.method == "HEAD") && (plan->chunked || plan->length)) return bad("a " + std::string(head.method) + " request has no body");
  if (auto expect = head.find("Expect")) {
    if (!equal_no_case(trimmed(*expect), "100-continue")) return WireRefusal{417, "Expectation Failed"};
    plan->expects_continue = head.version == "1.1" && (plan->chunked || plan->length);
  }
  return framing;
}

bool is_web_client_query(std::string_view query) {
  while (!query.empty()) {
    size_t end = query.find_first_of("&;");
    std::string_view pair = query.substr(0, end);
    std::string key = wire_decode(pair.substr(0, pair.find('=')));
    if (equal_no_case(key, "Message") || equal_no_case(key, "callback")) return true;
    if (key.size() >= 12 && equal_no_case(std::string_view(key).substr(0, 12), "NServiceBus.")) return true;
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return false;
}

std::string format_answer(const Answer& answer, bool closes, bool with_body, int64_t now_ms) {
  const bool is_error = answer.status >= 400;
  const bool own_reason = is_error && answer.content_type != "text/html" && fits_status_line(answer.plain_text());
  std::string out;
  out.reserve(256 + answer.fields.size() + 2 * answer.text.size());
  out += "HTTP/1.1 ";
  out += std::to_string(answer.status);
  out += ' ';
  out += own_reason ? std::string_view(answer.plain_text()) : std::string_view(standard_reason(answer.status));
  if (answer.status != 204) out.append("\r\nContent-Type: ").append(answer.content_type);
  out += "\r\nDate: ";
  out += format_http_date(now_ms);
  out += "\r\n";
  out += answer.fields;
  if (closes) out += "Connection: close\r\n";
  out += "X-Content-Type-Options: nosniff\r\n";
  if (answer.status != 204) out += "Content-Length: " + std::to_string(answer.text.size()) + "\r\n";
  out += "\r\n";
  if (with_body) out += answer.text;
  return out;
}

}  // namespace gw::http
