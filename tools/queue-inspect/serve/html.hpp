// HTML that cannot be broken by what messages carry: markup is what stands in our source text, everything else is escaped.
#pragma once

#include <concepts>
#include <string>
#include <string_view>

namespace gw::inspect {

/// Text that stood in the source when this was compiled.
struct Markup {
  consteval Markup(const char* literal) : text(literal) {}
  std::string_view text;
};

class Html {
 public:
  Html& tag(Markup markup) {
    out_ += markup.text;
    return *this;
  }
  /// Any bytes, as text or as the value of an attribute in double quotes. What is not UTF-8, controls and what turns the direction of
  /// text becomes U+FFFD, so that nothing looks like something else.
  Html& text(std::string_view bytes);
  Html& number(std::integral auto value) { return text(grouped(static_cast<unsigned long long>(value))); }
  Html& add(const Html& other) {
    out_ += other.out_;
    return *this;
  }
  bool empty() const { return out_.empty(); }
  const std::string& str() const { return out_; }

 private:
  static std::string grouped(unsigned long long value);
  std::string out_;
};

/// One part of a path or one value of a query, percent-encoded: safe in an attribute too.
std::string url_part(std::string_view bytes);
/// A word for the shell: as it is, or in single quotes.
std::string shell_word(std::string_view bytes);

}  // namespace gw::inspect
