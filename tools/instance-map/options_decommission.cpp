#include <CLI/CLI.hpp>

#include "decommission.hpp"
#include "senders.hpp"

namespace gw::instance_map {

void define_senders(CLI::App& app, SendersOptions& into) {
  define_map_options(app, into.map);
  app.add_option("E", into.endpoint, "only those that send to this endpoint");
  app.add_flag("--wait", into.wait, "wait until all of them know the map as it is now");
  app.add_option("--timeout", into.timeout, "longest wait [none]")->type_name("T");
}

void define_decommission(CLI::App& app, DecommissionOptions& into) {
  define_map_options(app, into.map);
  app.add_option("ADDR", into.address, "the instance: QUEUE@MACHINE, or QUEUE on this machine");
  app.add_flag("--status", into.status, "show how far it has come: 0 done, 75 under way, 1 not begun");
  app.add_flag("--rollback", into.rollback, "put the instance back into service");
  app.add_option("--ignore-sender", into.ignored, "do not wait for this sender (its name, endpoint or machine); may be repeated")->type_name("S");
  app.add_option("--drain-timeout", into.drain_timeout, "longest wait for senders, and for the queue to be worked off [10m]")->type_name("T");
}

}  // namespace gw::instance_map
