#include "metrics_text.hpp"

#include <charconv>

#include "gw_assert.hpp"
#include "json.hpp"

namespace gw {
namespace {

std::string number(double value) {
  char text[32];
  // The shortest text that is this number again, without an exponent where people look at it.
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return std::string(text, end);
}

// What a label's value must not have in it as it is; the format is UTF-8.
std::string escaped(std::string_view value) {
  std::string safe;
  for (char c : value) {
    if (c == '\\' || c == '"') safe += '\\';
    if (c == '\n') safe += "\\n";
    else safe += c;
  }
  if (!utf8_ok(safe))
    for (char& c : safe)
      if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  return safe;
}

std::string_view word(MetricsText::Kind kind) {
  switch (kind) {
    case MetricsText::Kind::gauge: return "gauge";
    case MetricsText::Kind::counter: return "counter";
    case MetricsText::Kind::histogram: return "histogram";
  }
  return "untyped";
}

}  // namespace

void MetricsText::family(std::string_view name, Kind kind, std::string_view help) {
  name_ = name;
  head_ = "# HELP " + name_ + " " + std::string(help) + "\n# TYPE " + name_ + " " + std::string(word(kind)) + "\n";
}

void MetricsText::line(std::string_view suffix, const Labels& labels, std::string_view bound, std::string_view value) {
  text_ += head_;
  head_.clear();
  text_.append(name_).append(suffix);
  std::string inside;
  for (const auto& [label, of] : labels) inside.append(inside.empty() ? "" : ",").append(label).append("=\"").append(escaped(of)).append("\"");
  if (!bound.empty()) inside.append(inside.empty() ? "" : ",").append("le=\"").append(bound).append("\"");
  if (!inside.empty()) text_.append("{").append(inside).append("}");
  text_.append(" ").append(value).append("\n");
}

void MetricsText::sample(const Labels& labels, uint64_t value) { line("", labels, "", std::to_string(value)); }
void MetricsText::sample(const Labels& labels, double value) { line("", labels, "", number(value)); }

void MetricsText::histogram(const Labels& labels, std::span<const double> bounds, std::span<const uint64_t> cumulative, uint64_t count, double sum) {
  GW_ASSERT(bounds.size() == cumulative.size());
  for (size_t i = 0; i < bounds.size(); ++i) line("_bucket", labels, number(bounds[i]), std::to_string(cumulative[i]));
  line("_bucket", labels, "+Inf", std::to_string(count));
  line("_sum", labels, "", number(sum));
  line("_count", labels, "", std::to_string(count));
}

}  // namespace gw
