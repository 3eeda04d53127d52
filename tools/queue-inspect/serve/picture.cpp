#include "picture.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace gw::inspect {
namespace {

constexpr double width = 120, height = 24, margin = 2;

std::string at(double x, double y) {
  char text[40];
  snprintf(text, sizeof text, "%.1f,%.1f ", x, y);
  return text;
}

}  // namespace

Html picture(const std::vector<Line>& lines, size_t room, std::string_view said) {
  double highest = 0;
  size_t longest = 0;
  for (const Line& line : lines) {
    longest = std::max(longest, line.values.size());
    for (double value : line.values)
      if (std::isfinite(value)) highest = std::max(highest, value);
  }
  Html svg;
  if (longest < 2) return svg;
  const double step = width / static_cast<double>(std::max<size_t>(room, 2) - 1);
  svg.tag("<svg class=\"picture\" viewBox=\"0 0 120 24\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"").text(said).tag("\">");
  for (const Line& line : lines) {
    std::string points;
    double x = width - step * static_cast<double>(line.values.size() - 1);
    for (double value : line.values) {
      const double share = highest > 0 && std::isfinite(value) ? std::max(value, 0.0) / highest : 0;
      points += at(x, height - margin - share * (height - 2 * margin));
      x += step;
    }
    svg.tag("<polyline class=\"").tag(line.css_class).tag("\" vector-effect=\"non-scaling-stroke\" points=\"").text(points).tag("\"/>");
  }
  return svg.tag("</svg>");
}

}  // namespace gw::inspect
