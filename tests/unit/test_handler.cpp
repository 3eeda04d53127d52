#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "handler.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;

namespace {

// TMPDIR of its own.
struct OwnTmpdir {
  Scratch parent;
  std::string before;
  std::unique_ptr<ScratchDir> dir;
  OwnTmpdir() {
    const char* old = std::getenv("TMPDIR");
    before = old ? old : "";
    ::setenv("TMPDIR", parent.path.c_str(), 1);
    auto made = ScratchDir::create();
    REQUIRE_MESSAGE(made, made.error().text);
    dir = *std::move(made);
  }
  ~OwnTmpdir() {
    dir.reset();
    before.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before.c_str(), 1);
  }
  size_t files() const { return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir->path()), {})); }
};

Message price_message(std::string body) {
  Message message;
  message.headers.set(header::message_id, "id-17");
  message.headers.set(header::enclosed_message_types, "Prices.Changed, Prices, Version=1.0;Prices.Any");
  message.headers.set(header::content_type, "text/csv");
  message.headers.set(header::file_name, "prices.csv");
  message.headers.set("Note", "50%\nmore");
  message.body = Body(std::move(body));
  return message;
}

HandlerSettings shell(const std::string& script, int64_t timeout_ms = 0) {
  HandlerSettings settings;
  settings.program = "/bin/sh";
  settings.arguments = {"sh", "-c", script};
  settings.queue = settings.endpoint = "Store1";
  settings.root = "/the/root";
  settings.timeout_ms = timeout_ms;
  return settings;
}

std::string text_of(const Output& output) {
  std::FILE* file = std::tmpfile();
  REQUIRE(output.write_to(fileno(file), [] { return false; }));
  std::rewind(file);
  std::string text;
  char block[65536];
  for (size_t n; (n = std::fread(block, 1, sizeof block, file)) > 0;) text.append(block, n);
  std::fclose(file);
  return text;
}

void finish(HandlerRun& run) {
  for (int64_t deadline = monotonic_ms() + 30'000; !run.step();) {
    std::vector<pollfd> items;
    run.add_poll(items);
    int64_t limit = std::min<int64_t>(run.next_deadline_ms() - monotonic_ms(), 1000);
    ::poll(items.data(), items.size(), static_cast<int>(std::max<int64_t>(limit, 0)));
    REQUIRE(monotonic_ms() < deadline);
  }
}

struct Result3 {
  std::string out, err;
  HandlerOutcome outcome;
};
Result3 handle(OwnTmpdir& scratch, const HandlerSettings& settings, const Message& message, unsigned failures = 0) {
  MessageInfo info;
  info.seq = 9;
  info.failures = failures;
  auto run = HandlerRun::start(settings, *scratch.dir, info, message);
  REQUIRE_MESSAGE(run, run.error().text);
  finish(**run);
  return {text_of((*run)->standard_output()), text_of((*run)->standard_error()), (*run)->outcome()};
}

}  // namespace

TEST_CASE("handler: stdin is the body, and can be read twice") {
  OwnTmpdir scratch;
  Result3 result = handle(scratch, shell("cat; exec 3<&0; cat \"$GW_BODY_FILE\""), price_message("a;1\nb;2\n"));
  CHECK(result.out == "a;1\nb;2\na;1\nb;2\n");
  CHECK(result.outcome.ok());
  HandlerSettings seek = shell("");
  seek.program = "/usr/bin/env";
  seek.arguments = {"env", "perl", "-e", "my @a = <STDIN>; seek(STDIN, 0, 0) or die; my @b = <STDIN>; print scalar(@a) + scalar(@b)"};
  if (find_program("perl")) CHECK(handle(scratch, seek, price_message("1\n2\n3\n")).out == "6");
}

