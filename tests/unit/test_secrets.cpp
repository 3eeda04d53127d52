#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "scratch.hpp"
#include "secrets.hpp"
#include "tls_files.hpp"

using namespace gw;

namespace {

struct Directory : Scratch {
  std::string file() const { return path + "/file"; }
  void write(const std::string& text, mode_t mode) const {
    ::unlink(file().c_str());
    std::ofstream(file()) << text;
    REQUIRE(::chmod(file().c_str(), mode) == 0);
  }
};

std::string error_of(const std::string& text) {
  auto tokens = parse_tokens("F", text);
  return tokens ? "" : tokens.error().text;
}

}  // namespace

TEST_CASE("secrets: only private files") {
  Directory dir;
  for (mode_t mode : {0400, 0440, 0600}) {
    dir.write("s", mode);
    auto read = read_secret_file(dir.file());
    REQUIRE(read);
    CHECK(*read == "s");
  }
  for (mode_t mode : {0644, 0640, 0660, 0700, 0604, 0444, 0200 | 0440}) {
    dir.write("s", mode);
    auto read = read_secret_file(dir.file());
    REQUIRE_FALSE(read);
    CHECK(read.error().code == ExitCode::no_permission);
    CHECK(read.error().text.find(dir.file()) != std::string::npos);
    CHECK(read_named_file(dir.file()));
  }
  CHECK(read_secret_file(dir.file() + ".not").error().code == ExitCode::config);
  CHECK(read_secret_file(dir.path).error().code == ExitCode::config);
  dir.write(std::string((1 << 20) + 1, 'x'), 0600);
  CHECK(read_secret_file(dir.file()).error().code == ExitCode::config);
}

TEST_CASE("secrets: token files") {
  auto tokens = parse_tokens("F", "# who\n\n  Store17\tabc \r\ndef");
  REQUIRE(tokens);
  REQUIRE(tokens->size() == 2);
  CHECK((*tokens)[0].name == "Store17");
  CHECK((*tokens)[0].secret == "abc");
  CHECK((*tokens)[1].name.empty());
  CHECK((*tokens)[1].secret == "def");
  CHECK(error_of("").find("has no token") != std::string::npos);
  CHECK(error_of("# only\n") .find("has no token") != std::string::npos);
  CHECK(error_of("a\nb c d\n").find("line 2") != std::string::npos);
  CHECK(error_of("a\x01" "b\n").find("line 1") != std::string::npos);
  CHECK(error_of("gr\xc3\xbcn\n").find("line 1") != std::string::npos);

  TokenSet set(*std::move(tokens));
  REQUIRE(set.find("abc"));
  CHECK(*set.find("abc") == "Store17");
  CHECK(set.find("def"));
  for (const char* other : {"", "ab", "abcd", "Store17", "ABC"}) CHECK_FALSE(set.find(other));
}

TEST_CASE("secrets: cipher lists") {
  for (const char* good : {"DEFAULT", "HIGH:!aNULL:!MD5", "ECDHE+AESGCM", "TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256:TLS_AES_256_GCM_SHA384",
                           "DEFAULT@SECLEVEL=2", "ALL:+SHA1:@STRENGTH"})
    CHECK_MESSAGE(check_ciphers(good), good);
  for (const char* bad : {"", ":", "NONSENSE", "ECDHE+AESGCM:NONSENSE", "TLS_NONSENSE", "ECDHE+AESGCM:TLS_NONSENSE", "!aNULL"})
    CHECK_FALSE_MESSAGE(check_ciphers(bad), bad);
  CipherLists lists = split_ciphers("A:TLS_B,C TLS_D");
  CHECK(lists.tls_1_2 == "A:C");
  CHECK(lists.tls_1_3 == "TLS_B:TLS_D");
}

TEST_CASE("secrets: a stamp changes with its files") {
  Directory dir;
  const std::string none = files_stamp({dir.file()});
  dir.write("a", 0600);
  const std::string there = files_stamp({dir.file()});
  CHECK(there != none);
  CHECK(there == files_stamp({dir.file()}));
  dir.write("b", 0600);
  CHECK(there != files_stamp({dir.file()}));
}
