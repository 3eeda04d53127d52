#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "scratch.hpp"
#include "tar.hpp"

using namespace gw;

namespace {

std::string archive_of(const std::vector<std::pair<TarMember, std::string>>& members) {
  std::string bytes;
  TarWriter writer([&](std::string_view part) -> Result<void> {
    bytes += part;
    return {};
  });
  for (const auto& [member, body] : members) {
    REQUIRE(writer.begin(member).has_value());
    REQUIRE(writer.data(body).has_value());
    REQUIRE(writer.end().has_value());
  }
  REQUIRE(writer.finish().has_value());
  return bytes;
}

// Reads from memory, `step` bytes at a time at most.
TarReader reader_of(const std::string& bytes, size_t step = SIZE_MAX) {
  return TarReader([&bytes, step, at = size_t{0}](char* into, size_t size) mutable -> Result<size_t> {
    size_t n = std::min({size, step, bytes.size() - at});
    std::memcpy(into, bytes.data() + at, n);
    at += n;
    return n;
  });
}

std::string body_of(TarReader& reader) {
  std::string body;
  char buffer[1000];
  for (;;) {
    auto n = reader.read(buffer, sizeof buffer);
    REQUIRE(n.has_value());
    if (*n == 0) return body;
    body.append(buffer, *n);
  }
}

TarMember member_of(std::string name, uint64_t bytes) { return TarMember{std::move(name), bytes, 1'700'000'000'123, '0', {}}; }

std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

}  // namespace

TEST_CASE("tar: what is written is read") {
  TarMember first = member_of("Sales/1.body", 256), second = member_of("Sales/1.headers", 0);
  second.records["GATEPOST.seq"] = "1";
  second.records["GATEPOST.text"] = "with = and\nline feed";
  TarMember longer = member_of(std::string(300, 'q') + "/1.body", 1000);
  std::string bytes = archive_of({{TarMember{"Sales/", 0, 0, '5', {}}, ""}, {first, all_bytes()}, {second, ""}, {longer, std::string(1000, 'x')}});
  CHECK(bytes.size() % 512 == 0);
  for (size_t step : {size_t{1}, size_t{511}, SIZE_MAX}) {
    CAPTURE(step);
    TarReader reader = reader_of(bytes, step);
    auto one = reader.next();
    REQUIRE((one && *one));
    CHECK((*one)->type == '5');
    one = reader.next();
    REQUIRE((one && *one));
    CHECK((*one)->name == "Sales/1.body");
    CHECK(body_of(reader) == all_bytes());
    one = reader.next();
    REQUIRE((one && *one));
    CHECK((*one)->records.at("GATEPOST.text") == "with = and\nline feed");
    CHECK((*one)->records.at("GATEPOST.seq") == "1");
    one = reader.next();  // not read: passed over
    REQUIRE((one && *one));
    CHECK((*one)->name == longer.name);
    one = reader.next();
    REQUIRE(one.has_value());
    CHECK(!one->has_value());
  }
}

TEST_CASE("tar: cut off at any byte is an error, never an end") {
  std::string bytes = archive_of({{member_of("a/1.body", 700), std::string(700, 'x')}});
  size_t whole = bytes.size() - 1024;  // both end blocks gone still means cut off
  for (size_t length = 0; length <= whole; length += 37) {
    CAPTURE(length);
    std::string part = bytes.substr(0, length);
    TarReader reader = reader_of(part);
    std::optional<Error> error;
    for (;;) {
      auto one = reader.next();
      if (!one) error = one.error();
      if (!one || !*one) break;
    }
    REQUIRE(error.has_value());
    CHECK(error->code == ExitCode::bad_data);
  }
}

TEST_CASE("tar: a damaged header names the member before it") {
  std::string bytes = archive_of({{member_of("a/1.body", 3), "abc"}, {member_of("a/2.body", 3), "def"}});
  size_t second = bytes.find("a/2.body");
  REQUIRE(second != std::string::npos);
  bytes[second] ^= 1;
  TarReader reader = reader_of(bytes);
  REQUIRE(reader.next().has_value());
  auto one = reader.next();
  REQUIRE(!one.has_value());
  CHECK(one.error().text.find("'a/1.body'") != std::string::npos);
}

TEST_CASE("tar: sizes beyond 8 GiB are records") {
  std::string bytes;
  TarWriter writer([&](std::string_view part) -> Result<void> {
    bytes += part;
    return {};
  });
  REQUIRE(writer.begin(member_of("big", 10ull << 30)).has_value());
  TarReader reader = reader_of(bytes);
  auto one = reader.next();
  REQUIRE((one && *one));
  CHECK((*one)->bytes == 10ull << 30);
}

TEST_CASE("tar: GNU tar reads ours, we read GNU tar's") {
  if (std::system("tar --version >/dev/null 2>&1") != 0) return;
  Scratch directory;
  const std::string name = std::string(120, 'n') + "/1.body";
  std::ofstream(directory.path + "/ours.tar", std::ios::binary) << archive_of({{member_of(name, 256), all_bytes()}, {member_of("empty", 0), ""}});
  REQUIRE(std::system(("cd '" + directory.path + "' && tar xf ours.tar && tar cf gnu.tar --format=gnu " + name + " empty && tar cf pax.tar --format=pax " +
                       name + " empty").c_str()) == 0);
  for (const char* which : {"gnu.tar", "pax.tar", "ours.tar"}) {
    CAPTURE(which);
    std::ifstream file(directory.path + "/" + which, std::ios::binary);
    std::stringstream content;
    content << file.rdbuf();
    std::string bytes = content.str();
    TarReader reader = reader_of(bytes);
    auto one = reader.next();
    REQUIRE((one && *one));
    CHECK((*one)->name == name);
    CHECK(body_of(reader) == all_bytes());
    one = reader.next();
    REQUIRE((one && *one));
    CHECK((*one)->name == "empty");
    one = reader.next();
    REQUIRE(one.has_value());
    CHECK(!one->has_value());
  }
}
