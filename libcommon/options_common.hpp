// Reading the command line for tool_main. The parser library is used for its table of options (names, texts, conversion);
// the words are split here by GNU's rules, because the library has its own for empty words, brackets and lists.
#pragma once

#include <string>

#include "diag.hpp"
#include "tool.hpp"

namespace gw {

struct CommandLine {
  std::string root, config;  ///< as given; empty if not
  std::string color = "auto", log_format = "text";
  bool check_config = false, json = false, quiet = false, verbose = false, dry_run = false;
  const Command* command = nullptr;  ///< nullptr: none was named and the tool has no form without one
  std::string print;                 ///< not empty: the answer to --help, --version or --dump-options; nothing else is to be done
};

/// Finds the command, defines its options, reads all words. `command_out` is set before the options are read, so that an error can
/// name the command. Fails with usage, naming the word.
Result<CommandLine> parse_command_line(int argc, char** argv, const Tool& tool, const Command** command_out);

/// The text that follows a usage error: "Try 'gw-send status --help' for more information."
std::string try_help(const Tool& tool, const Command* command);

}  // namespace gw
