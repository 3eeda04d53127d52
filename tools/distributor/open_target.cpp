#include "open_target.hpp"

namespace gw::distributor {

Result<Destination> open_target(Root& root, Destinations& destinations, const std::string& text) {
  GW_TRY_ASSIGN(Address address, parse_address(text));
  if (is_here(address, root.machine())) GW_TRY(root.create_queue(address.queue));
  return destinations.find(address);
}

}  // namespace gw::distributor
