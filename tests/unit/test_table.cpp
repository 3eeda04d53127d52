#include <doctest/doctest.h>

#include "table.hpp"

using namespace gw;

namespace {

std::string drawn(std::vector<std::vector<std::string>> rows, size_t looked_at = 500, Table::Titles titles = Table::Titles::plain) {
  std::string text;
  Table table({{"NAME"}, {"N", Table::Align::right}, {"LAST"}}, [&](std::string_view line) { text += line; }, titles, looked_at);
  for (auto& row : rows) table.row(std::move(row));
  table.flush();
  return text;
}

}  // namespace

TEST_CASE("table: columns are aligned, lines end without blanks") {
  CHECK(drawn({{"a", "1", "x"}, {"long", "100", ""}}) ==
        "NAME    N  LAST\n"
        "a       1  x\n"
        "long  100\n");
}

TEST_CASE("table: titles alone") {
  CHECK(drawn({}) == "NAME  N  LAST\n");
  CHECK(drawn({}, 1, Table::Titles::bold) == "\x1b[1mNAME  N  LAST\x1b[0m\n");
}

TEST_CASE("table: a wide row that comes late moves only itself") {
  CHECK(drawn({{"a", "1", "x"}, {"muchlonger", "2", "y"}, {"b", "3", "z"}}, 1) ==
        "NAME  N  LAST\n"
        "a     1  x\n"
        "muchlonger  2  y\n"
        "b     3  z\n");
}

TEST_CASE("table: control bytes do not reach the terminal, UTF-8 counts by letters") {
  CHECK(drawn({{"\x1b[2J", "1", "x"}}) == "NAME  N  LAST\n?[2J  1  x\n");
  CHECK(printable("a\nb\tc\x7f") == "a?b?c?");
  CHECK(printable("\xc2\x9b" "31m") == "?31m");
  CHECK(printable("caf\xc3\xa9") == "caf\xc3\xa9");
  CHECK(text_columns("caf\xc3\xa9") == 4);
}

TEST_CASE("table: shortened") {
  CHECK(shortened("short", 10) == "short");
  CHECK(shortened("0123456789", 10) == "0123456789");
  CHECK(shortened("0123456789x", 10) == "012345678…");
  CHECK(shortened("\xc3\xa9\xc3\xa9\xc3\xa9", 2) == "\xc3\xa9…");
}
