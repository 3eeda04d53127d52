// Events and errors on stderr: one line each, one write(2) each.
//   text:  2026-11-21T22:00:03.412Z warn retry-scheduled id=17 site=Store1 reason="503 Busy"
//   json:  {"at":"2026-11-21T22:00:03.412Z","level":"warn","event":"retry-scheduled","id":"17",...}
// Event names are lower-case words with dashes; keys are snake_case and the same as in the tools' JSON.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "result.hpp"

namespace gw {

enum class Level { debug, info, warn, error };
enum class LogFormat { text, json };

/// One key and value of an event; numbers are written without quotes.
struct Field {
  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const char* v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(v) {}
  template <class N, class = std::enable_if_t<std::is_integral_v<N>>>
  Field(std::string_view k, N v) : key(k), value(std::to_string(v)), is_number(true) {}
  std::string key, value;
  bool is_number = false;
};

/// Sets how events look and the lowest level that is written (debug with -v, info by default, warn with -q).
/// Call once at start, before other threads run. `tool` prefixes error lines.
void diag_setup(std::string tool, LogFormat format, Level lowest);

/// Writes one event line. Any thread may call it at any time. Control bytes in values are replaced.
void event(Level level, std::string_view name, std::initializer_list<Field> fields = {});

/// Writes "tool: text" (text format) or an error event (json format): for the errors that end a command.
void print_error(std::string_view text);

}  // namespace gw
