// Small pictures of what a queue did in the last minutes: lines in SVG, whose colours are those of the page.
#pragma once

#include <string>
#include <vector>

#include "html.hpp"

namespace gw::inspect {

struct Line {
  Markup css_class;
  std::vector<double> values;  ///< the newest last
};

/// All lines on one scale from 0 to the highest value. `room` values fill the width; fewer begin in the middle. `said` is read aloud.
/// Nothing for lines that are all 0 or have less than two values.
Html picture(const std::vector<Line>& lines, size_t room, std::string_view said);

}  // namespace gw::inspect
