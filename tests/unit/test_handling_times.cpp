#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "handling_times.hpp"
#include "scratch.hpp"

using namespace gw;

namespace {

}  // namespace

TEST_CASE("handling times: means of the last hundred, histograms of all") {
  Scratch place;
  CHECK(!read_handling_times(place.path, "q")->has_value());
  auto times = HandlingTimes::open(place.path, "q");
  REQUIRE(times.has_value());
  auto empty = read_handling_times(place.path, "q");
  REQUIRE((empty.has_value() && empty->has_value()));
  CHECK(!(*empty)->critical.mean_s);
  CHECK((*empty)->critical.count() == 0);
  for (int i = 0; i < 50; ++i) (*times)->handled(1000, 100);  // pushed out by what follows
  for (int i = 0; i < 50; ++i) (*times)->handled(2, 0.2);
  for (int i = 0; i < 50; ++i) (*times)->handled(4, 0.4);
  (*times)->handled(-5, 0);  // clocks that differ
  const HandlingSummary summary = **read_handling_times(place.path, "q");
  CHECK(*summary.critical.mean_s == doctest::Approx((49 * 2 + 50 * 4) / 100.0));
  CHECK(*summary.processing.mean_s == doctest::Approx((49 * 0.2 + 50 * 0.4) / 100.0));
  CHECK(summary.critical.count() == 151);
  CHECK(summary.critical.sum_s == doctest::Approx(50'000 + 100 + 200));
  for (size_t i = 0; i < handling_time_bounds_s.size(); ++i) {
    const double bound = handling_time_bounds_s[i];
    CHECK(summary.critical.up_to[i] == 1u + (bound >= 2 ? 50u : 0u) + (bound >= 4 ? 50u : 0u) + (bound >= 1000 ? 50u : 0u));
    if (i > 0) CHECK(handling_time_bounds_s[i - 1] < bound);
  }
  (*times)->gave_up();
  (*times)->sent_back();
  (*times)->sent_back();
  CHECK((**read_handling_times(place.path, "q")).gave_up == 1);
  CHECK((**read_handling_times(place.path, "q")).sent_back == 2);
  (*times)->handled(1, 1);  // a bound belongs to its bucket
  CHECK((**read_handling_times(place.path, "q")).processing.up_to[9] == 102u);
}

TEST_CASE("handling times: several processes and threads; what a killed one counted stays") {
  Scratch place;
  auto times = *HandlingTimes::open(place.path, "q");
  pid_t child = fork();
  if (child == 0) {
    auto mine = HandlingTimes::open(place.path, "q");
    for (int i = 0; i < 1000; ++i) (*mine)->handled(0.5, 0.5);
    ::kill(::getpid(), SIGKILL);
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) times->handled(0.5, 0.5);
    });
  for (auto& thread : threads) thread.join();
  ::waitpid(child, nullptr, 0);
  auto again = *HandlingTimes::open(place.path, "q");
  again->handled(0.5, 0.5);
  const HandlingSummary summary = **read_handling_times(place.path, "q");
  CHECK(summary.critical.count() == 5001);
  CHECK(summary.processing.sum_s == doctest::Approx(2500.5));
  CHECK(*summary.processing.mean_s == doctest::Approx(0.5));
}

TEST_CASE("handling times: a file of something else begins anew, and an unwritable place is an error") {
  Scratch place;
  std::filesystem::create_directory(place.path + "/times");
  std::ofstream(place.path + "/times/q") << "something else";
  CHECK(!read_handling_times(place.path, "q")->has_value());
  auto times = *HandlingTimes::open(place.path, "q");
  times->handled(1, 1);
  CHECK((**read_handling_times(place.path, "q")).critical.count() == 1);
  CHECK(!HandlingTimes::open(place.path + "/absent", "q").has_value());
}
