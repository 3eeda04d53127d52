// The body of a request on the channel httpvnext: {"Headers":{"NAME":"VALUE",...},"Message":[60,63,...]}, the message's bytes as a
// JSON array of numbers. Both directions work piece by piece: no body is ever in memory as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "message.hpp"
#include "result.hpp"

namespace gw {

/// All up to the first number.
std::string envelope_begin(const Headers& headers);
/// The numbers of `bytes`, each with a comma before it unless it is the `first` one of the message.
void append_envelope_numbers(std::string& text, std::string_view bytes, bool first);
inline constexpr std::string_view envelope_end = "]}";
/// How many digits the numbers of `bytes` have.
uint64_t envelope_digits(std::string_view bytes);

inline constexpr size_t envelope_headers_max = 2000;
inline constexpr size_t envelope_header_bytes_max = 4 * 1024 * 1024;

/// Takes an envelope apart. Other members than Headers and Message are passed over; the two may come in any order.
class EnvelopeReader {
 public:
  /// Takes the next bytes; those of the message that they hold are appended to `message`. bad_data: no such envelope; nothing may be
  /// fed after it.
  Result<void> feed(std::string_view bytes, std::string& message);
  /// There is no more. bad_data: something is missing.
  Result<void> end() const;
  /// Headers is complete.
  bool has_headers() const { return has_headers_; }
  bool complete() const { return state_ == State::end; }
  Headers& headers() { return headers_; }

 private:
  enum class State { begin, key_or_end, key, in_key, colon, value, after_value, headers, name_or_end, name, in_name, name_colon, header_value,
                     in_header_value, after_header, message, number_or_end, number, in_number, after_number, null, skip, end };
  enum class Escape { none, backslash, unicode };

  Result<void> step(char c, std::string& message);
  Result<void> structure(char c);
  Result<void> begin_value();
  Result<bool> string_byte(char c);
  Result<void> unicode_digit(char c);
  Result<void> append_code(uint32_t code);
  Result<void> end_number(std::string& message);
  Result<void> end_header();
  Result<void> null_letter(char c);
  bool skip_byte(char c);
  Error unexpected(char c, const char* wanted) const;

  State state_ = State::begin;
  Escape escape_ = Escape::none;
  std::string string_, key_, name_;
  unsigned digits_ = 0;      // of \uXXXX or of a number
  uint32_t code_ = 0;        // of \uXXXX, or the number
  uint32_t high_ = 0;        // first half of a pair
  size_t null_at_ = 0, depth_ = 0, header_bytes_ = 0;
  uint64_t at_ = 0;
  bool has_headers_ = false, has_message_ = false, skip_string_ = false, skip_escape_ = false;
  Headers headers_;
};

}  // namespace gw
