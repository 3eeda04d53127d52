#include <doctest/doctest.h>

#include "tools/distributor/stream_codec.hpp"

using namespace gw;
using namespace gw::distributor;

namespace {

std::string framed(const std::string& head, const std::string& more = "") {
  std::string frame;
  for (int shift : {24, 16, 8, 0}) frame += static_cast<char>(head.size() >> shift & 255);
  return frame + head + more;
}

Message message_of(const std::string& body) {
  Message message;
  message.headers.set(header::message_id, "id \"1\"");
  message.headers.set("Note", "a\nb");
  message.body = Body(body);
  return message;
}

// The answers in `text`, given in pieces of `piece` bytes; "!" and the error where one is broken.
std::string read_all(bool binary, const std::string& text, size_t piece) {
  AnswerReader reader(binary);
  std::string result;
  for (size_t at = 0; at < text.size(); at += piece) {
    reader.append(std::string_view(text).substr(at, piece));
    for (;;) {
      auto answer = reader.next();
      if (!answer) return result + "!" + answer.error().text;
      if (!*answer) break;
      result += std::to_string((*answer)->seq) + (*answer)->reason;
      for (const AnswerSend& send : (*answer)->sends) result += "<" + send.queue + send.sites + send.type + "=" + send.body + ">";
      result += " ";
    }
  }
  return result;
}

}  // namespace

TEST_CASE("stream: a message as a line and as a frame") {
  MessageInfo info{.seq = 7, .failures = 2};
  CHECK(stream_line(info, message_of("x\ty")) ==
        "{\"id\":\"id \\\"1\\\"\",\"seq\":7,\"attempt\":3,\"headers\":{\"NServiceBus.MessageId\":\"id \\\"1\\\"\",\"Note\":\"a\\nb\"},\"body\":\"x\\ty\"}\n");
  CHECK(stream_line(info, message_of("\xff")).find("\"body_base64\":\"/w==\"") != std::string::npos);
  const std::string frame = stream_frame_head(info, message_of("12345"));
  CHECK(static_cast<unsigned char>(frame[3]) == frame.size() - 4);
  CHECK(frame.ends_with(",\"body_bytes\":5}"));
}

TEST_CASE("stream: answers in pieces of any size") {
  const std::string lines =
      "{\"seq\":1,\"result\":\"ok\"}\n{ \"result\" : \"retry\", \"seq\":2, \"delay_s\":1.5, \"reason\":\" why\"}\n"
      "{\"seq\":3,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"body\":\"b\"},{\"to\":\"A,B\",\"body_base64\":\"Yw==\"},{\"type\":\"T\"}]}\n";
  const std::string frames = framed("{\"seq\":1,\"result\":\"ok\"}") + framed("{\"seq\":2,\"result\":\"fail\",\"reason\":\" why\"}") +
                             framed("{\"seq\":3,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"body_bytes\":2},{\"type\":\"T\",\"body_bytes\":1}]}", "abc") +
                             framed("{\"seq\":4,\"result\":\"ok\",\"body_bytes\":1,\"send\":[{\"queue\":\"Q\"}]}", "d") +
                             framed("{\"seq\":5,\"result\":\"ok\",\"body_bytes\":2}", "ef") + "{\"seq\":6,\"result\":\"ok\"}\n" +
                             framed("{\"seq\":7,\"result\":\"ok\"}");
  for (size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{1000}}) {
    CAPTURE(piece);
    CHECK(read_all(false, lines, piece) == "1 2 why 3<Q=b><A,B=c><T=> ");
    CHECK(read_all(true, frames, piece) == "1 2 why 3<Q=ab><T=c> 4<Q=d> 5 6 7 ");
  }
}

TEST_CASE("stream: what is no answer is quoted") {
  for (std::string line : {"hello", "", "[1]", "{}", "{\"seq\":-1,\"result\":\"ok\"}", "{\"seq\":\"1\",\"result\":\"ok\"}", "{\"seq\":1}",
                           "{\"seq\":1,\"result\":\"OK\"}", "{\"seq\":1,\"result\":\"retry\",\"delay_s\":-1}",
                           "{\"seq\":1,\"result\":\"ok\",\"send\":{}}", "{\"seq\":1,\"result\":\"ok\",\"send\":[{}]}",
                           "{\"seq\":1,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"to\":\"A\"}]}",
                           "{\"seq\":1,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"headers\":{\"a\":1}}]}",
                           "{\"seq\":1,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"body_base64\":\"?\"}]}",
                           "{\"seq\":1,\"result\":\"ok\",\"reason\":1}", "{\"seq\":007,\"result\":\"ok\"}"}) {
    CAPTURE(line);
    const std::string text = read_all(false, line + "\n", 100);
    CHECK(text.starts_with("!"));
    CHECK(text.ends_with("'" + line + "'"));
  }
  CHECK(read_all(false, std::string(1000, 'x') + "\n", 5000).ends_with("xxx...'"));
  CHECK(read_all(true, "hello", 5).starts_with("!a frame of "));
  CHECK(read_all(true, framed("{\"seq\":1,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"body_bytes\":99999999}]}"), 500).starts_with("!"));
  CHECK(read_all(false, "{\"seq\":1,\"result\":\"ok\",\"send\":[{\"queue\":\"Q\",\"body_bytes\":1}]}\n", 500).starts_with("!"));
  AnswerReader reader(false);
  reader.append("{\"seq\":1,\"result\":\"ok\"}\n{\"seq\":2,\"result\":\"ok\"}\n");
  REQUIRE(reader.next());
  CHECK(reader.wrong("why").text == "why: '{\"seq\":1,\"result\":\"ok\"}'");
}
