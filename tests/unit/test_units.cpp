#include <doctest/doctest.h>

#include <climits>
#include <cstdlib>
#include <ctime>

#include "units.hpp"

using namespace gw;

TEST_CASE("units: durations") {
  CHECK(parse_duration_ms("500ms") == 500);
  CHECK(parse_duration_ms("10s") == 10'000);
  CHECK(parse_duration_ms("10") == 10'000);
  CHECK(parse_duration_ms("0") == 0);
  CHECK(parse_duration_ms("1h30m") == 5'400'000);
  CHECK(parse_duration_ms("7d") == 604'800'000);
  CHECK(parse_duration_ms("1m30s500ms") == 90'500);
  for (const char* bad : {"", "x", "s", "1x", "-1s", "1h30", "1.5h", " 1s", "1s ", "1 s", "99999999999999999999", "9223372036854775807d", "+1s"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_duration_ms(bad));
  }
}

TEST_CASE("units: sizes and rates") {
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("123") == 123);
  CHECK(parse_size("64K") == 65536);
  CHECK(parse_size("64k") == 65536);
  CHECK(parse_size("12M") == 12ull << 20);
  CHECK(parse_size("1G") == 1ull << 30);
  CHECK(parse_size("2T") == 2ull << 40);
  CHECK(parse_size("1GiB") == 1ull << 30);
  CHECK(parse_size("18446744073709551615") == UINT64_MAX);
  for (const char* bad : {"", "K", "1X", "-1", "1.5G", "16E1", "16E", "99999999999999999999", "1 K"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_size(bad));
  }
  CHECK(parse_rate("10/s") == 10);
  CHECK(parse_rate("2M/s") == 2ull << 20);
  CHECK_FALSE(parse_rate("10"));
  CHECK_FALSE(parse_rate("/s"));
  CHECK_FALSE(parse_rate("1/m"));
}

TEST_CASE("units: RFC 3339") {
  constexpr int64_t at = 1795298403412;  // 2026-11-21T22:00:03.412Z
  CHECK(format_rfc3339(at) == "2026-11-21T22:00:03.412Z");
  CHECK(parse_time_ms("2026-11-21T22:00:03.412Z", 0) == at);
  CHECK(parse_time_ms("2026-11-21T22:00:03.4129999Z", 0) == at);
  CHECK(parse_time_ms("2026-11-21t23:00:03.412+01:00", 0) == at);
  CHECK(parse_time_ms("2026-11-21T16:30:03.412-05:30", 0) == at);
  CHECK(parse_time_ms("2026-11-21 22:00:03Z", 0) == at - 412);
  CHECK(format_rfc3339(0) == "1970-01-01T00:00:00.000Z");
  CHECK(format_rfc3339(-1) == "1969-12-31T23:59:59.999Z");
  CHECK(format_rfc3339(951782400000) == "2000-02-29T00:00:00.000Z");
  CHECK(format_rfc3339(INT64_MAX) == "9999-12-31T23:59:59.807Z");
  for (const char* bad : {"", "2026-11-21", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-21T24:00:00Z", "2026-11-21T22:00:03",
                          "2026-11-21T22:00:03.Z", "2026-11-21T22:00Z", "2026-11-21T22:00:03Zx", "2026-11-21T22:00:03+0100", "22.00", "2:00", "24:00"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_time_ms(bad, 0));
  }
}

TEST_CASE("units: every day of 400 years goes there and back") {
  for (int64_t day = -146097; day < 146097; day += 1) {
    int64_t ms = day * 86'400'000 + 43'200'000;
    if (parse_time_ms(format_rfc3339(ms), 0) != ms) FAIL_CHECK("day ", day, " is ", format_rfc3339(ms));
  }
}

TEST_CASE("units: the next local HH:MM") {
  setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  tzset();
  constexpr int64_t noon = 1795258800000;  // 2026-11-21T11:00:00Z, 12:00 in CET
  CHECK(parse_time_ms("12:01", noon) == noon + 60'000);
  CHECK(parse_time_ms("12:00", noon) == noon + 86'400'000);
  CHECK(parse_time_ms("11:59", noon) == noon + 86'340'000);
  CHECK(parse_time_ms("00:00", noon) == noon + 43'200'000);
  // The night in which clocks go back has 25 hours: from 2026-10-24 22:00 CEST to 22:00 CET.
  CHECK(parse_time_ms("22:00", 1792872000000) == 1792872000000 + 25 * 3'600'000);
  setenv("TZ", "UTC0", 1);
  tzset();
}

TEST_CASE("units: NServiceBus times") {
  constexpr int64_t us = 1795298403412345;
  CHECK(format_nsb_time(us) == "2026-11-21 22:00:03:412345 Z");
  CHECK(parse_nsb_time_ms("2026-11-21 22:00:03:412345 Z") == us / 1000);
  for (const char* bad : {"", "2026-11-21 22:00:03.412345 Z", "2026-11-21 22:00:03:412345", "2026-11-21 22:00:03:412345 Zx", "2026-11-21T22:00:03:412345 Z"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_nsb_time_ms(bad));
  }
}

TEST_CASE("units: .NET TimeSpan") {
  CHECK(parse_timespan_ms("00:00:00") == 0);
  CHECK(parse_timespan_ms("00:01:30.5") == 90'500);
  CHECK(parse_timespan_ms("1.02:03:04.0050000") == 93'784'005);
  CHECK(parse_timespan_ms("-00:00:01") == -1000);
  CHECK(parse_timespan_ms("7") == 604'800'000);
  CHECK(parse_timespan_ms("10675199.02:48:05.4775807") == 922'337'203'685'477);
  CHECK(parse_timespan_ms("999999999999999999.00:00:00") == INT64_MAX);
  for (const char* bad : {"", "x", "1.", "1.2", "25:00:00", "00:60:00", "00:00:60", "00:00:00.", "00:00:00x", "1.24:00:00"}) {
    CAPTURE(bad);
    CHECK_FALSE(parse_timespan_ms(bad));
  }
  for (int64_t ms : {0ll, 1ll, 999ll, 1000ll, 86'399'999ll, 86'400'000ll, 93'784'005ll, -5'000ll}) CHECK(parse_timespan_ms(format_timespan(ms)) == ms);
  CHECK(format_timespan(93'784'005) == "1.02:03:04.0050000");
}

TEST_CASE("units: for people") {
  CHECK(human_size(0) == "0");
  CHECK(human_size(1023) == "1023");
  CHECK(human_size(1024) == "1K");
  CHECK(human_size(1536) == "1.5K");
  CHECK(human_size(11'953'766) == "11.3M");
  CHECK(human_size(500ull << 30) == "500G");
  CHECK(human_size(UINT64_MAX) == "15.9E");
  CHECK(human_duration(999) == "999ms");
  CHECK(human_duration(35'000) == "35s");
  CHECK(human_duration(125'000) == "2m5s");
  CHECK(human_duration(5'400'000) == "1h30m");
  CHECK(human_duration(86'400'000) == "1d");
  CHECK(human_duration(100'800'000) == "1d4h");
}
