// `gw-send wait`, `status` and `flush`.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw {

/// `argv` is what the forwarder gets when it takes over.
Tool make_tool(char** argv);

Result<ExitCode> wait_for(const WaitOptions& options, const CommonOptions& common);
Result<ExitCode> show_status(const StatusOptions& options, const CommonOptions& common);
Result<ExitCode> flush_outboxes(const FlushOptions& options, const CommonOptions& common);

}  // namespace gw
