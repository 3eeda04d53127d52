#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::distributor {

void define_worker(CLI::App& app, WorkerOptions& into) {
  app.add_option("--queue", into.queue, "the queue to take messages from")->type_name("Q");
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

}  // namespace gw::distributor
