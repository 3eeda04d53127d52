#include "options_common.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>

#include "gw_assert.hpp"

namespace gw {

namespace {

using Words = std::vector<std::string>;

constexpr size_t help_columns = 100;

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

struct CommonSpec {
  const char* long_name;
  char short_name;
  const char* argument;  ///< nullptr: a flag
  const char* text;      ///< nullptr: not in the help
};

constexpr std::array<CommonSpec, 12> common_specs{{
    {"root", 0, "DIR", "the root directory of the queues [$GW_ROOT, /var/spool/gatepost or ~/.local/state/gatepost]"},
    {"config", 0, "FILE", "the configuration file [$GW_CONFIG, /etc/gatepost/config.xml or ~/.config/gatepost/config.xml]"},
    {"check-config", 0, nullptr, "check the configuration, do nothing else"},
    {"json", 0, nullptr, "write results as JSON, one object a line"},
    {"quiet", 'q', nullptr, "write warnings and errors only"},
    {"verbose", 'v', nullptr, "write more events"},
    {"log-format", 0, "text|json", "how events are written to stderr"},
    {"color", 0, "auto|always|never", "colours on a terminal"},
    {"help", 'h', nullptr, "show this help"},
    {"version", 0, nullptr, "show the version"},
    {"dry-run", 'n', nullptr, "show what would be changed, change nothing"},
    {"dump-options", 0, nullptr, nullptr},
}};

const CommonSpec* common_spec(std::string_view long_name, char short_name) {
  for (const CommonSpec& spec : common_specs)
    if (short_name ? spec.short_name == short_name : spec.long_name == long_name) return &spec;
  return nullptr;
}

// One command's table of options.
class Table {
 public:
  explicit Table(const Command* command) : app_(std::string(), std::string()) {
    app_.set_help_flag();
    if (command && command->define) command->define(app_);
  }

  CLI::Option* find(std::string_view long_name, char short_name) const {
    for (CLI::Option* option : options()) {
      const auto& names = short_name ? option->get_snames() : option->get_lnames();
      const std::string wanted = short_name ? std::string(1, short_name) : std::string(long_name);
      if (std::find(names.begin(), names.end(), wanted) != names.end()) return option;
    }
    return nullptr;
  }

  std::vector<CLI::Option*> options() const {
    return const_cast<CLI::App&>(app_).get_options([](const CLI::Option*) { return true; });
  }

 private:
  CLI::App app_;
};

// A flag takes none; one with an optional value only behind an equals sign.
bool takes_value(const CLI::Option* option) { return option->get_items_expected_min() > 0; }
bool may_take_value(const CLI::Option* option) { return option->get_items_expected_max() > 0; }
bool takes_many(const CLI::Option* option) { return option->get_items_expected_max() > 1; }
bool is_joined(const CLI::Option* option) { return option->get_multi_option_policy() == CLI::MultiOptionPolicy::Join; }
bool has_flag_names(const CLI::Option* option) { return !option->get_lnames().empty() || !option->get_snames().empty(); }
bool hidden(const CLI::Option* option) { return option->get_group().empty(); }

// What a reader calls the option: the first long name, else the short one.
std::string shown_name(const CLI::Option* option) {
  if (!option->get_lnames().empty()) return "--" + option->get_lnames().front();
  if (!option->get_snames().empty()) return "-" + option->get_snames().front();
  return option->get_name(true);
}

// Does the option before the command take the next word? Asks all commands, as it is not known yet which one it is.
bool takes_value_anywhere(const Tool& tool, std::string_view long_name, char short_name) {
  if (const CommonSpec* spec = common_spec(long_name, short_name)) return spec->argument != nullptr;
  for (const Command& command : tool.commands) {
    Table table(&command);
    if (const CLI::Option* option = table.find(long_name, short_name)) return takes_value(option);
  }
  return false;
}

// How many words the option at the front of `words` is, with its value.
size_t option_words(const Tool& tool, std::string_view word) {
  if (word.starts_with("--")) {
    if (word.find('=') != std::string_view::npos) return 1;
    return takes_value_anywhere(tool, word.substr(2), 0) ? 2 : 1;
  }
  for (size_t i = 1; i < word.size(); ++i)
    if (takes_value_anywhere(tool, {}, word[i])) return i + 1 == word.size() ? 2 : 1;
  return 1;
}

struct Chosen {
  const Command* command = nullptr;
  size_t word = 0;  ///< its index, 0: not named
};

// The command is the first word that is no option; a tool that has a form without a command takes any other word as its own.
Result<Chosen> choose_command(const Tool& tool, const Words& words) {
  auto named = [&](std::string_view name) -> const Command* {
    for (const Command& command : tool.commands)
      if (command.name == name) return &command;
    return nullptr;
  };
  const Command* unnamed = named("");
  bool any_named = tool.commands.size() > (unnamed ? 1u : 0u);
  for (size_t i = 1; any_named && i < words.size();) {
    const std::string& word = words[i];
    if (word == "--" && unnamed) break;
    if (word == "--") {
      ++i;
      continue;
    }
    if (word.size() > 1 && word[0] == '-') {
      i += option_words(tool, word);
      continue;
    }
    if (const Command* command = word.empty() ? nullptr : named(word)) return Chosen{command, i};
    if (unnamed) break;
    Words names;
    for (const Command& command : tool.commands) names.push_back(command.name);
    std::string hint = suggest(word, names);
    return usage("unknown command '" + word + "'" + (hint.empty() ? "" : "; " + hint));
  }
  return Chosen{unnamed, 0};
}

// --- reading the words ----------------------------------------------------------------------------------------------------

class Reader {
 public:
  Reader(const Tool& tool, const Command* command, CommandLine& into) : tool_(tool), command_(command), table_(command), line_(into) {}

