#include "trace_context.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cstdlib>

#include "hash.hpp"

namespace gw {
namespace {

// version-trace-span-flags: 2, 32, 16 and 2 digits.
constexpr size_t trace_at = 3, trace_digits = 32, span_at = 36, span_digits = 16, flags_at = 53, version_0_bytes = 55;
constexpr size_t tracestate_bytes_max = 4096;

bool are_digits(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }
bool is_id(std::string_view text) { return are_digits(text) && text.find_first_not_of('0') != std::string_view::npos; }

std::string new_span() {
  std::string bytes(span_digits / 2, '\0');
  do {
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return {};
  } while (std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; }));
  return hex(bytes);
}

}  // namespace

bool traceparent_ok(std::string_view text) {
  if (text.size() < version_0_bytes || text[2] != '-' || text[span_at - 1] != '-' || text[flags_at - 1] != '-') return false;
  const std::string_view version = text.substr(0, 2);
  if (!are_digits(version) || version == "ff" || !are_digits(text.substr(flags_at, 2))) return false;
  if (version == "00" ? text.size() != version_0_bytes : text.size() > version_0_bytes && text[version_0_bytes] != '-') return false;
  return is_id(text.substr(trace_at, trace_digits)) && is_id(text.substr(span_at, span_digits));
}

std::string child_traceparent(std::string_view parent) {
  if (!traceparent_ok(parent)) return {};
  const std::string span = new_span();
  if (span.empty()) return std::string(parent);
  return "00-" + std::string(parent.substr(trace_at, trace_digits)) + "-" + span + "-" + std::string(parent.substr(flags_at, 2));
}

void continue_trace(Headers& headers) {
  const char* parent = ::getenv("TRACEPARENT");
  if (!parent || !*parent) return;
  const std::string child = child_traceparent(parent);
  if (child.empty()) return;
  headers.set(header::traceparent, child);
  const char* state = ::getenv("TRACESTATE");
  if (state && *state && std::string_view(state).size() <= tracestate_bytes_max) headers.set(header::tracestate, state);
}

}  // namespace gw
