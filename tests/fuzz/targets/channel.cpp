// What channel programs say, and envelopes of httpvnext. Both come in pieces: any cut must give the same.
#include <algorithm>
#include <string>

#include "channel_protocol.hpp"
#include "envelope.hpp"
#include "json.hpp"
#include "message.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace gw::fuzz {

namespace {

/// Sizes of pieces that follow from the input, so that the same input is always cut the same way.
class Cutter {
 public:
  explicit Cutter(std::string_view input) : state_(static_cast<uint32_t>(input.size()) * 2654435761u + (input.empty() ? 0u : static_cast<unsigned char>(input.back()))) {}
  size_t next(size_t left) {
    state_ = state_ * 1664525u + 1013904223u;
    return std::min<size_t>(left, 1 + (state_ >> 16) % 9);
  }

 private:
  uint32_t state_;
};

struct Read {
  bool accepted = false, headers_seen = false;
  std::string message;
  Headers headers;
};

Read read_envelope(std::string_view input, bool in_pieces) {
  Read read;
  EnvelopeReader reader;
  Cutter cutter(input);
  while (!input.empty()) {
    size_t size = in_pieces ? cutter.next(input.size()) : input.size();
    if (!reader.feed(input.substr(0, size), read.message)) return read;
    input.remove_prefix(size);
  }
  read.accepted = static_cast<bool>(reader.end());
  read.headers_seen = reader.has_headers();
  read.headers = reader.headers();
  return read;
}

/// As a JSON parser that takes all of it at once sees it.
void compare_with_json(const Read& read, std::string_view input) {
  auto value = JsonValue::parse(input);
  if (!value || !value->is_object()) return;  // what is passed over is looked at less closely
  size_t members = 0;
  for (const auto& [name, member] : value->members()) members += name == "Headers" || name == "Message";
  auto headers = value->get("Headers");
  auto message = value->get("Message");
  if (members != 2 || !headers || !message) return;
  if (message->is_array()) {
    std::string bytes;
    for (const auto& item : message->items()) {
      auto number = item.integer();
      require(number && *number >= 0 && *number <= 255, "a message is made of bytes");
      bytes += static_cast<char>(*number);
    }
    require(bytes == read.message, "the message is the array");
  }
  if (!headers->is_object()) return;
  for (const auto& [name, header] : headers->members()) {
    const std::string* found = read.headers.find(name);
    require(found != nullptr || !header.string(), "a header is there");
  }
}

}  // namespace

void envelope(std::string_view input) {
  Read whole = read_envelope(input, false), pieces = read_envelope(input, true);
  require(whole.accepted == pieces.accepted, "pieces are read as the whole is");
  if (whole.accepted) {
    require(whole.message == pieces.message && whole.headers == pieces.headers, "pieces give what the whole gives");
    require(whole.headers_seen, "an envelope has headers");
    compare_with_json(whole, input);
  }
  // What is written is read back. The input is the message, and the value of a header if it is text.
  Headers headers;
  headers.set("NServiceBus.Id", "id-1");
  headers.set("Text", utf8_ok(input) ? input : std::string_view("none"));
  std::string text = envelope_begin(headers);
  const size_t half = input.size() / 2;
  append_envelope_numbers(text, input.substr(0, half), true);
  append_envelope_numbers(text, input.substr(half), half == 0);
  text += envelope_end;
  require(JsonValue::parse(text).has_value(), "an envelope is JSON");
  Read back = read_envelope(text, true);
  require(back.accepted && back.message == input && back.headers == headers, "an envelope is read as it was written");
}

void channel_protocol(std::string_view input) {
  ChannelHead head, slow_head;
  ChannelLine line;
  std::string_view all = input, rest = input;
  auto whole = head.feed(all);
  Result<bool> last = false;
  Cutter cutter(input);
  while (!rest.empty() && last && !*last) {
    std::string_view piece = rest.substr(0, cutter.next(rest.size()));
    const size_t size = piece.size();
    last = slow_head.feed(piece);
    rest.remove_prefix(size - piece.size());
  }
  require(whole.has_value() == last.has_value() && (!whole || *whole == *last), "pieces are read as the whole is");
  if (whole && *whole) {
    require(rest == all && head.length() == slow_head.length(), "the body begins at the same byte");
    Headers headers = head.take_headers();
    require(headers == slow_head.take_headers(), "pieces give what the whole gives");
    std::string again = format_channel_head(headers, head.length());
    std::string_view bytes = again;
    ChannelHead reader;
    auto read = reader.feed(bytes);
    require(read && *read && bytes.empty(), "a head is read as it was written");
    require(reader.length() == head.length() && reader.take_headers() == headers, "and gives the same");
  }

  std::string_view text = input;
  auto ended = line.feed(text);
  if (!ended) return;
  (void)check_channel_hello(line.text());
  auto answer = parse_channel_answer(line.text());
  if (!answer) return;
  std::string written = format_channel_answer(*answer);
  require(written.ends_with('\n') && std::count(written.begin(), written.end(), '\n') == 1, "an answer is one line");
  auto again = parse_channel_answer(std::string_view(written).substr(0, written.size() - 1));
  require(again && again->kind == answer->kind, "an answer is read as it was written");
}

}  // namespace gw::fuzz
