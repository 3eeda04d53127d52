#include "units.hpp"

#include <array>
#include <charconv>
#include <climits>
#include <ctime>

namespace gw {

namespace {

constexpr int64_t ms_per_day = 86'400'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Reads `count` digits at `at` and moves on; -1 if they are not there.
int take_digits(std::string_view text, size_t& at, size_t count) {
  if (at + count > text.size()) return -1;
  int value = 0;
  for (size_t end = at + count; at < end; ++at) {
    if (!is_digit(text[at])) return -1;
    value = value * 10 + (text[at] - '0');
  }
  return value;
}

bool take_char(std::string_view text, size_t& at, char c) {
  if (at >= text.size() || text[at] != c) return false;
  ++at;
  return true;
}

// A decimal number of any length; nullopt without a digit or beyond 64 bits.
std::optional<uint64_t> take_number(std::string_view text, size_t& at) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  at = static_cast<size_t>(end - text.data());
  return value;
}

int days_in_month(int year, int month) {
  constexpr std::array<int, 12> days{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return month == 2 && leap ? 29 : days[static_cast<size_t>(month - 1)];
}

// Days since 1970-01-01 in the Gregorian calendar (Hinnant's algorithm: years begin in March).
int64_t days_from_civil(int64_t year, int month, int day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - 399) / 400;
  int64_t year_of_era = year - era * 400;
  int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}

struct Civil {
  int64_t year;
  int month, day, hour, minute, second;
};

Civil civil_from_seconds(int64_t seconds) {
  int64_t days = seconds / 86400, rest = seconds % 86400;
  if (rest < 0) rest += 86400, --days;
  int64_t z = days + 719468;
  int64_t era = (z >= 0 ? z : z - 146096) / 146097;
  int64_t day_of_era = z - era * 146097;
  int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  int64_t shifted = (5 * day_of_year + 2) / 153;
  int month = static_cast<int>(shifted < 10 ? shifted + 3 : shifted - 9);
  return {year_of_era + era * 400 + (month <= 2), month, static_cast<int>(day_of_year - (153 * shifted + 2) / 5 + 1),
          static_cast<int>(rest / 3600), static_cast<int>(rest / 60 % 60), static_cast<int>(rest % 60)};
}

// Years beyond 9999 are written as 9999: such times come from broken clocks, and every text form has four digits.
Civil printable(int64_t seconds) {
  constexpr int64_t last = 253402300799;  // 9999-12-31T23:59:59Z
  return civil_from_seconds(std::min(std::max<int64_t>(seconds, -62135596800), last));
}

std::string padded(int64_t value, size_t width) {
  std::string digits = std::to_string(value);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

struct Date {
  int year = 0, month = 0, day = 0;
};

std::optional<Date> take_date(std::string_view text, size_t& at) {
  Date d;
  d.year = take_digits(text, at, 4);
  if (d.year < 0 || !take_char(text, at, '-')) return std::nullopt;
  d.month = take_digits(text, at, 2);
  if (d.month < 1 || d.month > 12 || !take_char(text, at, '-')) return std::nullopt;
  d.day = take_digits(text, at, 2);
  if (d.year < 1 || d.day < 1 || d.day > days_in_month(d.year, d.month)) return std::nullopt;
  return d;
}

// HH:MM:SS in seconds; 60 as a leap second is the end of its minute.
std::optional<int> take_clock(std::string_view text, size_t& at) {
  int hour = take_digits(text, at, 2);
  if (hour < 0 || hour > 23 || !take_char(text, at, ':')) return std::nullopt;
  int minute = take_digits(text, at, 2);
  if (minute < 0 || minute > 59 || !take_char(text, at, ':')) return std::nullopt;
  int second = take_digits(text, at, 2);
  if (second < 0 || second > 60) return std::nullopt;
  return hour * 3600 + minute * 60 + second;
}

// Digits of a fraction, cut to milliseconds.
std::optional<int> take_fraction_ms(std::string_view text, size_t& at) {
  int ms = 0;
  size_t digits = 0;
  for (; at < text.size() && is_digit(text[at]); ++at, ++digits)
    if (digits < 3) ms = ms * 10 + (text[at] - '0');
  if (digits == 0) return std::nullopt;
  for (; digits < 3; ++digits) ms *= 10;
  return ms;
}

// Z or +HH:MM, in milliseconds to take off.
std::optional<int64_t> take_offset_ms(std::string_view text, size_t& at) {
  if (take_char(text, at, 'Z') || take_char(text, at, 'z')) return 0;
  bool minus = take_char(text, at, '-');
  if (!minus && !take_char(text, at, '+')) return std::nullopt;
  int hours = take_digits(text, at, 2);
  if (hours < 0 || hours > 23 || !take_char(text, at, ':')) return std::nullopt;
  int minutes = take_digits(text, at, 2);
  if (minutes < 0 || minutes > 59) return std::nullopt;
  int64_t offset = (hours * 60 + minutes) * 60'000;
  return minus ? -offset : offset;
}

std::optional<int64_t> parse_rfc3339_ms(std::string_view text) {
  size_t at = 0;
  auto date = take_date(text, at);
  if (!date) return std::nullopt;
  if (!take_char(text, at, 'T') && !take_char(text, at, 't') && !take_char(text, at, ' ')) return std::nullopt;
  auto seconds = take_clock(text, at);
  if (!seconds) return std::nullopt;
  int ms = 0;
  if (take_char(text, at, '.')) {
    auto fraction = take_fraction_ms(text, at);
    if (!fraction) return std::nullopt;
    ms = *fraction;
  }
  auto offset = take_offset_ms(text, at);
  if (!offset || at != text.size()) return std::nullopt;
  return days_from_civil(date->year, date->month, date->day) * ms_per_day + *seconds * 1000ll + ms - *offset;
}

// The first instant after `now` at which local clocks show HH:MM. mktime normalises the day after the last of a month
// and moves a time that the spring change leaves out.
std::optional<int64_t> next_local_ms(int hour, int minute, int64_t now) {
  time_t seconds = static_cast<time_t>(now / 1000);
  tm local{};
  if (!localtime_r(&seconds, &local)) return std::nullopt;
  for (int day = 0; day < 3; ++day) {
    tm wanted{};
    wanted.tm_year = local.tm_year;
    wanted.tm_mon = local.tm_mon;
    wanted.tm_mday = local.tm_mday + day;
    wanted.tm_hour = hour;
    wanted.tm_min = minute;
    wanted.tm_isdst = -1;
    time_t then = mktime(&wanted);
    if (then != static_cast<time_t>(-1) && then * 1000ll > now) return then * 1000ll;
  }
  return std::nullopt;
}

struct DurationUnit {
  std::string_view name;
  uint64_t ms;
};
constexpr std::array<DurationUnit, 6> duration_units{{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", ms_per_day}, {"w", 7 * ms_per_day}}};

// The unit at `at`, the longest name that fits ("ms" before "m").
const DurationUnit* take_duration_unit(std::string_view text, size_t& at) {
  for (const DurationUnit& unit : duration_units) {
    if (text.substr(at, unit.name.size()) == unit.name) {
      at += unit.name.size();
      return &unit;
    }
  }
  return nullptr;
}

std::string one_decimal(uint64_t whole, uint64_t tenth) {
  return tenth == 0 ? std::to_string(whole) : std::to_string(whole) + "." + std::to_string(tenth);
}

}  // namespace

std::optional<int64_t> parse_duration_ms(std::string_view text) {
  if (text.empty()) return std::nullopt;
  uint64_t total = 0;
  for (size_t at = 0; at < text.size();) {
    bool first = at == 0;
    auto number = take_number(text, at);
    if (!number) return std::nullopt;
    uint64_t factor = 1000;
    if (at < text.size()) {
      const DurationUnit* unit = take_duration_unit(text, at);
      if (!unit) return std::nullopt;
      factor = unit->ms;
    } else if (!first) {
      return std::nullopt;  // "1h30": thirty what?
    }
    uint64_t part;
    if (__builtin_mul_overflow(*number, factor, &part) || __builtin_add_overflow(total, part, &total)) return std::nullopt;
    if (total > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  }
  return static_cast<int64_t>(total);
}

std::optional<uint64_t> parse_size(std::string_view text) {
  size_t at = 0;
  auto number = take_number(text, at);
  if (!number) return std::nullopt;
  if (at == text.size()) return number;
  constexpr std::string_view units = "KMGTPE";
  char letter = text[at] >= 'a' ? static_cast<char>(text[at] - 'a' + 'A') : text[at];
  size_t power = units.find(letter);
  if (power == std::string_view::npos) return std::nullopt;
  ++at;
  // KiB and KB mean the same here, and 1024 of them a M.
  if (at < text.size() && text[at] == 'i') ++at;
  if (at < text.size() && text[at] == 'B') ++at;
  unsigned shift = static_cast<unsigned>(power + 1) * 10;
  if (at != text.size() || *number > UINT64_MAX >> shift) return std::nullopt;
  return *number << shift;
}

std::optional<uint64_t> parse_rate(std::string_view text) {
  if (!text.ends_with("/s")) return std::nullopt;
  return parse_size(text.substr(0, text.size() - 2));
}

std::optional<int64_t> parse_time_ms(std::string_view text, int64_t now) {
  if (text.size() == 5 && text[2] == ':') {
    size_t at = 0;
    int hour = take_digits(text, at, 2);
    at = 3;
    int minute = take_digits(text, at, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) return std::nullopt;
    return next_local_ms(hour, minute, now);
  }
  return parse_rfc3339_ms(text);
}

std::string format_rfc3339(int64_t unix_ms) {
  int64_t seconds = unix_ms / 1000, ms = unix_ms % 1000;
  if (ms < 0) ms += 1000, --seconds;
  Civil c = printable(seconds);
  return padded(c.year, 4) + '-' + padded(c.month, 2) + '-' + padded(c.day, 2) + 'T' + padded(c.hour, 2) + ':' + padded(c.minute, 2) + ':' +
         padded(c.second, 2) + '.' + padded(ms, 3) + 'Z';
}

std::string format_nsb_time(int64_t unix_us) {
  int64_t seconds = unix_us / 1'000'000, us = unix_us % 1'000'000;
  if (us < 0) us += 1'000'000, --seconds;
  Civil c = printable(seconds);
  return padded(c.year, 4) + '-' + padded(c.month, 2) + '-' + padded(c.day, 2) + ' ' + padded(c.hour, 2) + ':' + padded(c.minute, 2) + ':' +
         padded(c.second, 2) + ':' + padded(us, 6) + " Z";
}

std::optional<int64_t> parse_nsb_time_ms(std::string_view text) {
  size_t at = 0;
  auto date = take_date(text, at);
  if (!date || !take_char(text, at, ' ')) return std::nullopt;
  auto seconds = take_clock(text, at);
  if (!seconds || !take_char(text, at, ':')) return std::nullopt;
  int us = take_digits(text, at, 6);
  if (us < 0 || text.substr(at) != " Z") return std::nullopt;
  return days_from_civil(date->year, date->month, date->day) * ms_per_day + *seconds * 1000ll + us / 1000;
}

std::optional<int64_t> parse_timespan_ms(std::string_view text) {
  size_t at = 0;
  bool minus = take_char(text, at, '-');
  auto first = take_number(text, at);
  if (!first) return std::nullopt;
  uint64_t days = 0, hours = *first;
  if (take_char(text, at, '.')) {
    days = *first;
    int value = take_digits(text, at, 2);
    if (value < 0) return std::nullopt;
    hours = static_cast<uint64_t>(value);
  } else if (at == text.size()) {
    days = *first;  // "7" alone is seven days, as in .NET
    hours = 0;
  }
  int minutes = 0, seconds = 0, ms = 0;
  if (at < text.size()) {
    if (hours > 23 || !take_char(text, at, ':')) return std::nullopt;
    minutes = take_digits(text, at, 2);
    if (minutes < 0 || minutes > 59) return std::nullopt;
    if (take_char(text, at, ':')) {
      seconds = take_digits(text, at, 2);
      if (seconds < 0 || seconds > 59) return std::nullopt;
      if (take_char(text, at, '.')) {
        auto fraction = take_fraction_ms(text, at);
        if (!fraction) return std::nullopt;
        ms = *fraction;
      }
    }
    if (at != text.size()) return std::nullopt;
  }
  uint64_t rest = ((hours * 60 + static_cast<uint64_t>(minutes)) * 60 + static_cast<uint64_t>(seconds)) * 1000 + static_cast<uint64_t>(ms);
  uint64_t total;
  if (__builtin_mul_overflow(days, static_cast<uint64_t>(ms_per_day), &total) || __builtin_add_overflow(total, rest, &total) ||
      total > static_cast<uint64_t>(INT64_MAX))
    return minus ? INT64_MIN : INT64_MAX;
  return minus ? -static_cast<int64_t>(total) : static_cast<int64_t>(total);
}

std::string format_timespan(int64_t ms) {
  uint64_t left = ms < 0 ? 0 - static_cast<uint64_t>(ms) : static_cast<uint64_t>(ms);
  uint64_t fraction = left % 1000;
  left /= 1000;
  auto two = [](uint64_t value) { return padded(static_cast<int64_t>(value), 2); };
  std::string text = ms < 0 ? "-" : "";
  if (left >= 86400) text += std::to_string(left / 86400) + ".";
  text += two(left / 3600 % 24) + ":" + two(left / 60 % 60) + ":" + two(left % 60);
  if (fraction != 0) text += "." + padded(static_cast<int64_t>(fraction), 3) + "0000";
  return text;
}

std::string human_size(uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes);
  constexpr std::string_view units = "KMGTPE";
  size_t power = 0;
  uint64_t unit = 1024;
  while (power + 1 < units.size() && bytes / unit >= 1024) unit *= 1024, ++power;
  uint64_t whole = bytes / unit;
  uint64_t tenth = bytes % unit / (unit / 1024) * 10 / 1024;
  return (whole >= 100 ? std::to_string(whole) : one_decimal(whole, tenth)) + units[power];
}

std::string human_duration(int64_t ms) {
  if (ms < 0) return "-" + human_duration(ms == INT64_MIN ? INT64_MAX : -ms);
  if (ms < 1000) return std::to_string(ms) + "ms";
  int64_t s = ms / 1000;
  // Two units say enough: 1d4h, 1h30m, 2m5s.
  auto two = [](int64_t high, const char* high_name, int64_t low, const char* low_name) {
    std::string text = std::to_string(high) + high_name;
    if (low != 0) text += std::to_string(low) + low_name;
    return text;
  };
  if (s < 60) return std::to_string(s) + "s";
  if (s < 3600) return two(s / 60, "m", s % 60, "s");
  if (s < 86400) return two(s / 3600, "h", s / 60 % 60, "m");
  return two(s / 86400, "d", s / 3600 % 24, "h");
}

int64_t now_us() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

int64_t now_ms() { return now_us() / 1000; }

int64_t monotonic_ms() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace gw
