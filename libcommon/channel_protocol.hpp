// The line protocol between a gateway tool and a channel program, version 1 (gw-channel(7)). Parsing takes the bytes as they come, in
// any pieces, and touches nothing but memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "message.hpp"
#include "result.hpp"

namespace gw {

/// What both sides write first.
inline constexpr std::string_view channel_hello = "gw-channel 1\n";
inline constexpr size_t channel_line_bytes_max = 64 * 1024;      ///< of an answer or the first line
inline constexpr size_t channel_head_bytes_max = 4 * 1024 * 1024;  ///< header lines of a message, all together
inline constexpr size_t channel_header_lines_max = 2000;
inline constexpr uint64_t channel_body_bytes_max = uint64_t{1} << 53;

/// Collects one line.
class ChannelLine {
 public:
  /// Takes what belongs to the line off the front of `bytes`, its LF too. True: complete. protocol: longer than the limit.
  Result<bool> feed(std::string_view& bytes);
  /// Without the LF; only when complete.
  const std::string& text() const { return text_; }
  bool begun() const { return !text_.empty(); }
  void clear() { text_.clear(); }

 private:
  std::string text_;
};

/// protocol: not `gw-channel VERSION`, or no version that we speak.
Result<void> check_channel_hello(std::string_view line);

/// Collects the head of a message: `message LENGTH`, header lines, an empty line.
class ChannelHead {
 public:
  /// Takes what belongs to the head off the front of `bytes`. True: complete, what is left begins the body. protocol: no such head,
  /// or larger than the limits.
  Result<bool> feed(std::string_view& bytes);
  bool begun() const { return !line_.empty() || length_.has_value(); }
  /// When complete.
  uint64_t length() const { return *length_; }
  Headers take_headers() { return std::move(headers_); }
  void clear();

 private:
  Result<bool> end_of_line();
  std::string line_, lines_;
  size_t line_count_ = 0;
  std::optional<uint64_t> length_;
  Headers headers_;
};

/// The head of a message whose body has `length` bytes.
std::string format_channel_head(const Headers& headers, uint64_t length);

/// The answer to a message.
struct ChannelAnswer {
  enum class Kind { ok, retry, refuse } kind = Kind::ok;
  std::string text;  ///< why; empty with ok
};
/// protocol: anything but `ok`, `retry TEXT`, `refuse TEXT`.
Result<ChannelAnswer> parse_channel_answer(std::string_view line);
/// One line with its LF; control bytes of the text become blanks.
std::string format_channel_answer(const ChannelAnswer& answer);

}  // namespace gw
