#include <doctest/doctest.h>

#include "tools/gw-dedup/commands.hpp"

TEST_CASE("gw-dedup: the key of a line") {
  using gw::dedup::key_of_line;
  CHECK(key_of_line("a b c", 0) == "a b c");
  CHECK(key_of_line("a b c", 2) == "b");
  CHECK(key_of_line("  a   b", 1) == "a");
  CHECK(key_of_line("  a   b", 2) == "b");
  CHECK(key_of_line("a b", 3) == "");
  CHECK(key_of_line("", 1) == "");
  CHECK(key_of_line("a b\tc\t\td", 1) == "a b");
  CHECK(key_of_line("a b\tc\t\td", 3) == "");
  CHECK(key_of_line("a b\tc\t\td", 4) == "d");
  CHECK(key_of_line("\tx", 2) == "x");
}
