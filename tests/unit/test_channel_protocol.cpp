#include <doctest/doctest.h>

#include "channel_protocol.hpp"

namespace {

/// Feeds `text` in pieces of `piece` bytes; what is left behind the head.
gw::Result<std::string> feed(gw::ChannelHead& head, std::string_view text, size_t piece) {
  while (!text.empty()) {
    std::string_view part = text.substr(0, piece);
    const size_t size = part.size();
    auto complete = head.feed(part);
    if (!complete) return complete.error();
    text.remove_prefix(size - part.size());
    if (*complete) return std::string(text);
  }
  return gw::Error{gw::ExitCode::not_now, 0, "not complete"};
}

std::string error_of(std::string_view text) {
  gw::ChannelHead head;
  auto fed = feed(head, text, text.size());
  return fed ? "accepted" : fed.error().code == gw::ExitCode::protocol ? fed.error().text : "unfinished";
}

}  // namespace

TEST_CASE("channel_protocol: a head in any pieces") {
  const std::string text = "message 5\nNServiceBus.Id: a\nX: 100%25 %0a\xc3\xbc\nEmpty: \n\nhello";
  for (size_t piece = 1; piece <= text.size(); ++piece) {
    CAPTURE(piece);
    gw::ChannelHead head;
    CHECK_FALSE(head.begun());
    auto rest = feed(head, text, piece);
    REQUIRE(rest);
    CHECK(std::string("hello").starts_with(rest->substr(0, 5)));
    CHECK(head.length() == 5);
    gw::Headers headers = head.take_headers();
    REQUIRE(headers.entries().size() == 3);
    CHECK(headers.get("NServiceBus.Id") == "a");
    CHECK(headers.get("X") == "100% \n\xc3\xbc");
    CHECK(headers.find("Empty"));
    head.clear();
    CHECK_FALSE(head.begun());
  }
}

TEST_CASE("channel_protocol: what is cut is not complete, wherever") {
  const std::string text = "message 5\nA: b\n\n";
  for (size_t size = 1; size < text.size(); ++size) {
    gw::ChannelHead head;
    auto fed = feed(head, text.substr(0, size), size);
    CHECK_FALSE(fed);
    CHECK(head.begun());
  }
}

TEST_CASE("channel_protocol: heads that are none") {
  for (const char* text : {"\n", "hello\n", "message\n", "message \n", "message -1\n", "message +1\n", "message 1 \n", "message 0x5\n",
                           "message 99999999999999999999999\n", "message 9007199254740993\n", "Message 1\n", "message 1\r\n", "gw-channel 1\n"}) {
    CAPTURE(text);
    CHECK(error_of(text).find("expected 'message LENGTH'") != std::string::npos);
  }
  CHECK(error_of("message 1\nno colon\n\n").find("Name: value") != std::string::npos);
  CHECK(error_of("message 1\nA: %zz\n\n") != "accepted");
  CHECK(error_of("message 1\nA: b\na: c\n\n") != "accepted");
  CHECK(error_of(std::string_view("message 1\nA: b\0\n\n", 17)) != "accepted");
  CHECK(error_of("message 9007199254740992\n\n") == "accepted");
  CHECK(error_of("message 0\n\n") == "accepted");
}

TEST_CASE("channel_protocol: limits of heads") {
  std::string many = "message 1\n";
  for (size_t i = 0; i <= gw::channel_header_lines_max; ++i) many += "A" + std::to_string(i) + ": b\n";
  CHECK(error_of(many + "\n").find("header lines") != std::string::npos);
  CHECK(error_of("message 1\nA: " + std::string(gw::channel_head_bytes_max + 1, 'x')).find("bytes") != std::string::npos);
  std::string large = "message 1\n";
  for (int i = 0; i < 5; ++i) large += "A" + std::to_string(i) + ": " + std::string(1 << 20, 'x') + "\n";
  CHECK(error_of(large + "\n").find("header lines of more than") != std::string::npos);
  // An endless line never grows beyond the limit.
  gw::ChannelHead head;
  const std::string block(1 << 20, 'x');
  bool refused = false;
  for (int i = 0; i < 6 && !refused; ++i) {
    std::string_view part = block;
    refused = !head.feed(part);
  }
  CHECK(refused);
}

TEST_CASE("channel_protocol: a head that is written can be read") {
  gw::Headers headers;
  headers.set("NServiceBus.Header.X", "a\tb\r\n% \x01 \xe2\x82\xac");
  headers.set("odd: name", "v");
  const std::string text = gw::format_channel_head(headers, 7);
  gw::ChannelHead head;
  REQUIRE(feed(head, text, 3));
  CHECK(head.length() == 7);
  CHECK(head.take_headers() == headers);
}

TEST_CASE("channel_protocol: the first line") {
  CHECK(gw::check_channel_hello("gw-channel 1"));
  for (const char* line : {"", "gw-channel", "gw-channel ", "gw-channel 2", "gw-channel 1 ", "gw-channel 1\r", "GW-CHANNEL 1", "gw-channel 01x", "ok"}) {
    CAPTURE(line);
    auto checked = gw::check_channel_hello(line);
    REQUIRE_FALSE(checked);
    CHECK(checked.error().code == gw::ExitCode::protocol);
  }
}

TEST_CASE("channel_protocol: answers") {
  using Kind = gw::ChannelAnswer::Kind;
  CHECK(gw::parse_channel_answer("ok")->kind == Kind::ok);
  CHECK(gw::parse_channel_answer("retry")->kind == Kind::retry);
  CHECK(gw::parse_channel_answer("retry no room")->text == "no room");
  CHECK(gw::parse_channel_answer("refuse what  is this")->kind == Kind::refuse);
  CHECK(gw::parse_channel_answer("refuse what  is this")->text == "what  is this");
  for (const char* line : {"", "OK", "ok ", "ok then", "okay", "retryx", "refused", " ok", "message 1"}) {
    CAPTURE(line);
    CHECK_FALSE(gw::parse_channel_answer(line));
  }
  CHECK(gw::format_channel_answer({}) == "ok\n");
  CHECK(gw::format_channel_answer({Kind::retry, "two\nlines\x7f"}) == "retry two lines \n");
  CHECK(gw::format_channel_answer({Kind::refuse, std::string(1 << 20, 'x')}).size() <= gw::channel_line_bytes_max);
}

TEST_CASE("channel_protocol: one line, and its limit") {
  gw::ChannelLine line;
  std::string_view part = "o";
  CHECK_FALSE(*line.feed(part));
  part = "k\nmore";
  CHECK(*line.feed(part));
  CHECK(line.text() == "ok");
  CHECK(part == "more");
  line.clear();
  const std::string lots(gw::channel_line_bytes_max + 1, 'x');
  part = lots;
  CHECK_FALSE(line.feed(part));
}
