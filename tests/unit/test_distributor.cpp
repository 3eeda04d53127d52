#include <doctest/doctest.h>

#include "tools/distributor/worker.hpp"

TEST_CASE("distributor: the pause after a failed attempt doubles from a second to a minute") {
  using gw::distributor::pause_after_failure_ms;
  CHECK(pause_after_failure_ms(1) == 1'000);
  CHECK(pause_after_failure_ms(2) == 2'000);
  CHECK(pause_after_failure_ms(6) == 32'000);
  CHECK(pause_after_failure_ms(7) == 60'000);
  CHECK(pause_after_failure_ms(4'000'000'000u) == 60'000);
}
