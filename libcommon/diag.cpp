#include "diag.hpp"

#include <unistd.h>

#include <cerrno>

#include "json.hpp"
#include "units.hpp"

namespace gw {

namespace {

struct Settings {
  std::string tool = "gatepost";
  LogFormat format = LogFormat::text;
  Level lowest = Level::info;
};

// Written once before threads start. Never destroyed: threads may log while the process ends.
Settings& settings() {
  static auto* instance = new Settings;
  return *instance;
}

const char* level_name(Level level) {
  switch (level) {
    case Level::debug: return "debug";
    case Level::info: return "info";
    case Level::warn: return "warn";
    case Level::error: return "error";
  }
  return "error";
}

// One write per line, so that lines of several processes on one terminal or file do not mix.
void write_line(const std::string& line) {
  const char* at = line.data();
  size_t left = line.size();
  while (left > 0) {
    ssize_t n = ::write(STDERR_FILENO, at, left);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;  // nobody to tell
    at += n;
    left -= static_cast<size_t>(n);
  }
}

bool plain(std::string_view value) {
  if (value.empty()) return false;
  for (char c : value)
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;
  return true;
}

// A field without a name is one that is not known; only what has a trace names it.
bool left_out(const Field& field) { return field.key.empty() || (field.value.empty() && field.key == "traceparent"); }

std::string without_control_bytes(std::string_view value) {
  std::string clean(value);
  for (char& c : clean)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';
  return clean;
}

void append_text_value(std::string& line, std::string_view value) {
  if (plain(value)) {
    line += value;
    return;
  }
  line += '"';
  for (char c : value) {
    if (c == '"' || c == '\\') line += '\\';
    if (c == '\n') line += "\\n";  // the last lines of a handler stay lines
    else if (c == '\t') line += "\\t";
    else line += static_cast<unsigned char>(c) < ' ' || c == 0x7f ? '?' : c;
  }
  line += '"';
}

}  // namespace

void diag_setup(std::string tool, LogFormat format, Level lowest) { settings() = Settings{std::move(tool), format, lowest}; }

void event(Level level, std::string_view name, std::initializer_list<Field> fields) {
  if (level < settings().lowest) return;
  std::string at = format_rfc3339(now_ms());
  if (settings().format == LogFormat::json) {
    JsonObject object;
    object.add("at", at).add("level", level_name(level)).add("event", name);
    for (const Field& field : fields) {
      if (left_out(field)) continue;
      if (field.is_number)
        object.add_raw(field.key, field.value);
      else
        object.add(field.key, field.value);
    }
    write_line(object.str() + "\n");
    return;
  }
  std::string line = at + ' ' + level_name(level) + ' ' + std::string(name);
  for (const Field& field : fields) {
    if (left_out(field)) continue;
    line += ' ';
    line += field.key;
    line += '=';
    append_text_value(line, field.value);
  }
  write_line(line + "\n");
}

void print_error(std::string_view text) {
  if (settings().format == LogFormat::json) {
    event(Level::error, "error", {{"tool", settings().tool}, {"reason", text}});
    return;
  }
  // Several lines are several errors (a configuration file); each says which tool complains.
  std::string lines;
  for (size_t start = 0; start <= text.size();) {
    size_t end = std::min(text.find('\n', start), text.size());
    if (end > start) lines += settings().tool + ": " + without_control_bytes(text.substr(start, end - start)) + "\n";
    start = end + 1;
  }
  write_line(lines);
}

}  // namespace gw
