// `gw-send probe`: sends what a message would look like, as a call that nobody takes for one, and says what arrived.
#pragma once

#include "forward_options.hpp"
#include "tool.hpp"

namespace gw {

/// 0: all arrives; 1: something is dropped or changed; 69: the site refuses; 75: no answer.
Result<ExitCode> probe_sites(const ProbeOptions& options, const CommonOptions& common);

}  // namespace gw
