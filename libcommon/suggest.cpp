#include "suggest.hpp"

#include <algorithm>

namespace gw {

namespace {

// Edits (insert, delete, replace, swap of neighbours) that turn one word into the other.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string suggest(std::string_view word, const std::vector<std::string>& known) {
  const std::string* best = nullptr;
  // One edit in four letters is a slip; more is another word.
  const size_t dashes = std::min(word.find_first_not_of('-'), word.size());
  size_t best_distance = (word.size() - dashes + 3) / 4;
  constexpr size_t longest = 100;  // the cost is quadratic
  if (word.size() > longest) return "";
  for (const std::string& candidate : known) {
    if (candidate.empty() || candidate.size() > longest) continue;
    size_t distance = candidate.size() > 4 && word.size() >= 4 && candidate.starts_with(word) ? 1 : edit_distance(word, candidate);
    if (distance < best_distance || (distance == best_distance && !best)) {
      best = &candidate;
      best_distance = distance;
    }
  }
  return best ? "did you mean '" + *best + "'?" : "";
}

}  // namespace gw
