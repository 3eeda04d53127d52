// The options of SEL and LIMITS; how they are read is in selection.cpp.
#include <CLI/CLI.hpp>

#include "selection.hpp"

namespace gw {

namespace {

// An empty value would look as if the option had not been given.
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

}  // namespace

void define_selection(CLI::App& app, SelectionOptions& into, const char* words_name, const char* words_text) {
  app.add_option(words_name, into.words, words_text);
  app.add_option("--where", into.where, "only messages for which FIELD OP VALUE holds; repeated: all of them")->type_name("EXPR")->check(not_empty);
  app.add_option("--group", into.group, "only failed messages of this group")->type_name("G")->check(not_empty);
  app.add_flag("--all", into.all, "every message of the queue");
  app.add_option("--max", into.max, "at most N messages")->type_name("N")->check([](const std::string& value) {
    return value == "0" ? std::string("expected 1 or more") : std::string();
  });
}

void define_limits(CLI::App& app, LimitOptions& into) {
  app.add_option("--max-count", into.max_count, "show only what holds more than N messages, then exit 1")->type_name("N")->check(not_empty);
  app.add_option("--max-age", into.max_age, "show only what has waited longer than T, then exit 1")->type_name("T")->check(not_empty);
  app.add_option("--min-free", into.min_free, "exit 1 if less than SIZE is free on the disk")->type_name("SIZE")->check(not_empty);
}

}  // namespace gw
