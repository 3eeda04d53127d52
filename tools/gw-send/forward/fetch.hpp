// Getting a small file over http(s) for a tool that does not load libcurl: an instance map, say.
#pragma once

#include <string>
#include <vector>

#include "tool.hpp"

namespace gw {

/// Writes the body of the answer to stdout. no_input: 404 or 410; unavailable: no answer, or another status than 200.
Result<ExitCode> fetch(const std::string& url);

}  // namespace gw
