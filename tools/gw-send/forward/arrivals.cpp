#include "arrivals.hpp"

#include <strings.h>

namespace gw {

const char* to_string(Arrival arrival) {
  switch (arrival) {
    case Arrival::same: return "same";
    case Arrival::lower_cased: return "lower-cased";
    case Arrival::changed: return "changed";
    case Arrival::lost: return "lost";
  }
  return "";
}

HeadLines lines_of_head(std::string_view head) {
  HeadLines lines;
  while (!head.empty()) {
    const size_t end = std::min(head.find('\0'), head.size());
    const std::string_view line = head.substr(0, end);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      std::string_view value = line.substr(colon + 1);
      while (value.starts_with(' ')) value.remove_prefix(1);
      lines.emplace_back(line.substr(0, colon), value);
    }
    head.remove_prefix(std::min(end + 1, head.size()));
  }
  return lines;
}

namespace {

Arrival find_line(const std::pair<std::string, std::string>& sent, const HeadLines& arrived) {
  Arrival best = Arrival::lost;
  for (const auto& [name, value] : arrived) {
    if (::strcasecmp(name.c_str(), sent.first.c_str()) != 0) continue;
    if (value != sent.second) {
      if (best == Arrival::lost) best = Arrival::changed;
      continue;
    }
    if (name == sent.first) return Arrival::same;
    best = Arrival::lower_cased;
  }
  return best;
}

}  // namespace

std::vector<Arrival> compare_heads(const HeadLines& sent, const HeadLines& arrived) {
  std::vector<Arrival> all;
  for (const auto& line : sent) all.push_back(find_line(line, arrived));
  return all;
}

}  // namespace gw
