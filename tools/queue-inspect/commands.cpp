#include "commands.hpp"

#include "command.hpp"
#include "serve_options.hpp"

namespace gw::inspect {

namespace {

using Define = void (*)(CLI::App&, Options&);
using Run = Result<ExitCode> (*)(const Options&, const CommonOptions&);

enum class Selects { no, changes };

void no_options(CLI::App&, Options&) {}

char** words = nullptr;
ServeOptions serve_options;

void add(Tool& tool, const std::shared_ptr<Options>& options, const char* usage, const char* summary, const char* examples, Selects selects,
         Define define, Run run) {
  tool.commands.push_back(make_command(options, usage, summary, examples, selects == Selects::changes, define, run));
}

void add_messages(Tool& tool, const std::shared_ptr<Options>& options) {
  add(tool, options, "put QUEUE[@MACHINE] [--create] [OPTIONS] [FILE | -]", "store messages; prints the id when it cannot be lost",
      "  echo hello | queue-inspect put Sales\n"
      "  queue-inspect put Prices --create --type Prices.Updated --id prices-2026-11-21 prices.csv\n"
      "  seq 1000 | queue-inspect put Sales --lines\n",
      Selects::no, define_put, put);
  add(tool, options, "take QUEUE [SEL] [--max N] [--wait [--timeout T] | --follow] [--lines | -0 | --json | --to-dir DIR]",
      "write what is ready to stdout or to files, and remove it from the queue",
      "  queue-inspect take Sales --max 1\n"
      "  queue-inspect take Sales --follow --lines | while read -r line; do echo \"$line\"; done\n"
      "  queue-inspect take Prices --to-dir incoming\n",
      Selects::changes, define_take, take);
  add(tool, options, "show QUEUE SEL [--headers | --body]", "print headers and body of messages, which stay in the queue",
      "  queue-inspect show error :17\n  queue-inspect show error --where 'type~^Prices' --headers\n", Selects::no, define_show, show);
  add(tool, options, "move SRC DST SEL", "move messages to another queue, each exactly once",
      "  queue-inspect move error Sales --where 'reason~time.?out'\n  queue-inspect move Sales Archive --all --dry-run\n", Selects::changes,
      define_move, move);
  add(tool, options, "groups QUEUE [SEL]", "list failed messages by what they failed of",
      "  queue-inspect groups error\n  queue-inspect groups error --where 'age<1d' --json\n", Selects::no, define_groups, groups);
  add(tool, options, "return QUEUE SEL [--to Q] [--rate R] [--ramp L] [--settle T] [--stop-on-failures N]",
      "send failed messages back to where they failed, each exactly once",
      "  queue-inspect return error --group 5f2c01aa --dry-run\n"
      "  queue-inspect return error --all --ramp 1,5,20,100 --stop-on-failures 3\n"
      "  queue-inspect return error --where 'age<2h' --rate 10/s --json > returned.jsonl\n",
      Selects::changes, define_return, return_messages);
  add(tool, options, "edit QUEUE SEL [--exec CMD]", "replace messages by ones with another body",
      "  queue-inspect edit error :17\n  queue-inspect edit error --group 5f2c01aa --exec ./add-currency\n", Selects::changes, define_edit, edit);
  add(tool, options, "trace ID... [--remote]", "tell what happened to a message, and where it is now",
      "  queue-inspect trace order-17\n  queue-inspect trace order-17 --json | jq .event\n  queue-inspect trace order-17 --remote\n", Selects::no, define_trace, trace);
  add(tool, options, "purge QUEUE SEL", "remove messages for good", "  queue-inspect purge error --where 'age>30d'\n", Selects::changes,
      define_purge, purge);
}

void add_queues(Tool& tool, const std::shared_ptr<Options>& options) {
  add(tool, options, "list [QUEUE [SEL] [--follow]] [--max-count N] [--max-age T] [--min-free SIZE]", "list queues, or a queue's messages",
      "  queue-inspect list\n  queue-inspect list error --where 'age>1h' --json\n  queue-inspect list --max-count 1000 --max-age 10m\n"
      "  queue-inspect list error --follow --json --where 'age<1m' | ./mail-each-line\n",
      Selects::no, define_list, list);
  add(tool, options, "create QUEUE... [--journal] [--max-bytes SIZE]", "create queues", "  queue-inspect create Sales Sales.audit\n",
      Selects::no, define_create, create);
  add(tool, options, "remove QUEUE [--force]", "remove a queue", "  queue-inspect remove Sales.audit\n", Selects::no, define_remove, remove);
  add(tool, options, "hold QUEUE... [--puts] [--reason T]", "stop takes (or puts), for all processes, until they are released",
      "  queue-inspect hold Sales --reason 'database upgrade'\n", Selects::no, define_hold, hold);
  add(tool, options, "release QUEUE...", "let takes and puts go on", "  queue-inspect release Sales\n", Selects::no, define_release, release);
  add(tool, options, "wait QUEUE --for COND [--timeout T]", "wait until a queue is empty, quiet, or has or has not got a message",
      "  queue-inspect wait Sales --for empty --timeout 5m\n  queue-inspect wait Sales --for id=order-17 --timeout 10s\n", Selects::no,
      define_wait, wait);
  add(tool, options, "export [QUEUE [SEL] | --all]", "write messages as a tar archive to stdout; they stay in their queues",
      "  queue-inspect export --all > backup.tar\n  queue-inspect export error --where 'age>1d' > old.tar\n", Selects::no, define_export,
      export_queues);
  add(tool, options, "import [QUEUE] [--create]", "read such an archive from stdin; a message that was imported before is passed over",
      "  queue-inspect import --create < backup.tar\n", Selects::no, define_import, import_queues);
  add(tool, options, "check [--repair]", "check every record and each queue's balance", "  queue-inspect check\n", Selects::no, define_check,
      check);
  add(tool, options, "watch [--interval T]", "show queues, rates, ages, sites, workers and failures as they change",
      "  queue-inspect watch\n  queue-inspect watch --interval 10s --json >> history.jsonl\n", Selects::no, define_watch, watch);
  add(tool, options, "metrics", "print counts, ages and sizes for Prometheus",
      "  queue-inspect metrics > /var/lib/prometheus/node-exporter/gatepost.prom\n", Selects::no, no_options, metrics);
}

}  // namespace

Tool make_tool(char** argv) {
  words = argv;
  Tool tool;
  tool.name = "queue-inspect";
  tool.summary = "look into local queues, and work on them by hand and from scripts";
  auto options = std::make_shared<Options>();
  add_queues(tool, options);
  add_messages(tool, options);
  add(tool, options, serve_usage, serve_summary, serve_examples, Selects::no, [](CLI::App& app, Options&) { define_serve(app, serve_options); },
      [](const Options&, const CommonOptions&) -> Result<ExitCode> { return become_serve(words); });
  tool.examples =
      "  echo hello | queue-inspect put Sales --create\n"
      "  queue-inspect list\n"
      "  queue-inspect take Sales\n";
  return tool;
}

}  // namespace gw::inspect
