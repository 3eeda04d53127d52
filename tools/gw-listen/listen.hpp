// The running listener: opens the root, starts the server, waits for signals.
#pragma once

#include "options.hpp"

namespace gw::listen {

Result<ExitCode> run_listener(const CommonOptions& common, const Options& options);

}  // namespace gw::listen
