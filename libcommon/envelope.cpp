#include "envelope.hpp"

#include <array>

namespace gw {
namespace {

constexpr size_t key_bytes_max = 1024;

void append_string(std::string& text, std::string_view value) {
  constexpr std::string_view plain = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
  constexpr char digits[] = "0123456789abcdef";
  text += '"';
  for (char c : value) {
    if (const size_t at = plain.find(c); at != std::string_view::npos) {
      text += '\\';
      text += letters[at];
    } else if (static_cast<unsigned char>(c) < 0x20) {
      text += "\\u00";
      text += digits[c >> 4];
      text += digits[c & 15];
    } else {
      text += c;
    }
  }
  text += '"';
}

/// ",0" to ",255"
struct Number {
  char text[4];
  uint8_t size;
};
constexpr std::array<Number, 256> numbers = [] {
  std::array<Number, 256> table{};
  for (unsigned value = 0; value < 256; ++value) {
    Number& number = table[value];
    number.text[number.size++] = ',';
    if (value >= 100) number.text[number.size++] = static_cast<char>('0' + value / 100);
    if (value >= 10) number.text[number.size++] = static_cast<char>('0' + value / 10 % 10);
    number.text[number.size++] = static_cast<char>('0' + value % 10);
  }
  return table;
}();

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

Error bad(std::string text) { return Error{ExitCode::bad_data, 0, std::move(text)}; }

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string envelope_begin(const Headers& headers) {
  std::string text = "{\"Headers\":{";
  bool first = true;
  for (const auto& [name, value] : headers.entries()) {
    if (!first) text += ',';
    first = false;
    append_string(text, name);
    text += ':';
    append_string(text, value);
  }
  return text + "},\"Message\":[";
}

void append_envelope_numbers(std::string& text, std::string_view bytes, bool first) {
  text.reserve(text.size() + bytes.size() * 4);
  for (char c : bytes) {
    const Number& number = numbers[static_cast<unsigned char>(c)];
    text.append(number.text + first, number.size - first);
    first = false;
  }
}

uint64_t envelope_digits(std::string_view bytes) {
  uint64_t digits = 0;
  for (char c : bytes) digits += 1u + (static_cast<unsigned char>(c) >= 10) + (static_cast<unsigned char>(c) >= 100);
  return digits;
}

Error EnvelopeReader::unexpected(char c, const char* wanted) const {
  std::string found = static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f ? "a byte" : "'" + std::string(1, c) + "'";
  return bad("byte " + std::to_string(at_) + " of the envelope: " + found + ", expected " + wanted);
}

Result<void> EnvelopeReader::feed(std::string_view bytes, std::string& message) {
  for (size_t i = 0; i < bytes.size(); ++i, ++at_) {
    const char c = bytes[i];
    // Nearly all bytes of an envelope are these.
    if (state_ == State::in_number && c >= '0' && c <= '9' && digits_ < 3) {
      code_ = code_ * 10 + static_cast<uint32_t>(c - '0');
      ++digits_;
      continue;
    }
    GW_TRY(step(c, message));
  }
  return {};
}

Result<void> EnvelopeReader::end() const {
  if (!complete()) return bad("the envelope ended after " + std::to_string(at_) + " bytes, before it was complete");
  return {};
}

Result<void> EnvelopeReader::step(char c, std::string& message) {
  switch (state_) {
    case State::in_key:
    case State::in_name:
    case State::in_header_value: {
      GW_TRY_ASSIGN(bool ended, string_byte(c));
      if (!ended) return {};
      if (state_ == State::in_key) {
        key_ = std::move(string_);
        state_ = State::colon;
      } else if (state_ == State::in_name) {
        name_ = std::move(string_);
        state_ = State::name_colon;
      } else {
        return end_header();
      }
      string_.clear();
      return {};
    }
    case State::null: return null_letter(c);
    case State::skip:
      if (skip_byte(c)) return {};
      break;  // the byte that ended a number or word
    case State::in_number:
      if (c >= '0' && c <= '9') return unexpected(c, "a number from 0 to 255");
      GW_TRY(end_number(message));
      break;
    default: break;
  }
  return is_blank(c) ? Result<void>() : structure(c);
}

Result<void> EnvelopeReader::structure(char c) {
  auto to = [this](State next) {
    state_ = next;
    return Result<void>();
  };
  auto to_string = [this](State next) {
    string_.clear();
    state_ = next;
    return Result<void>();
  };
  switch (state_) {
    case State::begin: return c == '{' ? to(State::key_or_end) : unexpected(c, "'{'");
    case State::key_or_end:
      if (c == '}') break;
      [[fallthrough]];
    case State::key: return c == '"' ? to_string(State::in_key) : unexpected(c, "the name of a member");
    case State::colon:
      if (c != ':') return unexpected(c, "':'");
      return begin_value();
    case State::value:
      state_ = State::skip;
      depth_ = 0;
      skip_string_ = skip_escape_ = false;
      if (c == ',' || c == '}' || c == ']' || c == ':') return unexpected(c, "a value");
      skip_byte(c);
      return {};
    case State::after_value:
      if (c == ',') return to(State::key);
      if (c == '}') break;
      return unexpected(c, "',' or '}'");
    case State::headers: return c == '{' ? to(State::name_or_end) : unexpected(c, "'{' and the headers");
    case State::name_or_end:
      if (c == '}') return has_headers_ = true, to(State::after_value);
      [[fallthrough]];
    case State::name: return c == '"' ? to_string(State::in_name) : unexpected(c, "the name of a header");
    case State::name_colon: return c == ':' ? to(State::header_value) : unexpected(c, "':'");
    case State::header_value:
      if (c == '"') return to_string(State::in_header_value);
      if (c != 'n') return unexpected(c, "the text of a header");
      null_at_ = 1;
      return to(State::null);
    case State::after_header:
      if (c == ',') return to(State::name);
      if (c == '}') return has_headers_ = true, to(State::after_value);
      return unexpected(c, "',' or '}'");
    case State::message: return c == '[' ? to(State::number_or_end) : unexpected(c, "'[' and the bytes as numbers");
    case State::number_or_end:
      if (c == ']') return to(State::after_value);
      [[fallthrough]];
    case State::number:
      if (c < '0' || c > '9') return unexpected(c, "a number from 0 to 255");
      code_ = static_cast<uint32_t>(c - '0');
      digits_ = 1;
      return to(State::in_number);
    case State::after_number:
      if (c == ',') return to(State::number);
      if (c == ']') return to(State::after_value);
      return unexpected(c, "',' or ']'");
    default: return unexpected(c, "nothing more");
  }
  // The end of the envelope.
  if (!has_headers_) return bad("the envelope has no Headers");
  if (!has_message_) return bad("the envelope has no Message");
  return to(State::end);
}

Result<void> EnvelopeReader::begin_value() {
  if (key_ == "Headers") {
    if (has_headers_) return bad("the envelope has Headers twice");
    state_ = State::headers;
  } else if (key_ == "Message") {
    if (has_message_) return bad("the envelope has Message twice");
    has_message_ = true;
    state_ = State::message;
  } else {
    state_ = State::value;
  }
  return {};
}

/// True: the string has ended.
Result<bool> EnvelopeReader::string_byte(char c) {
  if (escape_ == Escape::unicode) {
    GW_TRY(unicode_digit(c));
    return false;
  }
  if (escape_ == Escape::backslash) {
    escape_ = Escape::none;
    if (c == 'u') {
      escape_ = Escape::unicode;
      code_ = digits_ = 0;
      return false;
    }
    constexpr std::string_view letters = "\"\\/bfnrt", plain = "\"\\/\b\f\n\r\t";
    const size_t at = letters.find(c);
    if (at == std::string_view::npos || high_ != 0) return unexpected(c, high_ ? "the second half of a pair" : "an escape of JSON");
    string_ += plain[at];
    return false;
  }
  if (c == '\\') {
    escape_ = Escape::backslash;
    return false;
  }
  if (high_ != 0) return unexpected(c, "the second half of a pair");
  if (c == '"') return true;
  string_ += c;
  if (string_.size() > (state_ == State::in_key ? key_bytes_max : envelope_header_bytes_max)) return bad("the envelope's headers are too large");
  return false;
}

Result<void> EnvelopeReader::unicode_digit(char c) {
  const int value = hex_value(c);
  if (value < 0) return unexpected(c, "a hexadecimal digit");
  code_ = code_ * 16 + static_cast<uint32_t>(value);
  if (++digits_ < 4) return {};
  escape_ = Escape::none;
  return append_code(code_);
}

Result<void> EnvelopeReader::append_code(uint32_t code) {
  const bool is_low = code >= 0xdc00 && code < 0xe000;
  if (is_low != (high_ != 0)) return bad("byte " + std::to_string(at_) + " of the envelope: half of a pair of \\u escapes");
  if (code >= 0xd800 && code < 0xdc00) {
    high_ = code;
    return {};
  }
  if (is_low) code = 0x10000 + ((high_ - 0xd800) << 10) + (code - 0xdc00);
  high_ = 0;
  auto add = [this](uint32_t byte) { string_ += static_cast<char>(byte); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xc0 | code >> 6), add(0x80 | (code & 63));
  } else if (code < 0x10000) {
    add(0xe0 | code >> 12), add(0x80 | (code >> 6 & 63)), add(0x80 | (code & 63));
  } else {
    add(0xf0 | code >> 18), add(0x80 | (code >> 12 & 63)), add(0x80 | (code >> 6 & 63)), add(0x80 | (code & 63));
  }
  return {};
}

Result<void> EnvelopeReader::end_number(std::string& message) {
  if (code_ > 255) return bad("byte " + std::to_string(at_) + " of the envelope: " + std::to_string(code_) + ", expected a number from 0 to 255");
  message += static_cast<char>(code_);
  state_ = State::after_number;
  return {};
}

Result<void> EnvelopeReader::end_header() {
  header_bytes_ += name_.size() + string_.size();
  if (header_bytes_ > envelope_header_bytes_max || headers_.entries().size() >= envelope_headers_max)
    return bad("the envelope's headers are too large");
  headers_.entries().push_back({std::move(name_), std::move(string_)});
  name_.clear();
  string_.clear();
  state_ = State::after_header;
  return {};
}

/// A header without a value.
Result<void> EnvelopeReader::null_letter(char c) {
  constexpr std::string_view word = "null";
  if (c != word[null_at_]) return unexpected(c, "null");
  if (++null_at_ < word.size()) return {};
  string_.clear();
  return end_header();
}

/// False: the value ended before this byte.
bool EnvelopeReader::skip_byte(char c) {
  if (skip_string_) {
    if (skip_escape_)
      skip_escape_ = false;
    else if (c == '\\')
      skip_escape_ = true;
    else if (c == '"')
      skip_string_ = false;
    if (!skip_string_ && depth_ == 0) state_ = State::after_value;
    return true;
  }
  if (c == '"') {
    skip_string_ = true;
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if (c == '}' || c == ']') {
    if (depth_ == 0) return state_ = State::after_value, false;
    if (--depth_ == 0) state_ = State::after_value;
  } else if (depth_ == 0 && (c == ',' || is_blank(c))) {
    return state_ = State::after_value, false;
  }
  return true;
}

}  // namespace gw
