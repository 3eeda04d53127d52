#include "html.hpp"

#include <algorithm>
#include <cstdint>

namespace gw::inspect {
namespace {

constexpr std::string_view replacement = "\xef\xbf\xbd";

struct Point {
  uint32_t value = 0;
  size_t bytes = 0;  ///< 0: no UTF-8
};

Point read_point(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  const size_t length = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  if (length == 0 || text.size() < length) return {};
  uint32_t value = first & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    value = (value << 6) | (byte(i) & 0x3f);
  }
  const bool too_long = (length == 3 && value < 0x800) || (length == 4 && (value < 0x10000 || value > 0x10ffff));
  if (too_long || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, length};
}

// Controls, what turns the direction of text, what nobody sees, and what no browser may be given.
bool is_unsafe(uint32_t c) {
  if (c == '\n' || c == '\t') return false;
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) || (c & 0xfffe) == 0xfffe || (c >= 0xfdd0 && c <= 0xfdef) ||
         (c >= 0xe0000 && c <= 0xe007f);
}

}  // namespace

Html& Html::text(std::string_view bytes) {
  while (!bytes.empty()) {
    const Point point = read_point(bytes);
    switch (point.value) {
      case '&': out_ += "&amp;"; break;
      case '<': out_ += "&lt;"; break;
      case '>': out_ += "&gt;"; break;
      case '"': out_ += "&quot;"; break;
      case '\'': out_ += "&#39;"; break;
      case '\r':
        if (bytes.size() < 2 || bytes[1] != '\n') out_ += replacement;
        break;
      default:
        if (point.bytes == 0 || is_unsafe(point.value)) out_ += replacement;
        else out_ += bytes.substr(0, point.bytes);
    }
    bytes.remove_prefix(std::max<size_t>(point.bytes, 1));
  }
  return *this;
}

std::string Html::grouped(unsigned long long value) {
  const std::string digits = std::to_string(value);
  std::string shown;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) shown += ',';
    shown += digits[i];
  }
  return shown;
}

std::string url_part(std::string_view bytes) {
  constexpr char hex[] = "0123456789ABCDEF";
  std::string part;
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
    if (plain) part += c;
    else part.append("%").append(1, hex[byte >> 4]).append(1, hex[byte & 15]);
  }
  return part;
}

std::string shell_word(std::string_view bytes) {
  const bool plain = !bytes.empty() && std::all_of(bytes.begin(), bytes.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("-_./:@,+=%").find(c) != std::string_view::npos;
  });
  if (plain) return std::string(bytes);
  std::string word = "'";
  for (char c : bytes) {
    if (c == '\'') word += "'\\''";
    else word += c;
  }
  return word + "'";
}

}  // namespace gw::inspect