TEST_CASE("handler: environment and files of a message") {
  OwnTmpdir scratch;
  Result3 result =
      handle(scratch,
             shell("env | grep ^GW_ | sort; cat \"$GW_HEADERS_FILE\"; stat -c %a \"$GW_HEADERS_FILE\" \"$(dirname \"$GW_HEADERS_FILE\")\""),
             price_message("x"), 2);
  for (std::string line :
       {"GW_MESSAGE_ID=id-17\n", "GW_MESSAGE_TYPE=Prices.Changed\n", "GW_MESSAGE_TYPES=Prices.Changed, Prices, Version=1.0;Prices.Any\n",
        "GW_CONTENT_TYPE=text/csv\n", "GW_ATTEMPT=3\n", "GW_QUEUE=Store1\n", "GW_ENDPOINT=Store1\n", "GW_FILE_NAME=prices.csv\n",
        "GW_ROOT=/the/root\n", "NServiceBus.MessageId: id-17\n", "Note: 50%25%0amore\n", "\n600\n700\n"}) {
    CAPTURE(line);
    CAPTURE(result.out);
    CHECK(result.out.find(line) != std::string::npos);
  }
  CHECK(result.out.find("GW_CONFIG") == std::string::npos);
  CHECK(result.out.find("GW_MESSAGE_KEY=" + message_key("Store1", "id-17", 9)) != std::string::npos);
  CHECK(scratch.files() == 0);
}

