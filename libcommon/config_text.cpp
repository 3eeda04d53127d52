#include "config_text.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "json.hpp"

namespace gw {

namespace {

constexpr size_t faults_shown_max = 100;  // a file that is something else entirely must not fill the screen

// Where the first line begins that is not UTF-8.
size_t first_bad_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find('\n', at);
    end = end == std::string_view::npos ? text.size() : end + 1;
    if (!utf8_ok(text.substr(at, end - at))) return at;
    at = end;
  }
  return std::string_view::npos;
}

bool known_reference(std::string_view name) {
  for (const char* entity : {"amp", "lt", "gt", "quot", "apos"})
    if (name == entity) return true;
  if (name.size() < 2 || name[0] != '#') return false;
  bool hex = name[1] == 'x';
  uint32_t code = 0;
  std::string_view digits = name.substr(hex ? 2 : 1);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  if (code < 0x20) return code == '\t' || code == '\n' || code == '\r';
  return code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
}

void check_reference(std::string_view text, size_t at, Faults& faults) {
  size_t end = text.find(';', at);
  std::string_view name = end == std::string_view::npos || end - at > 12 ? "" : text.substr(at + 1, end - at - 1);
  if (!known_reference(name))
    faults.add_at(at, "'&' that begins no known character reference" + (name.empty() ? "" : " (" + in_quotes(name) + ")") +
                          ", expected &amp; &lt; &gt; &quot; &apos; or &#NUMBER;");
}

}  // namespace

size_t skip_unparsed(std::string_view text, size_t at) {
  constexpr std::pair<std::string_view, std::string_view> kinds[] = {{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}};
  for (auto [begin, end] : kinds) {
    if (text.substr(at, begin.size()) != begin) continue;
    size_t stop = text.find(end, at + begin.size());
    return stop == std::string_view::npos ? text.size() : stop + end.size();
  }
  return at;
}

Faults::Faults(std::string path, std::string_view text, Places places) : path_(std::move(path)), places_(places) {
  if (places_ == Places::columns) text_ = text;
  for (size_t at = 0; at < text.size(); ++at)
    if (text[at] == '\n') newlines_.push_back(at);
}

int Faults::line_of(size_t offset) const {
  return static_cast<int>(std::lower_bound(newlines_.begin(), newlines_.end(), offset) - newlines_.begin()) + 1;
}

int Faults::column_of(size_t offset) const {
  const size_t at = std::min(offset, text_.size()), newline = at == 0 ? std::string::npos : text_.rfind('\n', at - 1);
  const size_t begin = newline == std::string::npos ? 0 : newline + 1;
  auto starts_character = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; };
  return static_cast<int>(std::count_if(text_.begin() + static_cast<std::ptrdiff_t>(begin), text_.begin() + static_cast<std::ptrdiff_t>(at), starts_character)) + 1;
}

void Faults::add_at(size_t offset, std::string what) {
  found_.push_back({line_of(offset), places_ == Places::columns ? column_of(offset) : 0, std::move(what), ExitCode::config});
}

Error Faults::error() {
  std::stable_sort(found_.begin(), found_.end(), [](const Fault& a, const Fault& b) { return std::pair(a.line, a.column) < std::pair(b.line, b.column); });
  std::string lines;
  ExitCode code = ExitCode::no_permission;
  for (size_t i = 0; i < found_.size(); ++i) {
    if (found_[i].code == ExitCode::config) code = ExitCode::config;
    if (i < faults_shown_max) {
      const std::string column = found_[i].column == 0 ? "" : std::to_string(found_[i].column) + ":";
      lines += (i ? "\n" : "") + path_ + ":" + std::to_string(found_[i].line) + ":" + column + " " + found_[i].what;
    }
  }
  return Error{code, 0, lines};
}

std::string in_quotes(std::string_view text) {
  constexpr size_t shown_max = 200;
  return "'" + std::string(text.substr(0, shown_max)) + (text.size() > shown_max ? "..." : "") + "'";
}

void check_markup(std::string_view text, Faults& faults) {
  bool in_tag = false;
  char quote = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    char c = text[at];
    if (c == '&') check_reference(text, at, faults);
    if (quote != 0) {
      if (c == quote) quote = 0;
      if (c == '<') return faults.add_at(at, "'<' inside an attribute value, expected &lt; or the closing quote");
    } else if (in_tag) {
      if (c == '"' || c == '\'') quote = c;
      if (c == '>') in_tag = false;
    } else if (c == '<') {
      size_t end = skip_unparsed(text, at);
      if (end != at)
        at = end - 1;
      else
        in_tag = true;
    }
  }
}

bool check_bytes(std::string_view text, Faults& faults) {
  size_t bad = first_bad_utf8(text);
  if (bad != std::string_view::npos) {
    faults.add_at(bad, "bytes that are not UTF-8, expected a file in UTF-8");
    return false;
  }
  for (size_t at = 0; at < text.size(); ++at) {
    unsigned char c = static_cast<unsigned char>(text[at]);
    if (c >= 0x20 || c == '\t' || c == '\n' || c == '\r') continue;
    faults.add_at(at, "control byte " + std::to_string(c) + ", expected text");
    return false;
  }
  return true;
}

}  // namespace gw
