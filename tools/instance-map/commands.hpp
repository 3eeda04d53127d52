// The commands of instance-map.
#pragma once

#include "tool.hpp"

namespace gw::instance_map {

Tool make_tool();

}  // namespace gw::instance_map
