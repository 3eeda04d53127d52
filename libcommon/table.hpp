// Aligned columns for people. Rows are written as they come: the widths are those of the first rows, a wider cell later pushes its
// own row only, so a listing of millions of rows needs no memory.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace gw {

class Table {
 public:
  enum class Align { left, right };
  enum class Titles { plain, bold };
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  using Write = std::function<void(std::string_view)>;
  /// `write` gets whole lines. `rows_looked_at` rows are held back to find the widths.
  Table(std::vector<Column> columns, Write write, Titles titles = Titles::plain, size_t rows_looked_at = 500);
  /// One cell for each column; control bytes are shown as `?`.
  void row(std::vector<std::string> cells);
  /// Writes what was held back, the titles too if there was no row at all. Call it before anything else is written.
  void flush();

 private:
  std::string line_of(const std::vector<std::string>& cells) const;

  std::vector<Column> columns_;
  Write write_;
  Titles titles_;
  size_t rows_looked_at_;
  std::vector<std::vector<std::string>> held_;
  std::vector<size_t> widths_;
  bool flushed_ = false;
};

/// Columns that UTF-8 text takes on a terminal, one for each code point.
size_t text_columns(std::string_view text);
/// Control bytes replaced by `?`, so that a message cannot steer the terminal.
std::string printable(std::string_view text);
/// At most `columns` columns, the last one `…` if something was cut.
std::string shortened(std::string_view text, size_t columns);

}  // namespace gw
