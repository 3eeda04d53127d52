// The options of MSG; how they are read is in message_options.cpp.
#include <CLI/CLI.hpp>

#include "message_options.hpp"

namespace gw {

namespace {

// An empty value would look as if the option had not been given.
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

void define_headers(CLI::App& app, MessageOptions& into) {
  app.add_option("--type", into.type, "the message's type (header EnclosedMessageTypes)")->type_name("T")->check(not_empty);
  app.add_option("--content-type", into.content_type, "the body's media type (header ContentType)")->type_name("T")->check(not_empty);
  app.add_option("--header", into.headers, "set a header; may be repeated, wins over the other options")->type_name("NAME=VALUE");
  app.add_option("--attach", into.attachments, "a data bus property: FILE of any size goes with the message; may be repeated")
      ->type_name("KEY=FILE")
      ->check(not_empty);
  app.add_option("--id", into.id, "the message's id; the same id with the same body is stored once")->type_name("ID")->check(not_empty);
  app.add_flag("--unique", into.unique, "the id is the SHA-256 of type and body");
  app.add_option("--unique-for", into.unique_for, "how long ids are remembered [7d]")->type_name("T")->check(not_empty);
  app.add_option("--ttl", into.ttl, "the message expires after T (header TimeToBeReceived)")->type_name("T")->check(not_empty);
  app.add_option("--delay", into.delay, "nobody gets the message before T has passed")->type_name("T")->check(not_empty);
  app.add_option("--at", into.at, "nobody gets the message before TIME")->type_name("TIME")->check(not_empty);
}

}  // namespace

void define_message_options(CLI::App& app, MessageOptions& into, MessageOptions::Positional positional) {
  if (positional == MessageOptions::Positional::file) app.add_option("FILE", into.file, "the body; - or nothing: stdin");
  define_headers(app, into);
  app.add_flag("--lines", into.lines, "every line is a message");
  app.add_flag("-0,--null", into.nul, "every text that ends with a NUL byte is a message");
  app.add_option("--from-dir", into.from_dir, "every file in DIR is a message; it then moves to DIR/.sent")->type_name("DIR")->check(not_empty);
  app.add_flag("--follow", into.follow, "with --from-dir: go on with files as they arrive");
  app.add_flag("--ids", into.ids, "print the ids of a stream's messages, each when it is stored");
  app.add_option("--batch", into.batch, "store a stream's messages N at a time [64]")->type_name("N");
}

}  // namespace gw
