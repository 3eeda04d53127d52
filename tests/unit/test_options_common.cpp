#include <doctest/doctest.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "options_common.hpp"

using namespace gw;

namespace {

struct Seen {
  std::string queue, type;
  std::vector<std::string> ids, where;
  uint64_t max = 0;
  bool lines = false, nul = false;
};

// `unnamed`: the tool also has a form without a command, as gw-send.
Tool make_tool(Seen& seen, bool unnamed) {
  auto nothing = [](const CommonOptions&) -> Result<ExitCode> { return ExitCode::ok; };
  Tool tool{"tool", "Does nothing.", {}, "  tool take q\n", {}};
  tool.commands.push_back({"take", "take QUEUE [ID]...", "takes", "", true,
                           [&seen](CLI::App& app) {
                             app.add_option("QUEUE", seen.queue, "the queue");
                             app.add_option("ID", seen.ids, "ids");
                             app.add_option("--where", seen.where, "only these")->type_name("EXPR");
                             app.add_option("--max", seen.max, "at most")->type_name("N");
                             app.add_option("-t,--type", seen.type, "type");
                             app.add_flag("--lines", seen.lines, "lines");
                             app.add_flag("-0,--null", seen.nul, "NUL");
                           },
                           nothing});
  tool.commands.push_back({"list", "list [QUEUE]", "lists", "", false,
                           [&seen](CLI::App& app) { app.add_option("QUEUE", seen.queue, "the queue"); }, nothing});
  if (unnamed)
    tool.commands.push_back({"", "[FILE]", "sends", "", false,
                             [&seen](CLI::App& app) {
                               app.add_option("FILE", seen.queue, "the file");
                               app.add_option("--type", seen.type, "type");
                             },
                             nothing});
  return tool;
}

struct Parsed {
  Seen seen;
  std::string command = "none", error;
  CommandLine line;
};

Parsed parse(std::vector<std::string> words, bool unnamed = false) {
  Parsed parsed;
  Tool tool = make_tool(parsed.seen, unnamed);
  words.insert(words.begin(), "tool");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  const Command* command = nullptr;
  auto line = parse_command_line(static_cast<int>(argv.size()), argv.data(), tool, &command);
  if (command) parsed.command = command->name;
  if (!line) {
    CHECK(line.error().code == ExitCode::usage);
    parsed.error = line.error().text;
  } else {
    parsed.line = *line;
    parsed.line.command = nullptr;  // the tool is gone
  }
  return parsed;
}

using Words = std::vector<std::string>;

}  // namespace

TEST_CASE("options: before and after the command, attached and apart") {
  for (const Words& words : {Words{"take", "q", "--max", "3", "--json"}, Words{"--json", "take", "--max=3", "q"}, Words{"--max", "3", "--json", "take", "q"}}) {
    Parsed p = parse(words);
    CAPTURE(words.front());
    CHECK(p.error == "");
    CHECK(p.command == "take");
    CHECK(p.seen.queue == "q");
    CHECK(p.seen.max == 3);
    CHECK(p.line.json);
  }
}

TEST_CASE("options: the value of an option is no command") {
  Parsed p = parse({"--where", "list", "take", "q"});
  CHECK(p.command == "take");
  CHECK(p.seen.where == Words{"list"});
  CHECK(parse({"--root", "list", "take", "q"}).line.root == "list");
  CHECK(parse({"-t", "list", "take", "q"}).seen.type == "list");
  CHECK(parse({"-tlist", "take", "q"}).seen.type == "list");
}

TEST_CASE("options: short ones in a cluster, with a value at the end") {
  Parsed p = parse({"take", "-0ntx", "q"});
  CHECK(p.error == "");
  CHECK(p.seen.nul);
  CHECK(p.line.dry_run);
  CHECK(p.seen.type == "x");
}

TEST_CASE("options: lists collect, others keep the last") {
  Parsed p = parse({"take", "q", "--where", "a", "--max", "1", "--where=b", "--max", "2", "1", "2"});
  CHECK(p.seen.where == Words{"a", "b"});
  CHECK(p.seen.max == 2);
  CHECK(p.seen.ids == Words{"1", "2"});
}

