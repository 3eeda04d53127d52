// distributor drain, resume, unregister
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::distributor {

Result<ExitCode> run_drain(const OperatorOptions& options, const CommonOptions& common);
Result<ExitCode> run_resume(const OperatorOptions& options, const CommonOptions& common);
Result<ExitCode> run_unregister(const OperatorOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
