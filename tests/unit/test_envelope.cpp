#include <doctest/doctest.h>

#include "envelope.hpp"
#include "hash.hpp"
#include "tools/gw-send/forward/envelope_upload.hpp"

namespace {

struct Read {
  std::string error, message;
  gw::Headers headers;
};

Read read(std::string_view text, size_t piece = SIZE_MAX) {
  gw::EnvelopeReader reader;
  Read result;
  for (size_t at = 0; at < text.size(); at += std::min(piece, text.size())) {
    if (auto fed = reader.feed(text.substr(at, piece), result.message); !fed) {
      result.error = fed.error().text;
      return result;
    }
  }
  if (auto ended = reader.end(); !ended) result.error = ended.error().text;
  result.headers = reader.headers();
  return result;
}

std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

}  // namespace

TEST_CASE("envelope: the form of the original, byte by byte") {
  gw::Headers headers;
  headers.set("NServiceBus.Id", "a\"\\/\b\f\n\r\tb");
  headers.set("Gr\xc3\xbcn", "\x01\x7f");
  std::string text = gw::envelope_begin(headers);
  gw::append_envelope_numbers(text, "<?x", true);
  gw::append_envelope_numbers(text, std::string_view("\0\xff", 2), false);
  text += gw::envelope_end;
  CHECK(text == "{\"Headers\":{\"NServiceBus.Id\":\"a\\\"\\\\/\\b\\f\\n\\r\\tb\",\"Gr\xc3\xbcn\":\"\\u0001\x7f\"},\"Message\":[60,63,120,0,255]}");
  Read back = read(text);
  CHECK(back.error == "");
  CHECK(back.headers == headers);
  CHECK(back.message == std::string("<?x\0\xff", 5));
}

TEST_CASE("envelope: every byte, in any pieces") {
  gw::Headers headers;
  headers.set("A", "b\xf0\x9f\x90\x98");
  std::string text = gw::envelope_begin(headers);
  gw::append_envelope_numbers(text, all_bytes(), true);
  text += gw::envelope_end;
  CHECK(gw::envelope_digits(all_bytes()) == 10 + 90 * 2 + 156 * 3);
  for (size_t piece = 1; piece < 40; ++piece) {
    Read back = read(text, piece);
    CHECK(back.error == "");
    CHECK(back.message == all_bytes());
    CHECK(back.headers == headers);
  }
  for (size_t size = 0; size < text.size(); ++size) CHECK_FALSE(read(text.substr(0, size), 7).error.empty());
}

TEST_CASE("envelope: what other writers of JSON do") {
  Read back = read(" { \"Message\" : [ 1 , 2,\n3 ] , \"Other\":{\"a\":[1,{\"}\":\"]\\\"\"}]}, \"X\":-1.5e3,\"Y\":true,\"Z\":\"\\\\\",\r\n"
                   "\"Headers\": { \"A\" : \"\\u00e4\\ud83d\\ude00\\/\" , \"B\":null } } \n");
  CHECK(back.error == "");
  CHECK(back.message == "\x01\x02\x03");
  CHECK(back.headers.get("A") == "\xc3\xa4\xf0\x9f\x98\x80/");
  CHECK(back.headers.find("B"));
  CHECK(read("{\"Headers\":{},\"Message\":[]}").error == "");
}

TEST_CASE("envelope: what is none") {
  for (const char* text :
       {"", "[]", "null", "{}", "{\"Headers\":{}}", "{\"Message\":[]}", "{\"Headers\":{},\"Message\":[]}x", "{\"Headers\":{},\"Message\":[],}",
        "{\"Headers\":{},\"Message\":\"PGE+\"}", "{\"Headers\":{},\"Message\":[256]}", "{\"Headers\":{},\"Message\":[-1]}",
        "{\"Headers\":{},\"Message\":[1.5]}", "{\"Headers\":{},\"Message\":[1e2]}", "{\"Headers\":{},\"Message\":[0001]}",
        "{\"Headers\":{},\"Message\":[1 2]}", "{\"Headers\":{},\"Message\":[1,]}", "{\"Headers\":{},\"Message\":[,1]}", "{\"Headers\":{},\"Message\":[[1]]}",
        "{\"Headers\":[],\"Message\":[]}", "{\"Headers\":{\"A\":1},\"Message\":[]}", "{\"Headers\":{\"A\":nul},\"Message\":[]}",
        "{\"Headers\":{\"A\"},\"Message\":[]}", "{\"Headers\":{\"A\":\"b\",},\"Message\":[]}", "{\"Headers\":{},\"Headers\":{},\"Message\":[]}",
        "{\"Headers\":{},\"Message\":[],\"Message\":[]}", "{Headers:{},\"Message\":[]}", "{\"Headers\":{\"A\":\"\\x\"},\"Message\":[]}",
        "{\"Headers\":{\"A\":\"\\ud83d\"},\"Message\":[]}", "{\"Headers\":{\"A\":\"\\ude00\"},\"Message\":[]}",
        "{\"Headers\":{\"A\":\"\\ud83dx\"},\"Message\":[]}", "{\"Headers\":{\"A\":\"\\ud83d\\n\"},\"Message\":[]}", "{\"X\":,\"Headers\":{},\"Message\":[]}",
        "{\"Headers\":{},\"Message\":[]]"}) {
    CAPTURE(text);
    for (size_t piece : {size_t{1}, size_t{3}, SIZE_MAX}) CHECK_FALSE(read(text, piece).error.empty());
  }
}

TEST_CASE("envelope: limits") {
  gw::Headers many;
  for (size_t i = 0; i <= gw::envelope_headers_max; ++i) many.entries().push_back({"A" + std::to_string(i), "b"});
  CHECK(read(gw::envelope_begin(many) + "]}").error.find("too large") != std::string::npos);
  gw::Headers large;
  large.set("A", std::string(gw::envelope_header_bytes_max + 1, 'x'));
  CHECK(read(gw::envelope_begin(large) + "]}").error.find("too large") != std::string::npos);
  // Depth costs nothing.
  const std::string deep(1 << 20, '[');
  CHECK_FALSE(read("{\"X\":" + deep).error.empty());
}

TEST_CASE("envelope_upload: the announced size, the same bytes twice, the answer that is expected") {
  gw::Headers headers;
  headers.set("NServiceBus.Id", "x");
  for (size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{100'000}}) {
    std::string bytes;
    for (size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7);
    const gw::Body body(bytes);
    gw::EnvelopeUpload upload(headers, body, gw::envelope_digits(bytes));
    auto all = [&](size_t piece) {
      std::string text;
      for (;;) {
        auto part = upload.read(piece);
        REQUIRE(part);
        if (part->empty()) return text;
        text += *part;
      }
    };
    REQUIRE(upload.read(50));
    upload.rewind();
    const std::string text = all(333);
    CHECK(text.size() == upload.size());
    const gw::Md5 sum = gw::md5(text);
    CHECK(upload.expected_answer() == gw::hex(std::string_view(reinterpret_cast<const char*>(sum.data()), sum.size())));
    Read back = read(text);
    CHECK(back.error == "");
    CHECK(back.message == bytes);
  }
}