TEST_CASE("handler: variables of an outer handler are replaced, not kept") {
  ::setenv("GW_FILE_NAME", "outer", 1);
  ::setenv("GW_OTHER", "kept", 1);
  Message message;
  message.headers.set(header::message_id, "x");
  message.headers.set(header::file_name, std::string(100'000, 'n'));
  message.headers.set(header::content_type, std::string("a\0b", 3));
  auto list = handler_environment(shell(""), MessageInfo{}, message, "h", "b");
  ::unsetenv("GW_FILE_NAME");
  ::unsetenv("GW_OTHER");
  CHECK(std::count(list.begin(), list.end(), "GW_OTHER=kept") == 1);
  for (const std::string& variable : list) {
    CHECK_FALSE(variable.starts_with("GW_FILE_NAME="));
    CHECK_FALSE(variable.starts_with("GW_CONTENT_TYPE="));
  }
}

TEST_CASE("handler: the key of a message") {
  // printf 'Store1\0id-17' | sha256sum
  CHECK(message_key("Store1", "id-17", 1) == "4f234a31a01146c1be4e113c61e99fabdc82538d73e0d51ffdb5d6c7eb2c2b34");
  CHECK(message_key("Store1", "id-17", 1) == message_key("Store1", "id-17", 2));
  CHECK(message_key("Store1", "id-17", 1) != message_key("Store2", "id-17", 1));
  CHECK(message_key("Store1", "", 1) != message_key("Store1", "", 2));
}

TEST_CASE("handler: how it ended, and why") {
  OwnTmpdir scratch;
  Result3 failed = handle(scratch, shell("echo one >&2; echo two >/dev/stderr; exit 3"), price_message(""));
  CHECK_FALSE(failed.outcome.ok());
  CHECK(failed.err == "one\ntwo\n");
  CHECK(failure_reason(failed.outcome) == "exit 3: one\ntwo");
  CHECK(failure_summary(failed.outcome) == "exit 3: two");
  CHECK(failure_reason(handle(scratch, shell("kill -9 $$"), price_message("")).outcome) == "signal 9 (SIGKILL)");
  CHECK(failure_reason(handle(scratch, shell("exit 1"), price_message("")).outcome) == "exit 1");
}

TEST_CASE("handler: only the tail of a long stderr is the reason, all of it is passed on") {
  OwnTmpdir scratch;
  Result3 result = handle(scratch, shell("i=0; while [ $i -lt 20000 ]; do echo \"line number $i of many\"; i=$((i+1)); done >&2; exit 1"),
                          price_message(""));
  CHECK(result.outcome.tail.size() == Output::tail_bytes_max);
  CHECK(result.outcome.tail.ends_with("line number 19999 of many\n"));
  CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 20000);
  CHECK(result.err.starts_with("line number 0 of many\n"));
}

TEST_CASE("handler: output beyond memory comes back whole") {
  OwnTmpdir scratch;
  Result3 result = handle(scratch, shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end"), price_message(""));
  CHECK(result.out.size() == 3'000'004);
  CHECK(result.out.find_first_not_of('x') == 3'000'000);
  CHECK(scratch.files() == 0);
}

TEST_CASE("handler: a time limit ends the whole group") {
  OwnTmpdir scratch;
  int64_t begin = monotonic_ms();
  Result3 result = handle(scratch, shell("echo started; sleep 1000 & wait", 300), price_message(""));
  CHECK(result.outcome.timed_out);
  CHECK_FALSE(result.outcome.ok());
  CHECK(result.out == "started\n");
  CHECK(failure_reason(result.outcome) == "timed out after 300ms");
  CHECK(monotonic_ms() - begin < 9'000);
  // One that tidies up on TERM and exits 0 has failed all the same.
  CHECK_FALSE(handle(scratch, shell("trap 'exit 0' TERM; sleep 1000 & wait", 200), price_message("")).outcome.ok());
}

TEST_CASE("handler: a process that is left behind with the pipes does not hold up the end") {
  OwnTmpdir scratch;
  int64_t begin = monotonic_ms();
  Result3 result = handle(scratch, shell("sleep 5 & echo done"), price_message(""));
  CHECK(result.out == "done\n");
  CHECK(result.outcome.ok());
  CHECK(monotonic_ms() - begin < 4'000);
}

TEST_CASE("handler: stop kills it without an attempt") {
  OwnTmpdir scratch;
  MessageInfo info;
  auto run = HandlerRun::start(shell("trap '' TERM; sleep 1000"), *scratch.dir, info, price_message("x"));
  REQUIRE(run);
  (*run)->stop();
  finish(**run);
  CHECK((*run)->outcome().stopped);
  CHECK_FALSE((*run)->outcome().ok());
}

TEST_CASE("handler: a command that cannot be executed leaves nothing behind") {
  OwnTmpdir scratch;
  HandlerSettings settings = shell("");
  settings.program = "/no/such/program";
  auto run = HandlerRun::start(settings, *scratch.dir, MessageInfo{}, price_message("x"));
  REQUIRE_FALSE(run);
  CHECK(run.error().code == ExitCode::config);
  CHECK(scratch.files() == 0);
}

TEST_CASE("handler: scratch directories of the dead are swept, those of the living are not") {
  OwnTmpdir scratch;
  std::filesystem::path dead = scratch.parent.path + "/gatepost-handlers.dead00";
  std::filesystem::create_directories(dead / "sub");
  std::ofstream(dead / "sub" / "file") << "x";
  std::filesystem::create_directories(scratch.parent.path + "/other");
  std::string second_path;
  {
    auto second = ScratchDir::create();
    REQUIRE(second);
    second_path = (*second)->path();
    CHECK(std::filesystem::exists(scratch.dir->path()));
    CHECK_FALSE(std::filesystem::exists(dead));
    CHECK(std::filesystem::exists(scratch.parent.path + "/other"));
  }
  CHECK_FALSE(std::filesystem::exists(second_path));
}

TEST_CASE("handler: a scratch directory that was tidied away comes back") {
  OwnTmpdir scratch;
  std::filesystem::remove_all(scratch.dir->path());
  REQUIRE(scratch.dir->write("a", "text"));
  CHECK(scratch.files() == 1);
}

TEST_CASE("handler: output to a reader that is gone fails") {
  OwnTmpdir scratch;
  Output output(*scratch.dir);
  output.append("text");
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
  UniqueFd in(fds[0]), out(fds[1]);
  // Full and unread: it gives up when it is told to.
  ::fcntl(out.get(), F_SETFL, O_NONBLOCK);
  std::string block(65536, 'x');
  while (::write(out.get(), block.data(), block.size()) > 0) {
  }
  int asked = 0;
  CHECK_FALSE(output.write_to(out.get(), [&] { return ++asked == 2; }));
  CHECK(asked == 2);
}