  /// `skip`: the index of the command's own word. `wants_help` etc. end the reading at once.
  Result<void> read(const Words& words, size_t skip) {
    bool options_end = false;
    for (next_ = 1; next_ < words.size();) {
      const size_t at = next_++;
      const std::string& word = words[at];
      if (at == skip && skip != 0) continue;
      if (!options_end && word == "--") {
        options_end = true;
      } else if (options_end || word.size() < 2 || word[0] != '-') {
        positionals_.push_back(word);
      } else if (word[1] == '-') {
        GW_TRY(read_long(words, word));
      } else {
        GW_TRY(read_short(words, word));
      }
      if (ended_) return {};
    }
    GW_TRY(place_positionals());
    return assign();
  }

  bool wants_help = false, wants_version = false, wants_dump = false;
  const Table& table() const { return table_; }

 private:
  Result<void> read_long(const Words& words, const std::string& word) {
    size_t equals = word.find('=');
    std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    std::optional<std::string> attached;
    if (equals != std::string::npos) attached = word.substr(equals + 1);
    const CommonSpec* spec = usable(common_spec(name, 0));
    CLI::Option* option = spec ? nullptr : table_.find(name, 0);
    if (!spec && !option) return unknown("--" + name);
    bool wants_value = spec ? spec->argument != nullptr : takes_value(option);
    const bool optional = option && !wants_value && may_take_value(option);
    if (optional && !attached) attached = option->get_default_str();
    if (!wants_value && !optional && attached) return usage("option '--" + name + "' takes no value");
    if (wants_value && !attached) {
      GW_TRY_ASSIGN(attached, next_word(words, "--" + name));
    }
    return spec ? set_common(*spec, attached.value_or("")) : set(option, name, attached);
  }

  Result<void> read_short(const Words& words, const std::string& word) {
    for (size_t i = 1; i < word.size() && !ended_; ++i) {
      const std::string name(1, word[i]);
      const CommonSpec* spec = usable(common_spec({}, word[i]));
      CLI::Option* option = spec ? nullptr : table_.find({}, word[i]);
      if (!spec && !option) return unknown("-" + name);
      if (spec || !takes_value(option)) {
        GW_TRY(spec ? set_common(*spec, "") : set(option, name, std::nullopt));
        continue;
      }
      if (i + 1 < word.size()) return set(option, name, word.substr(i + 1));
      GW_TRY_ASSIGN(std::string value, next_word(words, "-" + name));
      return set(option, name, value);
    }
    return {};
  }

