// distributor status
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::distributor {

Result<ExitCode> run_status(const StatusOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
