// `gw-send forward`: carries what lies in the outboxes to the sites.
#pragma once

#include "dispatcher.hpp"
#include "tool.hpp"

namespace gw {

/// Forwards until the job is done or a signal ends it; prints the ready line of a daemon.
Result<ExitCode> run_forwarder(Root& root, ForwardJob job);

}  // namespace gw
