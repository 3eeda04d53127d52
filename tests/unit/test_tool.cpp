#include <doctest/doctest.h>

#include "options_common.hpp"
#include "tool.hpp"

using namespace gw;

TEST_CASE("tool: suggestions") {
  const std::vector<std::string> known{"list", "show", "status", "--timeout", "--max"};
  CHECK(suggest("lsit", known) == "did you mean 'list'?");
  CHECK(suggest("stats", known) == "did you mean 'status'?");
  CHECK(suggest("--timout", known) == "did you mean '--timeout'?");
  CHECK(suggest("--tim", known) == "did you mean '--timeout'?");
  CHECK(suggest("--mx", known) == "did you mean '--max'?");
  CHECK(suggest("frobnicate", known).empty());
  CHECK(suggest("--zz", known).empty());
  CHECK(suggest("", known).empty());
  CHECK(suggest(std::string(5000, 'x'), known).empty());
}
