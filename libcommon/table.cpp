#include "table.hpp"

#include <algorithm>

namespace gw {

namespace {

bool continuation_byte(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

}  // namespace

size_t text_columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !continuation_byte(c); }));
}

std::string printable(std::string_view text) {
  std::string shown(text);
  for (size_t i = 0; i < shown.size(); ++i) {
    unsigned char c = static_cast<unsigned char>(shown[i]);
    if (c < 0x20 || c == 0x7f) shown[i] = '?';
    // U+0080 to U+009F steer a terminal as well.
    bool c1 = c == 0xc2 && i + 1 < shown.size() && static_cast<unsigned char>(shown[i + 1]) < 0xa0;
    if (c1) shown.replace(i, 2, "?");
  }
  return shown;
}

std::string shortened(std::string_view text, size_t columns) {
  if (text_columns(text) <= columns) return std::string(text);
  size_t end = 0, seen = 0;
  for (; end < text.size(); ++end)
    if (!continuation_byte(text[end]) && ++seen == columns) break;
  return std::string(text.substr(0, end)) + "…";
}

Table::Table(std::vector<Column> columns, Write write, Titles titles, size_t rows_looked_at)
    : columns_(std::move(columns)), write_(std::move(write)), titles_(titles), rows_looked_at_(rows_looked_at) {
  for (const Column& column : columns_) widths_.push_back(text_columns(column.title));
}

void Table::row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = printable(cell);
  if (flushed_) return write_(line_of(cells) + "\n");
  for (size_t i = 0; i < cells.size(); ++i) widths_[i] = std::max(widths_[i], text_columns(cells[i]));
  held_.push_back(std::move(cells));
  if (held_.size() >= rows_looked_at_) flush();
}

void Table::flush() {
  if (flushed_) return;
  flushed_ = true;
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  write_(titles_ == Titles::bold ? "\x1b[1m" + line_of(titles) + "\x1b[0m\n" : line_of(titles) + "\n");
  for (const auto& cells : held_) write_(line_of(cells) + "\n");
  held_.clear();
  held_.shrink_to_fit();
}

std::string Table::line_of(const std::vector<std::string>& cells) const {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    size_t have = text_columns(cells[i]);
    size_t fill = have < widths_[i] ? widths_[i] - have : 0;
    if (columns_[i].align == Align::right) line.append(fill, ' ');
    line += cells[i];
    if (columns_[i].align == Align::left) line.append(fill, ' ');
    line += "  ";
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

}  // namespace gw
