#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

#include "diag.hpp"
#include "json.hpp"
#include "result.hpp"

using namespace gw;

namespace {

// What `action` writes to stderr.
std::string stderr_of(const std::function<void()>& action) {
  char name[] = "/tmp/gatepost-unit.XXXXXX";
  int file = ::mkstemp(name);
  REQUIRE(file >= 0);
  ::unlink(name);
  int saved = ::dup(STDERR_FILENO);
  ::dup2(file, STDERR_FILENO);
  action();
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::string text(static_cast<size_t>(::lseek(file, 0, SEEK_END)), '\0');
  CHECK(::pread(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
  ::close(file);
  return text;
}

struct Restore {
  ~Restore() { diag_setup("unit-tests", LogFormat::text, Level::info); }
};

}  // namespace

TEST_CASE("diag: an event as text") {
  Restore restore;
  diag_setup("tool", LogFormat::text, Level::info);
  std::string line = stderr_of([] {
    event(Level::warn, "retry-scheduled",
          {{"id", 17}, {"site", "Store1"}, {"reason", "503 \"Busy\" \\"}, {"empty", ""}, {"odd", "a\nb\x1b[31m\t"}, {"equals", "a=b"}, {"traceparent", ""}});
    event(Level::debug, "not-shown");
  });
  REQUIRE(line.size() > 25);
  CHECK(line[23] == 'Z');
  CHECK(line.substr(24) == " warn retry-scheduled id=17 site=Store1 reason=\"503 \\\"Busy\\\" \\\\\" empty=\"\" odd=\"a\\nb?[31m\\t\" equals=\"a=b\"\n");
}

TEST_CASE("diag: an event as JSON") {
  Restore restore;
  diag_setup("tool", LogFormat::json, Level::debug);
  std::string line = stderr_of([] { event(Level::debug, "stored", {{"id", "a\nb"}, {"seq", uint64_t{5}}}); });
  auto value = JsonValue::parse(line);
  REQUIRE(value);
  CHECK(value->get("level")->string() == "debug");
  CHECK(value->get("event")->string() == "stored");
  CHECK(value->get("id")->string() == "a\nb");
  CHECK(value->get("seq")->integer() == 5);
  line = stderr_of([] { print_error("it failed"); });
  CHECK(JsonValue::parse(line)->get("reason")->string() == "it failed");
  CHECK(JsonValue::parse(line)->get("tool")->string() == "tool");
}

TEST_CASE("diag: levels, and errors of several lines") {
  Restore restore;
  diag_setup("tool", LogFormat::text, Level::warn);
  CHECK(stderr_of([] { event(Level::info, "hidden"); }).empty());
  CHECK_FALSE(stderr_of([] { event(Level::error, "shown"); }).empty());
  CHECK(stderr_of([] { print_error("c.xml:1: bad\nc.xml:2: worse\a"); }) == "tool: c.xml:1: bad\ntool: c.xml:2: worse?\n");
}

TEST_CASE("result: the class of a system error") {
  struct Case {
    int number;
    ExitCode code;
  };
  for (auto [number, code] : {Case{ENOSPC, ExitCode::not_now}, Case{EDQUOT, ExitCode::not_now}, Case{EAGAIN, ExitCode::not_now}, Case{EACCES, ExitCode::no_permission},
                              Case{EROFS, ExitCode::no_permission}, Case{ENOENT, ExitCode::no_input}, Case{EIO, ExitCode::io_error}, Case{EMFILE, ExitCode::system}}) {
    Error error = errno_error("open", "a/b", number);
    CHECK(error.code == code);
    CHECK(error.sys_errno == number);
  }
  CHECK(errno_error("fsync", "q/1.log", ENOSPC).text == "fsync 'q/1.log': No space left on device");
}
