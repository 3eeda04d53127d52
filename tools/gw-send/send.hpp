// `gw-send --to SITES`: one message per site, all or none, in the outboxes of the sites.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw {

Result<ExitCode> send(const SendOptions& options, const CommonOptions& common);

}  // namespace gw
