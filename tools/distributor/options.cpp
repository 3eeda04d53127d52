#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::distributor {

void define_worker(CLI::App& app, WorkerOptions& into) {
  app.add_option("--queue", into.queue, "the queue to take messages from [with --master E.worker]")->type_name("Q");
  app.add_option("--master", into.master, "get messages from the distributor of this endpoint")->type_name("E@MACHINE");
  app.add_option("--capacity", into.capacity, "messages at once [1; with --stream 256]")->type_name("N");
  app.add_option("--stream", into.stream, "one process for many messages: JSON lines, or frames with =binary")
      ->expected(0, 1)
      ->default_str("lines")
      ->type_name("lines|binary");
  app.add_flag("--once", into.once, "one attempt for everything that is due now, then end");
  app.add_flag("--drain", into.drain, "end when nothing is ready, claimed or deferred");
  app.add_option("--retries", into.retries, "delayed retries of a message [3]")->type_name("N");
  app.add_option("--retry-increment", into.retry_increment, "the n-th delayed retry comes n times this later [10s]")->type_name("T");
  app.add_option("--immediate-retries", into.immediate_retries, "retries at once, before each delayed one [5]")->type_name("N");
  app.add_option("--error-queue", into.error_queue, "where messages go that failed for good [error]")->type_name("Q");
  app.add_option("--audit", into.audit, "keep a copy of every message that was handled")->type_name("Q");
  app.add_option("--on-expire", into.on_expire, "what happens to messages past their time to be received [drop]")->type_name("drop|error");
  app.add_option("--joblog", into.job_log, "append a line for each attempt, in the columns of GNU parallel")->type_name("FILE");
  app.add_flag("--arg", into.body_as_argument, "{} in an ARG is the body");
  app.add_option("--handler-timeout", into.handler_timeout, "end a handler that runs longer [no limit]")->type_name("T");
  app.add_option("CMD", into.command, "the handler and its arguments, behind --")->type_name("CMD [ARG...]");
}

void define_run(CLI::App& app, RunOptions& into) {
  app.add_option("--endpoint", into.endpoint, "the queue to distribute")->type_name("E");
  app.add_option("--concurrency", into.concurrency, "messages that are handed out at once [500]")->type_name("N");
  app.add_option("--lease", into.lease, "a worker that is silent for longer is dead [30s]")->type_name("T");
  app.add_option("--error-queue", into.error_queue, "where foreign messages of the control queue go [error]")->type_name("Q");
}

void define_status(CLI::App& app, StatusOptions& into) {
  app.add_option("--endpoint", into.endpoint, "only this endpoint [all of the root]")->type_name("E");
  define_limits(app, into.limits);
}

void define_operator(CLI::App& app, OperatorOptions& into) { app.add_option("WORKER", into.worker, "its name, as status prints it")->type_name("WORKER"); }

void define_drain(CLI::App& app, OperatorOptions& into) {
  define_operator(app, into);
  app.add_flag("--wait", into.wait, "end when the worker has finished all that it had");
  app.add_option("--timeout", into.timeout, "with --wait: give up after this time, exit 75 [for ever]")->type_name("T");
}

}  // namespace gw::distributor
