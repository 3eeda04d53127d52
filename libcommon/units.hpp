// Words for amounts, as people write them on command lines and in the configuration (CLI.md section 1).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace gw {

/// `500ms 10s 1h30m 7d`, bare: seconds. In milliseconds. nullopt: not a duration (also negative, overflow).
std::optional<int64_t> parse_duration_ms(std::string_view text);
/// `64K 12M 1G 2T` (powers of 1024), bare: bytes.
std::optional<uint64_t> parse_size(std::string_view text);
/// `10/s 2M/s`: per second.
std::optional<uint64_t> parse_rate(std::string_view text);
/// RFC 3339, or the next local `HH:MM` after `now_ms`. Milliseconds since 1970 UTC.
std::optional<int64_t> parse_time_ms(std::string_view text, int64_t now_ms);

/// 2026-11-21T22:00:03.412Z
std::string format_rfc3339(int64_t unix_ms);
/// NServiceBus: `yyyy-MM-dd HH:mm:ss:ffffff Z` (UTC, microseconds after a colon).
std::string format_nsb_time(int64_t unix_us);
/// Milliseconds since 1970, or nullopt.
std::optional<int64_t> parse_nsb_time_ms(std::string_view text);
/// .NET TimeSpan "c" `[-][d.]hh:mm:ss[.fffffff]` in milliseconds; more than int64 allows is clamped.
std::optional<int64_t> parse_timespan_ms(std::string_view text);
std::string format_timespan(int64_t ms);
/// For people: `11.4M`, `1h30m`, `35s`.
std::string human_size(uint64_t bytes);
std::string human_duration(int64_t ms);

/// The wall clock, milliseconds and microseconds since 1970.
int64_t now_ms();
int64_t now_us();
/// Monotonic milliseconds, for deadlines.
int64_t monotonic_ms();

}  // namespace gw
