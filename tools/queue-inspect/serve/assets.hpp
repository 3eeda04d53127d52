// Files of the page that are part of the program.
#pragma once

#include <string_view>

namespace gw::inspect::assets {

std::string_view style();
std::string_view live();
std::string_view icon();

}  // namespace gw::inspect::assets
