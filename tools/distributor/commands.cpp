#include "commands.hpp"

#include "operator_commands.hpp"
#include "options.hpp"
#include "run.hpp"
#include "status.hpp"
#include "worker.hpp"

namespace gw::distributor {

namespace {

constexpr const char* worker_examples =
    "  distributor worker --queue Store17 -- ./import-prices\n"
    "  distributor worker --queue Sales --capacity 4 --handler-timeout 5m -- ./handle-order --fast\n"
    "  distributor worker --master Sales@vm1 --capacity 4 -- ./handle-order\n"
    "  distributor worker --queue Sales --drain -- sh -c 'echo \"$GW_MESSAGE_ID\"'\n";

Command worker_command() {
  static WorkerOptions options;
  Command command;
  command.name = "worker";
  command.usage =
      "worker (--queue Q | --master E@MACHINE [--queue Q]) [--capacity N] [--stream[=lines|binary]] [--once | --drain] [--retries N] [--retry-increment T] [--immediate-retries N] "
      "[--handler-timeout T] [--error-queue Q] [--audit Q] [--on-expire drop|error] [--joblog FILE] [--arg] -- CMD [ARG...]";
  command.summary = "run a command for each message of a queue";
  command.examples = worker_examples;
  command.define = [](CLI::App& app) { define_worker(app, options); };
  command.run = [](const CommonOptions& common) { return run_worker(options, common); };
  return command;
}

constexpr const char* run_examples =
    "  distributor run --endpoint Sales\n"
    "  distributor run --endpoint Sales --concurrency 8 --lease 1m\n";

Command run_command() {
  static RunOptions options;
  Command command;
  command.name = "run";
  command.usage = "run --endpoint E [--concurrency N] [--lease T] [--error-queue Q]";
  command.summary = "hand the messages of a queue to workers that are ready";
  command.examples = run_examples;
  command.define = [](CLI::App& app) { define_run(app, options); };
  command.run = [](const CommonOptions& common) { return run_distributor(options, common); };
  return command;
}

Command status_command() {
  static StatusOptions options;
  Command command;
  command.name = "status";
  command.usage = "status [--endpoint E] [--max-count N] [--max-age T] [--min-free SIZE]";
  command.summary = "distributors, their workers, and whether all tokens are there";
  command.examples = "  distributor status\n  distributor status --endpoint Sales --json\n  distributor status --max-age 5m || echo 'orders wait too long'\n";
  command.define = [](CLI::App& app) { define_status(app, options); };
  command.run = [](const CommonOptions& common) { return run_status(options, common); };
  return command;
}

Command drain_command() {
  static OperatorOptions options;
  Command command;
  command.name = "drain";
  command.usage = "drain WORKER [--wait [--timeout T]]";
  command.summary = "give a worker nothing new, until it is resumed";
  command.examples = "  distributor drain Sales.worker@vm2 --wait --timeout 10m\n";
  command.define = [](CLI::App& app) { define_drain(app, options); };
  command.run = [](const CommonOptions& common) { return run_drain(options, common); };
  return command;
}

Command resume_command() {
  static OperatorOptions options;
  Command command;
  command.name = "resume";
  command.usage = "resume WORKER";
  command.summary = "give a drained worker messages again";
  command.examples = "  distributor resume Sales.worker@vm2\n";
  command.define = [](CLI::App& app) { define_operator(app, options); };
  command.run = [](const CommonOptions& common) { return run_resume(options, common); };
  return command;
}

Command unregister_command() {
  static OperatorOptions options;
  Command command;
  command.name = "unregister";
  command.usage = "unregister WORKER";
  command.summary = "forget a worker until it starts anew; what it had goes to others";
  command.examples = "  distributor unregister Sales.worker@vm2\n";
  command.define = [](CLI::App& app) { define_operator(app, options); };
  command.run = [](const CommonOptions& common) { return run_unregister(options, common); };
  return command;
}

}  // namespace

Tool make_tool() {
  Tool tool;
  tool.name = "distributor";
  tool.summary = "runs handlers for the messages of a queue, on one worker or on many";
  tool.commands = {worker_command(), run_command(), status_command(), drain_command(), resume_command(), unregister_command()};
  tool.examples = worker_examples;
  return tool;
}

}  // namespace gw::distributor
