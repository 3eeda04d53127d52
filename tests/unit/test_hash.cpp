#include <doctest/doctest.h>

#include "hash.hpp"

using namespace gw;

namespace {
template <class Array>
std::string hex_of(const Array& bytes) {
  return hex(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}
}  // namespace

TEST_CASE("hash: known digests") {
  CHECK(hex_of(md5("")) == "d41d8cd98f00b204e9800998ecf8427e");
  CHECK(hex_of(md5("abc")) == "900150983cd24fb0d6963f7d28e17f72");
  CHECK(hex_of(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(hex_of(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("hash: in pieces as in one") {
  Digest digest(Digest::Kind::sha256);
  for (char c : std::string("the quick brown fox")) digest.update(std::string_view(&c, 1));
  Digest moved = std::move(digest);
  auto whole = sha256("the quick brown fox");
  CHECK(moved.finish() == std::string(reinterpret_cast<char*>(whole.data()), whole.size()));
}

TEST_CASE("hash: base64") {
  const char* const pairs[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
  for (auto& [raw, text] : pairs) {
    CHECK(base64(raw) == text);
    auto back = unbase64(text);
    REQUIRE(back);
    CHECK(*back == raw);
  }
  for (const char* bad : {"Z", "Zg", "Zg=", "Zg==Zg==", "Zm9v\n", "Zh==", "Zm9=", "====", "Z===", "Zm-_"}) {
    CAPTURE(bad);
    CHECK_FALSE(unbase64(bad));
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  CHECK(*unbase64(base64(all)) == all);
}

TEST_CASE("hash: CRC32C") {
  CHECK(crc32c(0, "", 0) == 0);
  CHECK(crc32c(0, "123456789", 9) == 0xe3069283u);
  std::string zeros(32, '\0');
  CHECK(crc32c(0, zeros.data(), zeros.size()) == 0x8a9136aau);
  // A seed chains, at every cut.
  std::string text = "a sum over two pieces is the sum over the whole";
  for (size_t cut = 0; cut <= text.size(); ++cut)
    CHECK(crc32c(crc32c(0, text.data(), cut), text.data() + cut, text.size() - cut) == crc32c(0, text.data(), text.size()));
}

TEST_CASE("hash: comparison in constant time") {
  CHECK(equal_constant_time("", ""));
  CHECK(equal_constant_time("secret", "secret"));
  CHECK_FALSE(equal_constant_time("secret", "secreT"));
  CHECK_FALSE(equal_constant_time("secret", "secre"));
}
