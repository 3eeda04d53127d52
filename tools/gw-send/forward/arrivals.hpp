// What of the headers of a probe arrived at the other end.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gw {

/// Names and values as they stand in a request.
using HeadLines = std::vector<std::pair<std::string, std::string>>;

enum class Arrival { same, lower_cased, changed, lost };
const char* to_string(Arrival arrival);

/// The lines of a head whose lines end with NUL.
HeadLines lines_of_head(std::string_view head);

/// What became of each line that was sent, in their order. A name that came in another case is lower-cased, whatever the case is.
std::vector<Arrival> compare_heads(const HeadLines& sent, const HeadLines& arrived);

}  // namespace gw
