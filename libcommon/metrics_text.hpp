// Numbers in the text format that Prometheus reads (version 0.0.4).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gw {

inline constexpr std::string_view metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

/// Collects families one after the other: family(), then its samples. Names are the caller's and are not checked; values of labels
/// may be any text.
class MetricsText {
 public:
  using Labels = std::vector<std::pair<std::string_view, std::string_view>>;
  enum class Kind { gauge, counter, histogram };

  /// Begins a family. One without samples is left out.
  void family(std::string_view name, Kind kind, std::string_view help);
  void sample(const Labels& labels, uint64_t value);
  void sample(const Labels& labels, double value);
  /// A histogram: how many values were at most bounds[i] (cumulative), then all of them and their sum.
  void histogram(const Labels& labels, std::span<const double> bounds, std::span<const uint64_t> cumulative, uint64_t count, double sum);
  const std::string& str() const { return text_; }

 private:
  void line(std::string_view suffix, const Labels& labels, std::string_view bound, std::string_view value);
  std::string text_, name_, head_;
};

/// `s` seconds of `ms` milliseconds, as a number.
inline double seconds_of(int64_t ms) { return static_cast<double>(ms) / 1000; }

}  // namespace gw
