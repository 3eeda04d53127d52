// What `watch` shows of a look at the root: as a screen, as lines, as JSON.
#pragma once

#include <string>
#include <vector>

#include "overview.hpp"
#include "screen.hpp"

namespace gw::inspect {

enum class Charset { ascii, utf8 };
struct ScreenLook {
  ScreenSize size;
  bool color = false;
  Charset charset = Charset::ascii;
};

/// At most size.rows lines, none wider than size.columns. What does not fit is counted.
std::vector<std::string> watch_screen(const Overview& now, const ScreenLook& look);
/// One line for each thing that is not at rest, the time and the kind first.
std::string watch_lines(const Overview& now);
/// One object for each thing, `kind` and `at` first.
std::string watch_json(const Overview& now);

/// The values of a history as one character each, the highest as a full block.
std::string bars(const std::vector<double>& values, size_t columns);

}  // namespace gw::inspect