TEST_CASE("options: a list takes one word for each use, and words stay as they are") {
  Parsed p = parse({"take", "--where", "[a,b]", "q", "[1,2]", "{}", ""});
  CHECK(p.error == "");
  CHECK(p.seen.where == Words{"[a,b]"});
  CHECK(p.seen.ids == Words{"[1,2]", "{}", ""});
  // One empty word alone would arrive as no word at all.
  CHECK(parse({"take", "q", ""}).error == "'' is not a value of ID");
  CHECK(parse({"take", "q", "{}"}).error == "'{}' is not a value of ID");
}

TEST_CASE("options: -- ends them, - is a word") {
  Parsed p = parse({"take", "--", "--max", "-0", "--"});
  CHECK(p.seen.queue == "--max");
  CHECK(p.seen.ids == Words{"-0", "--"});
  CHECK(parse({"take", "-"}).seen.queue == "-");
  CHECK(parse({"take", "q", "--type", "--"}).seen.type == "--");
  CHECK(parse({"take", "q", "--type="}).error == "");
}

TEST_CASE("options: a tool with a form without a command") {
  CHECK(parse({}, true).command == "");
  CHECK(parse({"list"}, true).command == "list");
  CHECK(parse({"--type", "T", "list"}, true).command == "list");
  Parsed file = parse({"./list"}, true);
  CHECK(file.command == "");
  CHECK(file.seen.queue == "./list");
  CHECK(parse({"--", "list"}, true).seen.queue == "list");
  CHECK(parse({"x", "list"}, true).error == "unexpected argument 'list'");
}

TEST_CASE("options: errors name the word") {
  CHECK(parse({"tkae"}).error == "unknown command 'tkae'; did you mean 'take'?");
  CHECK(parse({""}).error == "unknown command ''");
  CHECK(parse({"take", "--mxa", "3"}).error == "unknown option '--mxa'; did you mean '--max'?");
  CHECK(parse({"take", "-x"}).error == "unknown option '-x'");
  CHECK(parse({"take", "-5"}).error == "unknown option '-5'");
  CHECK(parse({"list", "--max", "3"}).error.starts_with("unknown option '--max'"));
  CHECK(parse({"list", "-n"}).error == "unknown option '-n'");
  CHECK(parse({"take", "--max"}).error == "option '--max' needs a value");
  CHECK(parse({"take", "-t"}).error == "option '-t' needs a value");
  CHECK(parse({"take", "--lines=x"}).error == "option '--lines' takes no value");
  CHECK(parse({"take", "--json=x"}).error == "option '--json' takes no value");
  for (const char* bad : {"x", "", "-1", "010", "1.5", "99999999999999999999"}) {
    CAPTURE(bad);
    CHECK(parse({"take", "--max", bad}).error.starts_with("'" + std::string(bad) + "' is not a value of --max"));
  }
  CHECK(parse({"list", "a", "b"}).error == "unexpected argument 'b'");
  CHECK(parse({"--root="}).error != "");
  CHECK(parse({"list", "--color", "blue"}).error == "'blue' is not a value of --color: expected auto|always|never");
}

TEST_CASE("options: help, version and the list of options") {
  CHECK(parse({"--version"}).line.print == std::string("tool (Gatepost) ") + version_string + "\n");
  CHECK(parse({"--help"}).line.print.starts_with("Usage: tool take QUEUE [ID]...\n       tool list [QUEUE]\n"));
  CHECK(parse({"take", "--help", "--nonsense"}).line.print.starts_with("Usage: tool take QUEUE [ID]...\ntakes\n"));
  CHECK(parse({"--nonsense", "--help"}).error == "unknown option '--nonsense'");
  CHECK(parse({"--dump-options"}).line.print.find("take\t-t,--type\tTEXT\ttype\n") != std::string::npos);
  CHECK(parse({"list", "--help"}).line.print.find("--dry-run") == std::string::npos);
  CHECK(parse({"take", "--help"}).line.print.find("--dry-run") != std::string::npos);
}
