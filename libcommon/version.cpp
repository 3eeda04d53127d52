#include "tool.hpp"

namespace gw {

const char version_string[] = "0.1.0";

}  // namespace gw
