// The commands of gw-send.
#include "commands.hpp"
#include "forward_program.hpp"
#include "options.hpp"
#include "reply.hpp"
#include "send.hpp"
#include "tool.hpp"

namespace gw {
namespace {

SendOptions send_options;
ReplyOptions reply_options;
WaitOptions wait_options;
StatusOptions status_options;
FlushOptions flush_options;
ForwardOptions forward_options;
ProbeOptions probe_options;
char** words = nullptr;

Command command(const char* name, const char* usage, const char* summary, const char* examples) {
  Command made;
  made.name = name;
  made.usage = usage;
  made.summary = summary;
  made.examples = examples;
  return made;
}

}  // namespace

Tool make_tool(char** argv) {
  words = argv;
  Tool tool;
  tool.name = "gw-send";
  tool.summary = "send messages to other sites";
  Command send_one = command("", "--to SITES [--wait delivered [--timeout T]] [OPTION]... [FILE | -]", "store a message for sites, print its id",
                             "  gw-send --to Store1,Store2 --type Prices.PriceFile prices.csv\n"
                             "  gw-send --to 'Store*' --dry-run prices.csv\n"
                             "  mysqldump shop | gw-send --to 'Store*' --wait delivered --timeout 10m\n");
  send_one.changes_by_selection = true;
  send_one.define = [](CLI::App& app) { define_send_options(app, send_options); };
  send_one.run = [](const CommonOptions& common) { return send(send_options, common); };
  Command answer = command("reply", "reply [--of ID:QUEUE] [OPTION]... [FILE | -]", "answer the message that a handler has got, print the answer's id",
                           "  echo \"$price\" | gw-send reply --type Prices.PriceAnswer           # in a handler\n"
                           "  gw-send reply --of 2cd472e1-0bf3-4f36-aa98-b50900bd6381:audit answer.json\n");
  answer.define = [](CLI::App& app) { define_reply_options(app, reply_options); };
  answer.run = [](const CommonOptions& common) { return reply(reply_options, common); };
  Command wait = command("wait", "wait [--for delivered] [--to SITES] [--timeout T] ID...", "wait until messages have arrived",
                         "  gw-send wait --timeout 10m 2cd472e1-0bf3-4f36-aa98-b50900bd6381\n");
  wait.define = [](CLI::App& app) { define_wait_options(app, wait_options); };
  wait.run = [](const CommonOptions& common) { return wait_for(wait_options, common); };
  Command status = command("status", "status [--to SITES] [--max-count N] [--max-age T] [--min-free SIZE]", "show what waits for each site",
                           "  gw-send status\n  gw-send status --max-age 1h || mail -s 'prices are late' ops\n");
  status.define = [](CLI::App& app) { define_status_options(app, status_options); };
  status.run = [](const CommonOptions& common) { return show_status(status_options, common); };
  Command flush = command("flush", "flush [--to SITES] [ID...]", "try now what would be tried later", "  gw-send flush --to Store1\n");
  flush.changes_by_selection = true;
  flush.define = [](CLI::App& app) { define_flush_options(app, flush_options); };
  flush.run = [](const CommonOptions& common) { return flush_outboxes(flush_options, common); };
  Command forward = command("forward", forward_usage, "carry stored messages to their sites", forward_examples);
  forward.define = [](CLI::App& app) { define_forward_options(app, forward_options); };
  forward.run = [](const CommonOptions&) -> Result<ExitCode> { return become_forwarder(words); };
  Command probe = command("probe", probe_usage, "show what of a message arrives at a site, and what proxies do to it", probe_examples);
  probe.define = [](CLI::App& app) { define_probe_options(app, probe_options); };
  probe.run = [](const CommonOptions&) -> Result<ExitCode> { return become_forwarder(words); };
  tool.commands = {send_one, answer, wait, status, flush, forward, probe};
  return tool;
}

}  // namespace gw
