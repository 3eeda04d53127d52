#include <doctest/doctest.h>

#include <cstdlib>

#include "metrics_text.hpp"
#include "terminal.hpp"
#include "tools/queue-inspect/watch_view.hpp"
#include "trace_context.hpp"

using namespace gw;
using namespace gw::inspect;

TEST_CASE("metrics_text: families with samples, labels with anything in them") {
  MetricsText text;
  text.family("a_total", MetricsText::Kind::counter, "Nothing.");
  text.family("b", MetricsText::Kind::gauge, "Some.");
  text.sample({{"queue", "x\"y\\z\n\xff"}}, uint64_t{3});
  text.sample({}, 0.25);
  const double bounds[] = {0.1, 1};
  const uint64_t counts[] = {1, 2};
  text.family("c_seconds", MetricsText::Kind::histogram, "Times.");
  text.histogram({{"queue", "q"}}, bounds, counts, 4, 7.5);
  CHECK(text.str() ==
        "# HELP b Some.\n# TYPE b gauge\nb{queue=\"x\\\"y\\\\z\\n?\"} 3\nb 0.25\n"
        "# HELP c_seconds Times.\n# TYPE c_seconds histogram\n"
        "c_seconds_bucket{queue=\"q\",le=\"0.1\"} 1\nc_seconds_bucket{queue=\"q\",le=\"1\"} 2\nc_seconds_bucket{queue=\"q\",le=\"+Inf\"} 4\n"
        "c_seconds_sum{queue=\"q\"} 7.5\nc_seconds_count{queue=\"q\"} 4\n");
}

TEST_CASE("trace_context: what is one, and its children") {
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  CHECK(traceparent_ok(parent));
  CHECK(traceparent_ok("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"));
  for (const char* bad : {"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                          "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
                          "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
                          "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x"}) {
    CAPTURE(bad);
    CHECK_FALSE(traceparent_ok(bad));
    CHECK(child_traceparent(bad).empty());
  }
  const std::string child = child_traceparent(parent), other = child_traceparent(parent);
  CHECK(traceparent_ok(child));
  CHECK(child.substr(0, 36) == parent.substr(0, 36));
  CHECK(child.substr(52) == parent.substr(52));
  CHECK(child.substr(36, 16) != parent.substr(36, 16));
  CHECK(child != other);
}

TEST_CASE("trace_context: what is sent continues the trace of the environment") {
  Headers headers;
  ::unsetenv("TRACEPARENT");
  continue_trace(headers);
  CHECK(headers.entries().empty());
  ::setenv("TRACEPARENT", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", 1);
  ::setenv("TRACESTATE", "vendor=1", 1);
  continue_trace(headers);
  CHECK(std::string(headers.get("traceparent")).starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
  CHECK(headers.get("tracestate") == "vendor=1");
  ::setenv("TRACEPARENT", "nonsense", 1);
  Headers none;
  continue_trace(none);
  CHECK(none.entries().empty());
  ::unsetenv("TRACEPARENT");
  ::unsetenv("TRACESTATE");
}

TEST_CASE("progress: how far, how fast, how long") {
  CHECK(progress_text("moved", 1200, 5000, -1, 2000) == "moved 1200 of 5000 (24%), 600/s, 6s left");
  CHECK(progress_text("moved", 5000, 5000, -1, 2000) == "moved 5000 of 5000 (100%), 2500/s");
  CHECK(progress_text("stored", 10, 0, -1, 1000) == "stored 10, 10/s");
  CHECK(progress_text("stored", 10, 0, 0.5, 10'000) == "stored 10 (50%), 1/s, 10s left");
  CHECK(progress_text("stored", 0, 0, 0, 0) == "stored 0 (0%), 0/s");
  CHECK(progress_text("stored", 7, 5, -1, 1000).starts_with("stored 7 of 5 (100%)"));
}

TEST_CASE("watch: bars, changes of a screen") {
  CHECK(bars({}, 10).empty());
  CHECK(bars({0, 1, 4, 8}, 10) == " ▁▄█");
  CHECK(bars({8, 0, 1}, 2) == " █");  // only what is shown gives the scale
  CHECK(screen_changes({}, {"a", "b"}) == "\x1b[1;1Ha\x1b[K\x1b[2;1Hb\x1b[K");
  CHECK(screen_changes({"a", "b", "c"}, {"a", "x"}) == "\x1b[2;1Hx\x1b[K\x1b[3;1H\x1b[K");
  CHECK(screen_changes({"a"}, {"a"}).empty());
}

TEST_CASE("watch: a screen has room for what fits, and counts the rest") {
  Overview now;
  now.machine = "vm";
  now.root = "/r";
  for (int i = 0; i < 40; ++i) {
    QueueView& queue = now.queues.emplace_back();
    queue.status.name = "queue-with-a-long-name-" + std::to_string(i);
    queue.status.ready = 1;
  }
  now.failures.push_back({"error", {"0123abcd", 3, 1, 1, "Q@vm", "Type", "why\x1b[31m", "id"}});
  for (size_t rows : {1u, 2u, 5u, 10u, 24u, 100u})
    for (size_t columns : {10u, 80u, 200u}) {
      CAPTURE(rows);
      const auto lines = watch_screen(now, {{columns, rows}, false, Charset::utf8});
      CHECK(lines.size() <= rows);
      for (const std::string& line : lines) {
        CHECK(line.find('\x1b') == std::string::npos);
        size_t characters = 0;
        for (char c : line) characters += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
        CHECK(characters <= columns);
      }
    }
  const auto lines = watch_screen(now, {{120, 24}, false, Charset::ascii});
  bool counted = false, failed = false;
  for (const std::string& line : lines) {
    counted |= line.starts_with("... ");
    failed |= line.find("0123abcd") != std::string::npos;
  }
  CHECK(counted);
  CHECK(failed);
}
