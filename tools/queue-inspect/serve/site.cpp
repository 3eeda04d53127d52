#include "site.hpp"

#include "assets.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr int64_t fresh_ms = 1000;  // a look is good for so long, however many people ask

// Nothing from elsewhere, nothing inline, in no frame, and no copy left in a cache of the browser.
constexpr std::string_view security_fields =
    "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'\r\n"
    "X-Frame-Options: DENY\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Opener-Policy: same-origin\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Cache-Control: no-store\r\n";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::optional<std::string> decoded(std::string_view text, bool plus_is_space) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+' && plus_is_space) {
      result += ' ';
    } else if (text[i] != '%') {
      result += text[i];
    } else {
      const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1, low = high >= 0 ? hex_value(text[i + 2]) : -1;
      if (low < 0) return std::nullopt;
      result += static_cast<char>(high * 16 + low);
      i += 2;
    }
  }
  if (result.find('\0') != std::string::npos) return std::nullopt;
  return result;
}

http::Answer asset(std::string_view bytes, std::string_view type) {
  http::Answer answer;
  answer.text = bytes;
  answer.content_type = type;
  return answer;
}

}  // namespace

std::optional<std::vector<std::string>> path_parts(std::string_view target) {
  if (!target.starts_with('/')) return std::nullopt;
  std::vector<std::string> parts;
  target.remove_prefix(1);
  while (!target.empty()) {
    const size_t slash = target.find('/');
    auto part = decoded(target.substr(0, slash), false);
    if (!part) return std::nullopt;
    parts.push_back(*std::move(part));
    if (slash == std::string_view::npos) break;
    target.remove_prefix(slash + 1);
  }
  return parts;
}

Query query_of(std::string_view query) {
  Query found;
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    const size_t equals = pair.find('=');
    auto key = decoded(pair.substr(0, equals), true);
    auto value = equals == std::string_view::npos ? std::optional<std::string>("") : decoded(pair.substr(equals + 1), true);
    if (key && value) found[*key] = *value;
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return found;
}

Site::Site(Root& root, Observer observer, std::string root_words) : root_(root), observer_(std::move(observer)), root_words_(std::move(root_words)), stories_(root) {}

Result<void> Site::look() {
  Result<void> result;
  thread_.run([&] { result = look_now(); });
  return result;
}

Result<void> Site::look_now() {
  GW_TRY_ASSIGN(now_, observer_.look());
  looked_ms_ = monotonic_ms();
  return {};
}

http::Answer Site::answer(const http::RequestHead& head) {
  http::Answer answer;
  if (head.target == "/style.css") answer = asset(assets::style(), "text/css; charset=utf-8");
  else if (head.target == "/live.js") answer = asset(assets::live(), "text/javascript; charset=utf-8");
  else if (head.target == "/icon.svg") answer = asset(assets::icon(), "image/svg+xml");
  else thread_.run([&] { answer = page_for(head); });
  answer.fields += security_fields;
  return answer;
}

http::Answer Site::page_for(const http::RequestHead& head) {
  http::Answer answer;
  answer.content_type = "text/html; charset=utf-8";
  if (!now_ || monotonic_ms() - looked_ms_ > fresh_ms) {
    if (auto looked = look_now(); !looked) {
      answer.status = 503;
      answer.content_type = "text/plain; charset=utf-8";
      answer.reason = "not now";
      answer.text = looked.error().text + "\n";
      return answer;
    }
  }
  const View view{*now_, root_, stories_, root_words_, page_pace.samples, page_pace.sample_every_ms};
  const auto parts = path_parts(head.target);
  const Page page = parts ? route(view, *parts, query_of(head.query)) : not_found_page("There is no such page.");
  answer.status = page.status;
  if (page.status != 200) answer.reason = page.title;
  answer.text = document(view, page);
  return answer;
}

Page Site::route(const View& view, const std::vector<std::string>& parts, const Query& query) {
  if (parts.empty()) return overview_page(view);
  if (parts.size() == 2 && parts[0] == "queue") return queue_page(view, parts[1], query);
  if (parts.size() == 3 && parts[0] == "message") return message_page(view, parts[1], parts[2]);
  if (parts.size() == 2 && parts[0] == "trace") return trace_page(view, parts[1]);
  return not_found_page("There is no such page.");
}

}  // namespace gw::inspect
