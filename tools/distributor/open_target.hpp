// Error and audit queues that a command line names.
#pragma once

#include "address.hpp"

namespace gw::distributor {

/// `queue` or `queue@machine`: here it is made, elsewhere it must be there. usage: no address, or an unknown machine.
Result<Destination> open_target(Root& root, Destinations& destinations, const std::string& text);

}  // namespace gw::distributor
