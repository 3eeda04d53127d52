#include "forwarder_hint.hpp"

#include "config_names.hpp"
#include "diag.hpp"
#include "held_sends.hpp"

namespace gw::instance_map {

void ForwarderHint::look(const Destination& to) {
  if (told_ || to.machine.empty() || to.machine == looked_ || common_.quiet || inside_handler()) return;
  looked_ = to.machine;
  if (root_.singleton("forward").pid != 0 || root_.singleton(forwarder_lock(key_of_machine(to.machine))).pid != 0) return;
  told_ = true;
  event(Level::warn, "no-forwarder", {{"hint", "nobody forwards the messages of this root; start 'gw-send forward --root " + common_.root + "'"}});
}

}  // namespace gw::instance_map
