#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>

#include "message_options.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;

namespace {

ExitCode code_of(const MessageOptions& options) {
  auto source = MessageSource::open_files(options, CommonOptions{});
  return source ? ExitCode::ok : source.error().code;
}

// What a store was given, and what it is to answer.
struct Store {
  std::vector<size_t> batches;
  std::vector<Message> messages;
  std::vector<Draft> drafts;
  PutOutcome answer = PutOutcome::stored;
  StoreBatch function() {
    return [this](std::vector<Draft>& batch) -> Result<std::vector<PutOutcome>> {
      batches.push_back(batch.size());
      for (Draft& one : batch) {
        drafts.push_back(one);
        messages.push_back(std::move(one.message));
      }
      return std::vector<PutOutcome>(batch.size(), answer);
    };
  }
};

Result<ExitCode> run(const Scratch& directory, const MessageOptions& options, Store& store) {
  auto source = MessageSource::open_files(options, CommonOptions{});
  REQUIRE(source.has_value());
  auto root = open_root(directory.path + "/root");
  return source->run(*root, "", store.function(), false);
}

}  // namespace

TEST_CASE("message options: contradictions and bad values are usage errors") {
  Scratch directory;
  const std::string file = directory.write("file", "x");
  auto with = [&](auto change) {
    MessageOptions options;
    options.file = file;
    change(options);
    return code_of(options);
  };
  CHECK(with([](auto&) {}) == ExitCode::ok);
  CHECK(with([](auto& o) { o.lines = o.nul = true; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.id = "a"; o.unique = true; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.delay = "1"; o.at = "22:00"; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.delay = "later"; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.at = "noon"; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.ttl = "-1"; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.headers = {"novalue"}; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.headers = {"=value"}; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.headers = {"Name=a=b", "Empty="}; }) == ExitCode::ok);
  CHECK(with([](auto& o) { o.id = std::string(256, 'x'); }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.id = "a\nb"; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.batch = 0; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.follow = true; }) == ExitCode::usage);
  CHECK(with([](auto& o) { o.unique_for = "1d"; }) == ExitCode::usage);
  CHECK(with([&](auto& o) { o.from_dir = directory.path; }) == ExitCode::usage);
  CHECK(with([&](auto& o) { o.file = directory.path; }) == ExitCode::no_input);
  CHECK(with([&](auto& o) { o.file = directory.path + "/absent"; }) == ExitCode::no_input);
  CHECK(with([&](auto& o) { o.file = ""; o.from_dir = directory.path + "/absent"; }) == ExitCode::no_input);
}

TEST_CASE("message source: one file, its headers") {
  Scratch directory;
  MessageOptions options;
  options.file = directory.write("prices.csv", std::string("a\0b\n", 4));
  options.type = "Prices.Updated";
  options.content_type = "text/csv";
  options.ttl = "1h";
  options.headers = {"Region=north", "NServiceBus.MessageIntent=Publish"};
  Store store;
  int64_t before = now_ms();
  auto code = run(directory, options, store);
  REQUIRE_MESSAGE(code.has_value(), code.error().text);
  REQUIRE(store.messages.size() == 1);
  const Headers& headers = store.messages[0].headers;
  CHECK(*store.messages[0].body.read_all() == std::string("a\0b\n", 4));
  CHECK(headers.get(header::file_name) == "prices.csv");
  CHECK(headers.get(header::enclosed_message_types) == "Prices.Updated");
  CHECK(headers.get(header::content_type) == "text/csv");
  CHECK(headers.get(header::message_intent) == "Publish");
  CHECK(headers.get("Region") == "north");
  CHECK(headers.get(header::correlation_id) == headers.get(header::message_id));
  CHECK(headers.get(header::message_id).size() == 36);
  CHECK(headers.get(header::conversation_id).size() == 36);
  auto sent = parse_nsb_time_ms(headers.get(header::time_sent));
  REQUIRE(sent.has_value());
  CHECK(*sent >= before);
  CHECK(expires_at_ms(headers) == *sent + 3'600'000);
  CHECK(!store.drafts[0].key_id);
}

