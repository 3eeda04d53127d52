// The commands of distributor.
#pragma once

#include "tool.hpp"

namespace gw::distributor {

Tool make_tool();

}  // namespace gw::distributor
