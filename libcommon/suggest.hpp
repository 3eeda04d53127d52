// "did you mean": for words on command lines and in the configuration.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace gw {

/// "did you mean 'x'?", x the nearest of `known`, or "" if none is near.
std::string suggest(std::string_view word, const std::vector<std::string>& known);

}  // namespace gw
