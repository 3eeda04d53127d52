// The frame that all six tools share: common options (CLI.md section 1), subcommands, help, version, exit codes, the
// end of main(). A tool describes itself as a Tool; each tool's options.cpp is where CLI11 is included.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "exit_code.hpp"
#include "queue.hpp"
#include "result.hpp"
#include "suggest.hpp"

namespace CLI {
class App;
}

namespace gw {

extern const char version_string[];  ///< X.Y.Z

struct CommonOptions {
  std::string root;    ///< resolved: --root, GW_ROOT, the defaults of CLI.md
  std::string config;  ///< resolved path; may not exist unless config_given
  bool config_given = false;  ///< by --config or GW_CONFIG: then it must exist
  bool check_config = false;
  bool json = false, quiet = false, verbose = false, dry_run = false;
  bool color = false;        ///< decided for stdout (--color, NO_COLOR, TERM, tty)
  bool color_stderr = false;
};

/// One way to call a tool. `define` adds this command's own options to the parser; it runs only for the chosen command.
struct Command {
  std::string name;      ///< "" for the form without a subcommand
  std::string usage;     ///< what follows the tool's name: "take QUEUE [SEL] [--max N]"
  std::string summary;   ///< one line of the Commands: list
  std::string examples;  ///< lines for --help, two spaces before each
  bool changes_by_selection = false;  ///< offers -n, --dry-run
  std::function<void(CLI::App&)> define;
  std::function<Result<ExitCode>(const CommonOptions&)> run;
};

struct Tool {
  std::string name, summary;
  std::vector<Command> commands;
  std::string examples;
  /// --check-config without a subcommand: checks what this tool reads. Empty: the shared configuration check.
  std::function<Result<ExitCode>(const CommonOptions&)> check_config;
};

/// Everything between main() and a command: parses, sets up diagnostics, ignores SIGPIPE and SIGXFSZ, runs, prints the error,
/// flushes stdout (74 if that fails), and turns anything thrown into 70. Options may stand before or after the subcommand.
int tool_main(int argc, char** argv, const Tool& tool);

/// Opens the root of the options. With `create`, makes it on first use. If the root directory belongs to another user and the
/// caller is root, becomes that user first: open FILE arguments before. `machine`: this machine's name in a root that is made.
Result<std::unique_ptr<Root>> open_root(const CommonOptions& options, bool create, uint64_t min_free_bytes = min_free_bytes_default,
                                        const std::string& machine = {});

/// Writes to stdout (buffered). Errors are remembered and reported by flush_stdout.
void out(std::string_view text);
/// io_error if any write to stdout failed.
Result<void> flush_stdout();

/// SIGTERM and SIGINT ask for the end, SIGHUP for a new reading of the configuration. Install once, before threads start.
class Signals {
 public:
  static void install();
  static bool stop_requested();
  /// True once per SIGHUP. Every loop that waits for wake_fd() has to ask.
  static bool take_reload();
  /// Readable (poll) when one of them arrived, until a SIGHUP is taken, and for ever after the others; never read it.
  static int wake_fd();
  /// Called from the handler's own thread-safe context on each signal, e.g. to ring a root. Set before install.
  /// Give it an empty function before what the action uses goes away: it returns when the action does not run any more.
  static void on_signal(std::function<void()> action);
};

/// The one line of a long-running command on stdout, flushed, and sd_notify(READY=1) if asked for by the environment.
Result<void> print_ready(std::string_view line);

}  // namespace gw
