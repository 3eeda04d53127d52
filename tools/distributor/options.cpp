#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::distributor {

void define_worker(CLI::App& app, WorkerOptions& into) {
  app.add_option("--queue", into.queue, "the queue to take messages from")->type_name("Q");
  app.add_option("--capacity", into.capacity, "messages at once [1]")->type_name("N");
  app.add_flag("--once", into.once, "one attempt for everything that is due now, then end");
  app.add_flag("--drain", into.drain, "end when nothing is ready, claimed or deferred");
  app.add_option("--handler-timeout", into.handler_timeout, "end a handler that runs longer [no limit]")->type_name("T");
  app.add_option("CMD", into.command, "the handler and its arguments, behind --")->type_name("CMD [ARG...]");
}

}  // namespace gw::distributor
