// The worker: takes messages from a queue, runs the handler for each, and settles what came of it.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::distributor {

/// How long a message rests after its failures'th failed attempt (1, 2, ...): 1 s, doubling to 60 s.
int64_t pause_after_failure_ms(unsigned failures);

/// `distributor worker`.
Result<ExitCode> run_worker(const WorkerOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
