#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "hash.hpp"
#include "message.hpp"
#include "units.hpp"

using namespace gw;

namespace {

std::shared_ptr<BodyFile> body_file(const std::string& bytes, bool unlink_on_close = true) {
  char name[] = "/tmp/gatepost-unit.XXXXXX";
  auto file = std::make_shared<BodyFile>();
  file->fd = UniqueFd(::mkstemp(name));
  REQUIRE(::write(file->fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  file->bytes = bytes.size();
  file->path = name;
  file->unlink_on_close = unlink_on_close;
  return file;
}

std::string read_fd(int fd) {
  std::string bytes;
  char buffer[4096];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof buffer)) > 0;) bytes.append(buffer, static_cast<size_t>(n));
  return bytes;
}

}  // namespace

TEST_CASE("message: header names compare without case and keep theirs") {
  Headers headers;
  headers.set("NServiceBus.MessageId", "1");
  headers.set("b", "2");
  headers.set("nservicebus.messageid", "3");
  CHECK(headers.entries().size() == 2);
  CHECK(headers.entries()[0].name == "NServiceBus.MessageId");
  CHECK(headers.get("NSERVICEBUS.MESSAGEID") == "3");
  CHECK(headers.find("absent") == nullptr);
  CHECK(headers.get("absent").empty());
  CHECK(headers.remove("B"));
  CHECK_FALSE(headers.remove("B"));
  CHECK(headers.entries().size() == 1);
}

TEST_CASE("message: text form there and back") {
  Headers headers;
  headers.set("Plain", "a value: with a colon");
  headers.set("Trace", "line 1\r\n\tline 2 100%");
  headers.set("Odd name: 50%", " leading and trailing ");
  headers.set("Empty", "");
  headers.set("Utf8", "\xc3\xa4\x7f");
  std::string text = headers_to_text(headers);
  CHECK(text ==
        "Plain: a value: with a colon\nTrace: line 1%0d%0a%09line 2 100%25\nOdd%20name%3a%2050%25:  leading and trailing \nEmpty: \n"
        "Utf8: \xc3\xa4%7f\n");
  auto back = headers_from_text(text);
  REQUIRE(back);
  CHECK(*back == headers);
  CHECK(headers_from_text("")->entries().empty());
  CHECK(headers_from_text("A:b")->get("A") == "b");
}

TEST_CASE("message: bad text names the line") {
  for (const char* bad : {"A: 1\nno colon\n", "A: 1\n: no name\n", "A: 1\n\n", "A: 1\nB: %4\n", "A: 1\nB: %zz\n", "A: 1\nB: x\ry\n", "A: 1\na: 2\n"}) {
    CAPTURE(bad);
    auto headers = headers_from_text(bad);
    REQUIRE_FALSE(headers);
    CHECK(headers.error().code == ExitCode::bad_data);
    CHECK(headers.error().text.find("line 2") != std::string::npos);
  }
}

TEST_CASE("message: binary form there and back, and every cut is found") {
  Headers headers;
  headers.set("Name", std::string("\0\n\xff", 3));
  headers.set("Empty", "");
  std::string bytes = encode_headers(headers);
  CHECK(bytes.size() == 6 + 4 + 3 + 6 + 5);
  CHECK(bytes.substr(0, 6) == std::string("\x04\0\x03\0\0\0", 6));
  CHECK(*decode_headers(bytes) == headers);
  CHECK(decode_headers("")->entries().empty());
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    if (cut == 13) continue;  // the end of the first
    CAPTURE(cut);
    CHECK_FALSE(decode_headers(std::string_view(bytes).substr(0, cut)));
  }
  CHECK_FALSE(decode_headers(bytes + "x"));
  CHECK_FALSE(decode_headers(std::string("\0\0\0\0\0\0", 6)));
}

TEST_CASE("message: ids") {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::string id = new_message_id();
    CHECK(seen.insert(id).second);
    REQUIRE(id.size() == 36);
    CHECK(id[14] == '4');
    CHECK(std::string("89ab").find(id[19]) != std::string::npos);
    CHECK(id.find_first_not_of("0123456789abcdef-") == std::string::npos);
  }
  CHECK(message_id_ok("x"));
  CHECK(message_id_ok("order 17/\xc3\xa4"));
  CHECK(message_id_ok(std::string(255, 'x')));
  CHECK_FALSE(message_id_ok(""));
  CHECK_FALSE(message_id_ok(std::string(256, 'x')));
  CHECK_FALSE(message_id_ok("a\nb"));
  CHECK_FALSE(message_id_ok("a\xff"));
  CHECK_FALSE(message_id_ok(std::string_view("a\0b", 3)));
}

TEST_CASE("message: the first type, without its assembly") {
  Headers headers;
  CHECK(message_type(headers).empty());
  headers.set(header::enclosed_message_types, "Prices.PriceUpdated, Prices, Version=1.0.0.0; Prices.Base, Prices");
  CHECK(message_type(headers) == "Prices.PriceUpdated");
  headers.set(header::enclosed_message_types, "Plain");
  CHECK(message_type(headers) == "Plain");
}

TEST_CASE("message: expiry") {
  Headers headers;
  headers.set(header::time_sent, format_nsb_time(1'000'000'000'000));
  CHECK(expires_at_ms(headers) == 0);
  headers.set(header::time_to_be_received, "00:01:00");
  CHECK(expires_at_ms(headers) == 1'000'060'000);
  for (const char* never : {"10675199.02:48:05.4775807", "soon", "-00:00:01", ""}) {
    headers.set(header::time_to_be_received, never);
    CHECK(expires_at_ms(headers) == 0);
  }
  headers.set(header::time_to_be_received, "00:01:00");
  headers.remove(header::time_sent);
  CHECK(expires_at_ms(headers) == 0);
}

TEST_CASE("message: bodies in memory and in a file behave alike") {
  const std::string bytes = std::string("abc\0def", 7) + std::string(600'000, 'x');
  auto file = body_file(bytes);
  const std::string path = file->path;
  for (const Body& body : {Body(bytes), Body(file)}) {
    CAPTURE(body.is_file());
    CHECK(body.size() == bytes.size());
    CHECK(*body.read_all() == bytes);
    CHECK(*body.read_at(3, 3) == std::string("\0de", 3));
    CHECK(*body.read_at(bytes.size() - 1, 10) == "x");
    CHECK(body.read_at(bytes.size(), 10)->empty());
    CHECK_FALSE(body.read_all(10));
    auto fd = body.open();
    REQUIRE(fd);
    CHECK(read_fd(fd->get()) == bytes);
    CHECK(::lseek(fd->get(), 0, SEEK_SET) == 0);
    CHECK(::write(fd->get(), "x", 1) < 0);
    auto copy = body_file("");
    REQUIRE(body.copy_to(copy->fd.get()));
    CHECK(*Body(body).read_all() == bytes);
    struct stat info {};
    CHECK(::fstat(copy->fd.get(), &info) == 0);
    CHECK(static_cast<size_t>(info.st_size) == bytes.size());
  }
  CHECK(::access(path.c_str(), F_OK) == 0);
  file.reset();
  CHECK(::access(path.c_str(), F_OK) != 0);
}

TEST_CASE("message: a body file that shrank is an error, not a short body") {
  auto file = body_file("0123456789");
  CHECK(::ftruncate(file->fd.get(), 5) == 0);
  auto bytes = Body(file).read_all();
  REQUIRE_FALSE(bytes);
  CHECK(bytes.error().code == ExitCode::io_error);
}
