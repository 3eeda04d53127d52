// W3C trace context: which trace a message belongs to. Whoever works on a message has a span of its own, whose parent is the span that
// the message's header names; what it sends names that span in turn.
#pragma once

#include <string>
#include <string_view>

#include "message.hpp"

namespace gw {

namespace header {
inline constexpr std::string_view traceparent = "traceparent";
inline constexpr std::string_view tracestate = "tracestate";
}  // namespace header

/// Is it `00-TRACE-SPAN-FLAGS` in lower-case hex digits, with ids that are not 0? (Or of a later version, which begins the same way.)
bool traceparent_ok(std::string_view text);
/// The same trace and flags with a new span: version 00. "" if `parent` is not one.
std::string child_traceparent(std::string_view parent);
/// What a process sends continues the trace that its environment names (TRACEPARENT, TRACESTATE). Nothing if there is none.
void continue_trace(Headers& headers);

}  // namespace gw