  // --dry-run belongs to the commands that change something by selection.
  const CommonSpec* usable(const CommonSpec* spec) const {
    return spec && spec->short_name == 'n' && !(command_ && command_->changes_by_selection) ? nullptr : spec;
  }

  Result<std::string> next_word(const Words& words, const std::string& name) {
    if (next_ >= words.size()) return usage("option '" + name + "' needs a value");
    return words[next_++];
  }

  Error unknown(const std::string& name) const {
    Words known;
    for (const CommonSpec& spec : common_specs)
      if (spec.text && usable(&spec)) known.push_back("--" + std::string(spec.long_name));
    for (const CLI::Option* option : table_.options())
      for (const std::string& long_name : option->get_lnames())
        if (!hidden(option)) known.push_back("--" + long_name);
    std::string hint = name.size() > 2 ? suggest(name, known) : "";
    return usage("unknown option '" + name + "'" + (hint.empty() ? "" : "; " + hint));
  }

  Result<void> set_common(const CommonSpec& spec, const std::string& value) {
    const std::string_view name = spec.long_name;
    auto one_of = [&](std::string& into, const Words& allowed) -> Result<void> {
      if (std::find(allowed.begin(), allowed.end(), value) == allowed.end())
        return usage("'" + value + "' is not a value of --" + spec.long_name + ": expected " + spec.argument);
      into = value;
      return {};
    };
    if (name == "root" || name == "config") {
      if (value.empty()) return usage("option '--" + std::string(name) + "' needs a value that is not empty");
      (name == "root" ? line_.root : line_.config) = value;
    }
    if (name == "color") return one_of(line_.color, {"auto", "always", "never"});
    if (name == "log-format") return one_of(line_.log_format, {"text", "json"});
    if (name == "check-config") line_.check_config = true;
    if (name == "json") line_.json = true;
    if (name == "quiet") line_.quiet = true;
    if (name == "verbose") line_.verbose = true;
    if (name == "dry-run") line_.dry_run = true;
    if (name == "help") wants_help = ended_ = true;
    if (name == "version") wants_version = ended_ = true;
    if (name == "dump-options") wants_dump = ended_ = true;
    return {};
  }

  struct Given {
    CLI::Option* option;
    Words values;
  };

  Given& given(CLI::Option* option) {
    for (Given& known : given_)
      if (known.option == option) return known;
    given_.push_back({option, {}});
    return given_.back();
  }

  Result<void> set(CLI::Option* option, const std::string& name, const std::optional<std::string>& value) {
    Given& known = given(option);
    if (!value) {
      known.values = {option->get_flag_value(name, "")};
      return {};
    }
    GW_TRY(check_number(option, *value));
    if (is_joined(option) && !known.values.empty()) {
      known.values.back() += "," + *value;
      return {};
    }
    if (!takes_many(option)) known.values.clear();  // the last one counts
    known.values.push_back(*value);
    return {};
  }

  // The library reads "" as 0, 010 as 8, and what does not fit as the largest that does.
  static Result<void> check_number(const CLI::Option* option, const std::string& value) {
    const std::string type = option->get_type_name();
    if (type != "UINT" && type != "INT" && type != "N") return {};
    uint64_t number = 0;
    auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    bool octal = value.size() > 1 && value[0] == '0';
    if (error == std::errc() && end == value.data() + value.size() && !octal && number <= INT64_MAX) return {};
    return usage("'" + value + "' is not a value of " + shown_name(option) + ": expected a number");
  }

  Result<void> place_positionals() {
    size_t at = 0;
    for (CLI::Option* option : table_.options()) {
      if (!option->get_positional() || at == positionals_.size()) continue;
      size_t count = takes_many(option) ? positionals_.size() - at : 1;
      for (; count > 0; --count) given(option).values.push_back(positionals_[at++]);
    }
    if (at < positionals_.size()) return usage("unexpected argument '" + positionals_[at] + "'");
    return {};
  }

