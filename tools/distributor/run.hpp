// distributor run
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::distributor {

Result<ExitCode> run_distributor(const RunOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
