#include "commands.hpp"

#include "options.hpp"
#include "worker.hpp"

namespace gw::distributor {

namespace {

constexpr const char* worker_examples =
    "  distributor worker --queue Store17 -- ./import-prices\n"
    "  distributor worker --queue Sales --capacity 4 --handler-timeout 5m -- ./handle-order --fast\n"
    "  distributor worker --queue Sales --drain -- sh -c 'echo \"$GW_MESSAGE_ID\"'\n";

Command worker_command() {
  static WorkerOptions options;
  Command command;
  command.name = "worker";
  command.usage =
      "worker --queue Q [--capacity N] [--stream[=lines|binary]] [--once | --drain] [--retries N] [--retry-increment T] [--immediate-retries N] "
      "[--handler-timeout T] [--error-queue Q] [--audit Q] [--on-expire drop|error] [--joblog FILE] [--arg] -- CMD [ARG...]";
  command.summary = "run a command for each message of a queue";
  command.examples = worker_examples;
  command.define = [](CLI::App& app) { define_worker(app, options); };
  command.run = [](const CommonOptions& common) { return run_worker(options, common); };
  return command;
}

}  // namespace

Tool make_tool() {
  Tool tool;
  tool.name = "distributor";
  tool.summary = "runs handlers for the messages of a queue";
  tool.commands = {worker_command()};
  tool.examples = worker_examples;
  return tool;
}

}  // namespace gw::distributor