  Result<void> assign() {
    for (Given& known : given_) {
      CLI::Option* option = known.option;
      // A list of one such word would arrive empty, and "no ids" must never come to mean "all".
      if (takes_many(option) && known.values.size() == 1 && (known.values[0].empty() || known.values[0] == "{}"))
        return usage("'" + known.values[0] + "' is not a value of " + shown_name(option));
      option->allow_extra_args(false);  // else '[a,b]' becomes two words
      try {
        for (const std::string& value : known.values) option->add_result(value);
        option->run_callback();
      } catch (const CLI::ConversionError&) {
        return usage("'" + known.values.back() + "' is not a value of " + shown_name(option) + ": expected " + option->get_type_name());
      } catch (const CLI::Error& error) {
        const std::string name = shown_name(option), what = error.what();  // which may begin with the name
        return usage(what.starts_with(name + ":") ? what : name + ": " + what);
      }
    }
    return {};
  }

  const Tool& tool_;
  const Command* command_;
  Table table_;
  CommandLine& line_;
  std::vector<Given> given_;
  Words positionals_;
  size_t next_ = 1;
  bool ended_ = false;
};

// --- help -----------------------------------------------------------------------------------------------------------------

// Appends `text`, broken at spaces so that no line is longer than help_columns; continued lines start at `indent`.
void append_wrapped(std::string& into, std::string_view text, size_t column, size_t indent) {
  bool first = true;
  while (!text.empty()) {
    size_t end = std::min(text.find(' '), text.size());
    std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!first && column + 1 + word.size() > help_columns) {
      into += '\n';
      into.append(indent, ' ');
      column = indent;
    } else if (!first) {
      into += ' ';
      ++column;
    }
    into += word;
    column += word.size();
    first = false;
  }
  into += '\n';
}

struct Row {
  std::string name, text;
};

void append_rows(std::string& help, const char* title, const std::vector<Row>& rows) {
  if (rows.empty()) return;
  size_t width = 0;
  for (const Row& row : rows)
    if (row.name.size() <= 28) width = std::max(width, row.name.size());
  help += std::string("\n") + title + ":\n";
  for (const Row& row : rows) {
    help += "  " + row.name;
    if (row.name.size() > width)
      help += "\n" + std::string(width + 4, ' ');
    else
      help.append(width + 2 - row.name.size(), ' ');
    append_wrapped(help, row.text, width + 4, width + 4);
  }
}

std::string common_row_name(const CommonSpec& spec) {
  std::string name = spec.short_name ? "-" + std::string(1, spec.short_name) + ", --" : "    --";
  name += spec.long_name;
  if (spec.argument) name += std::string(" ") + spec.argument;
  return name;
}

std::string option_row_name(const CLI::Option* option) {
  std::string name;
  for (const std::string& short_name : option->get_snames()) name += (name.empty() ? "-" : ", -") + short_name;
  if (name.empty()) name = "    ";
  for (const std::string& long_name : option->get_lnames()) name += (name == "    " ? "--" : ", --") + long_name;
  if (takes_value(option)) name += " " + option->get_type_name();
  else if (may_take_value(option)) name += "[=" + option->get_type_name() + "]";
  return name;
}

void append_usage(std::string& help, const Tool& tool, const Command& command, bool first) {
  help += first ? "Usage: " : "       ";
  append_wrapped(help, tool.name + " " + command.usage, 7, 11);
}

void append_examples(std::string& help, const std::string& examples) {
  if (examples.empty()) return;
  help += "\nExamples:\n" + examples;
  if (!examples.ends_with('\n')) help += '\n';
}

void append_option_rows(std::string& help, const Table* table, bool dry_run) {
  std::vector<Row> arguments, own, common;
  for (const CLI::Option* option : table ? table->options() : std::vector<CLI::Option*>{}) {
    if (hidden(option)) continue;
    if (has_flag_names(option))
      own.push_back({option_row_name(option), option->get_description()});
    else if (!option->get_description().empty())
      arguments.push_back({option->get_name(true), option->get_description()});
  }
  for (const CommonSpec& spec : common_specs) {
    if (!spec.text) continue;
    if (spec.short_name != 'n')
      common.push_back({common_row_name(spec), spec.text});
    else if (dry_run)
      own.push_back({common_row_name(spec), spec.text});
  }
  append_rows(help, "Arguments", arguments);
  append_rows(help, "Options", own);
  append_rows(help, "Common options", common);
}

std::string command_help(const Tool& tool, const Command& command, const Table& table) {
  std::string help;
  append_usage(help, tool, command, true);
  append_wrapped(help, command.summary, 0, 0);
  append_option_rows(help, &table, command.changes_by_selection);
  append_examples(help, command.examples.empty() ? tool.examples : command.examples);
  return help;
}

std::string tool_help(const Tool& tool, const Command* unnamed, const Table& table) {
  std::string help;
  std::vector<Row> commands;
  for (const Command& command : tool.commands) {
    append_usage(help, tool, command, help.empty());
    if (!command.name.empty()) commands.push_back({command.name, command.summary});
  }
  append_wrapped(help, tool.summary, 0, 0);
  append_rows(help, "Commands", commands);
  if (!commands.empty()) help += "\n'" + tool.name + " COMMAND --help' shows a command's own options.\n";
  append_option_rows(help, unnamed ? &table : nullptr, unnamed && unnamed->changes_by_selection);
  std::string examples = tool.examples;
  for (const Command& command : tool.commands)
    if (tool.examples.empty()) examples += command.examples + (command.examples.empty() || command.examples.ends_with('\n') ? "" : "\n");
  append_examples(help, examples);
  return help;
}

void append_dump_line(std::string& dump, const std::string& command, std::string names, const std::string& argument, const std::string& text) {
  dump += command + "\t" + names + "\t" + argument + "\t" + text + "\n";
}

// The words of a command that are no options, in their order; '...' behind one that takes all that follow.
std::string dump_arguments(const Table& table) {
  std::string arguments;
  for (const CLI::Option* option : table.options())
    if (option->get_positional() && !has_flag_names(option))
      arguments += (arguments.empty() ? "" : " ") + option->get_name(true) + (takes_many(option) ? "..." : "");
  return arguments;
}

// For scripts (completion, comparison with the manual): command, names, argument, text; '-' is the form without a command, '*' all of them.
// Of a line without names the argument is the command's words.
std::string dump_options(const Tool& tool) {
  std::string dump;
  for (const CommonSpec& spec : common_specs) {
    if (!spec.text || spec.short_name == 'n') continue;
    std::string names = (spec.short_name ? "-" + std::string(1, spec.short_name) + "," : "") + "--" + spec.long_name;
    append_dump_line(dump, "*", names, spec.argument ? spec.argument : "", spec.text);
  }
  for (const Command& command : tool.commands) {
    const std::string name = command.name.empty() ? "-" : command.name;
    Table table(&command);
    append_dump_line(dump, name, "", dump_arguments(table), command.summary);
    for (const CLI::Option* option : table.options()) {
      if (hidden(option) || !has_flag_names(option)) continue;
      std::string names;
      for (const std::string& short_name : option->get_snames()) names += (names.empty() ? "-" : ",-") + short_name;
      for (const std::string& long_name : option->get_lnames()) names += (names.empty() ? "--" : ",--") + long_name;
      append_dump_line(dump, name, names, takes_value(option) ? option->get_type_name() : "", option->get_description());
    }
    if (command.changes_by_selection) append_dump_line(dump, name, "-n,--dry-run", "", "show what would be changed, change nothing");
  }
  return dump;
}

}  // namespace

Result<CommandLine> parse_command_line(int argc, char** argv, const Tool& tool, const Command** command_out) {
  const Words words(argv, argv + argc);
  CommandLine line;
  auto chosen = choose_command(tool, words);
  if (!chosen) return std::move(chosen).error();
  line.command = *command_out = chosen->command;
  Reader reader(tool, chosen->command, line);
  GW_TRY(reader.read(words, chosen->word));
  if (reader.wants_version) line.print = tool.name + " (Gatepost) " + version_string + "\n";
  if (reader.wants_dump) line.print = dump_options(tool);
  if (reader.wants_help)
    line.print = chosen->word ? command_help(tool, *chosen->command, reader.table()) : tool_help(tool, chosen->command, reader.table());
  return line;
}

std::string try_help(const Tool& tool, const Command* command) {
  std::string words = tool.name;
  if (command && !command->name.empty()) words += " " + command->name;
  return "Try '" + words + " --help' for more information.";
}

}  // namespace gw
