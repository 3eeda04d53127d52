// What the text of an XML file must be before a lenient parser sees it, and errors that name file and line.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result.hpp"

namespace gw {

/// The faults of one file, reported all at once in the order of their lines.
class Faults {
 public:
  /// What names a place: "FILE:LINE: what", or "FILE:LINE:COLUMN: what" (characters, from 1).
  enum class Places { lines, columns };
  Faults(std::string path, std::string_view text, Places places = Places::lines);
  /// The number of the line that has the byte at `offset`.
  int line_of(size_t offset) const;
  int column_of(size_t offset) const;
  void add(int line, std::string what) { found_.push_back({line, 0, std::move(what), ExitCode::config}); }
  void add_at(size_t offset, std::string what);
  /// One that is no mistake of the file: no_permission if there are only such.
  void add_permission(int line, std::string what) { found_.push_back({line, 0, std::move(what), ExitCode::no_permission}); }
  bool any() const { return !found_.empty(); }
  /// "FILE:LINE: what, expected what" a line; if there are very many, the first hundred.
  Error error();

 private:
  struct Fault {
    int line, column;  // column 0: not known
    std::string what;
    ExitCode code;
  };
  std::string path_;
  std::string text_;  // with columns only
  Places places_;
  std::vector<size_t> newlines_;
  std::vector<Fault> found_;
};

/// In single quotes, at most 200 bytes of it.
std::string in_quotes(std::string_view text);

/// UTF-8 without control bytes; false: do not parse it.
bool check_bytes(std::string_view text, Faults& faults);

/// Where a comment, CDATA section or processing instruction that begins at `at` ends; `at` if none begins there.
size_t skip_unparsed(std::string_view text, size_t at);

/// What a conforming parser refuses and lenient ones take: unknown character references and '<' in attribute values.
void check_markup(std::string_view text, Faults& faults);

}  // namespace gw
