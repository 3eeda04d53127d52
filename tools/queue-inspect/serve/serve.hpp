// The web page: read-only, for people, over HTTP.
#pragma once

#include "../serve_options.hpp"
#include "tool.hpp"

namespace gw::inspect {

/// Runs until SIGTERM or SIGINT.
Result<ExitCode> serve(const ServeOptions& options, const CommonOptions& common);

}  // namespace gw::inspect
