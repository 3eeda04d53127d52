#include "channel_protocol.hpp"

#include <algorithm>
#include <charconv>

namespace gw {
namespace {

constexpr size_t shown_bytes = 80;

Error broken(std::string text) { return Error{ExitCode::protocol, 0, std::move(text)}; }

/// What came, fit for an error text.
std::string shown(std::string_view text) {
  std::string result;
  for (char c : text.substr(0, shown_bytes)) result += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? '?' : c;
  return "'" + result + (text.size() > shown_bytes ? "..." : "") + "'";
}

std::optional<uint64_t> number(std::string_view digits) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

/// Moves what is before the next LF behind `line`, and the LF away. True: there was one.
Result<bool> take_line(std::string& line, std::string_view& bytes, size_t most) {
  const size_t end = bytes.find('\n');
  const std::string_view part = bytes.substr(0, end);
  if (line.size() + part.size() > most) return broken("a line of more than " + std::to_string(most) + " bytes");
  line += part;
  bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
  return end != std::string_view::npos;
}

}  // namespace

Result<bool> ChannelLine::feed(std::string_view& bytes) { return take_line(text_, bytes, channel_line_bytes_max); }

Result<void> check_channel_hello(std::string_view line) {
  constexpr std::string_view word = "gw-channel ";
  if (!line.starts_with(word)) return broken("the first line is " + shown(line) + ", expected 'gw-channel 1'");
  if (number(line.substr(word.size())) != 1) return broken("no common version: it speaks " + shown(line) + ", we 'gw-channel 1'");
  return {};
}

void ChannelHead::clear() { *this = ChannelHead(); }

Result<bool> ChannelHead::feed(std::string_view& bytes) {
  while (!bytes.empty()) {
    GW_TRY_ASSIGN(bool whole, take_line(line_, bytes, channel_head_bytes_max));
    if (!whole) return false;
    GW_TRY_ASSIGN(bool complete, end_of_line());
    line_.clear();
    if (complete) return true;
  }
  return false;
}

Result<bool> ChannelHead::end_of_line() {
  if (!length_) {
    constexpr std::string_view word = "message ";
    if (line_.starts_with(word)) length_ = number(std::string_view(line_).substr(word.size()));
    if (!length_ || *length_ > channel_body_bytes_max) return broken("a line " + shown(line_) + ", expected 'message LENGTH'");
    return false;
  }
  if (line_.empty()) {
    auto headers = headers_from_text(lines_);
    if (!headers) return broken(headers.error().text);
    headers_ = *std::move(headers);
    lines_.clear();
    return true;
  }
  if (++line_count_ > channel_header_lines_max) return broken("more than " + std::to_string(channel_header_lines_max) + " header lines");
  if (lines_.size() + line_.size() + 1 > channel_head_bytes_max)
    return broken("header lines of more than " + std::to_string(channel_head_bytes_max) + " bytes");
  lines_.append(line_).push_back('\n');
  return false;
}

std::string format_channel_head(const Headers& headers, uint64_t length) {
  return "message " + std::to_string(length) + "\n" + headers_to_text(headers) + "\n";
}

Result<ChannelAnswer> parse_channel_answer(std::string_view line) {
  const size_t blank = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, blank);
  ChannelAnswer answer;
  answer.text = line.substr(std::min(blank + 1, line.size()));
  if (word == "ok" && blank == line.size()) return answer;
  answer.kind = word == "refuse" ? ChannelAnswer::Kind::refuse : ChannelAnswer::Kind::retry;
  if (word == "retry" || word == "refuse") return answer;
  return broken("the answer is " + shown(line) + ", expected 'ok', 'retry TEXT' or 'refuse TEXT'");
}

std::string format_channel_answer(const ChannelAnswer& answer) {
  if (answer.kind == ChannelAnswer::Kind::ok) return "ok\n";
  std::string line = answer.kind == ChannelAnswer::Kind::retry ? "retry " : "refuse ";
  line += answer.text.substr(0, channel_line_bytes_max / 2);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line + "\n";
}

}  // namespace gw
