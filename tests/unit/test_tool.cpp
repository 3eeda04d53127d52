#include <doctest/doctest.h>

#include "options_common.hpp"
#include "tool.hpp"

using namespace gw;

TEST_CASE("tool: addresses") {
  CHECK(parse_address("Sales")->queue == "Sales");
  CHECK(parse_address("Sales")->machine.empty());
  CHECK(parse_address("Sales@vm1")->machine == "vm1");
  for (const char* here : {"Sales@.", "Sales@localhost", "Sales@LOCALHOST", "Sales@127.0.0.1", "Sales@127.1", "Sales@::1"}) {
    CAPTURE(here);
    REQUIRE(parse_address(here));
    CHECK(parse_address(here)->machine.empty());
  }
  for (const char* bad : {"", "@vm1", "Sales@", "Sales@a/b", "a b", "-x", "Sales@a@b"}) {
    CAPTURE(bad);
    auto address = parse_address(bad);
    REQUIRE_FALSE(address);
    CHECK(address.error().code == ExitCode::usage);
  }
}

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