TEST_CASE("message source: lines") {
  Scratch directory;
  MessageOptions options;
  options.lines = true;
  options.batch = 2;
  options.id = "day";
  const std::string big(200'000, 'b');
  options.file = directory.write("lines", "one\n\nthree\n" + big + "\nlast");
  Store store;
  auto code = run(directory, options, store);
  REQUIRE_MESSAGE(code.has_value(), code.error().text);
  REQUIRE(store.messages.size() == 5);
  std::vector<std::string> bodies;
  for (const Message& message : store.messages) bodies.push_back(*message.body.read_all());
  CHECK(bodies == std::vector<std::string>{"one", "", "three", big, "last"});
  CHECK(store.messages[3].body.is_file());
  CHECK(store.messages[4].id() == "day-5");
  CHECK(store.drafts[0].key_id);
  for (size_t count : store.batches) CHECK(count <= 2);
}

TEST_CASE("message source: NUL ends a message, a line feed does not; an empty source has none") {
  Scratch directory;
  MessageOptions options;
  options.nul = true;
  options.file = directory.write("nul", std::string("a\nb\0c\0", 6));
  Store store;
  REQUIRE(run(directory, options, store).has_value());
  REQUIRE(store.messages.size() == 2);
  CHECK(*store.messages[0].body.read_all() == "a\nb");
  options.file = directory.write("empty", "");
  Store nothing;
  REQUIRE(run(directory, options, nothing).has_value());
  CHECK(nothing.messages.empty());
}

TEST_CASE("message source: the unique id is that of type and body") {
  Scratch directory;
  auto id_of = [&](const std::string& type, const std::string& body) {
    MessageOptions options;
    options.unique = true;
    options.type = type;
    options.file = directory.write("body", body);
    Store store;
    REQUIRE(run(directory, options, store).has_value());
    CHECK(store.drafts.at(0).key_id);
    return store.messages.at(0).id();
  };
  CHECK(id_of("T", "x") == id_of("T", "x"));
  CHECK(id_of("T", "x") != id_of("T", "y"));
  CHECK(id_of("T", "x") != id_of("U", "x"));
  CHECK(id_of("T", "x").size() == 64);
}

TEST_CASE("message source: same id, other body is bad data") {
  Scratch directory;
  MessageOptions options;
  options.id = "a";
  options.file = directory.write("body", "x");
  Store store;
  store.answer = PutOutcome::conflict;
  auto code = run(directory, options, store);
  REQUIRE(!code.has_value());
  CHECK(code.error().code == ExitCode::bad_data);
  CHECK(code.error().text.find("'a'") != std::string::npos);
}

TEST_CASE("message source: files of a directory") {
  Scratch directory;
  const std::string box = directory.path + "/box";
  REQUIRE(mkdir(box.c_str(), 0700) == 0);
  for (const char* name : {"one", ".hidden", "two.tmp", "three.part", "four~"}) directory.write(std::string("box/") + name, name);
  REQUIRE(mkdir((box + "/sub").c_str(), 0700) == 0);
  MessageOptions options;
  options.from_dir = box;
  Store store;
  auto code = run(directory, options, store);
  REQUIRE_MESSAGE(code.has_value(), code.error().text);
  REQUIRE(store.messages.size() == 1);
  CHECK(store.messages[0].headers.get(header::file_name) == "one");
  CHECK(store.drafts[0].key_id);
  CHECK(access((box + "/.sent/one").c_str(), F_OK) == 0);
  CHECK(access((box + "/one").c_str(), F_OK) != 0);
  CHECK(access((box + "/two.tmp").c_str(), F_OK) == 0);

  SUBCASE("a second file of the same name is kept beside the first") {
    directory.write("box/one", "again");
    REQUIRE(run(directory, options, store).has_value());
    CHECK(access((box + "/.sent/one~1").c_str(), F_OK) == 0);
    CHECK(store.messages[0].id() != store.messages[1].id());
  }
  SUBCASE("a file that somebody writes stays") {
    int fd = open((box + "/busy").c_str(), O_WRONLY | O_CREAT, 0600);
    REQUIRE(fd >= 0);
    auto second = run(directory, options, store);
    close(fd);
    REQUIRE(second.has_value());
    CHECK(*second == ExitCode::no);
    CHECK(store.messages.size() == 1);
    CHECK(access((box + "/busy").c_str(), F_OK) == 0);
  }
}

TEST_CASE("message source: a file met again before it was moved has the same id") {
  Scratch directory;
  const std::string box = directory.path + "/box";
  REQUIRE(mkdir(box.c_str(), 0700) == 0);
  directory.write("box/one", "text");
  MessageOptions options;
  options.from_dir = box;
  std::string first;
  auto fails = [&](std::vector<Draft>& batch) -> Result<std::vector<PutOutcome>> {
    first = batch.at(0).message.id();
    return Error{ExitCode::io_error, 0, "killed here"};
  };
  auto source = MessageSource::open_files(options, CommonOptions{});
  REQUIRE(source.has_value());
  {
    auto root = open_root(directory.path + "/root");
    CHECK(!source->run(*root, "", fails, false).has_value());
  }
  Store store;
  REQUIRE(run(directory, options, store).has_value());
  REQUIRE(store.messages.size() == 1);
  CHECK(store.messages[0].id() == first);
}
