// The worker: takes messages from a queue, has a runner give them to handlers, and a settler settle what came of it.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::distributor {

/// `distributor worker`.
Result<ExitCode> run_worker(const WorkerOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
