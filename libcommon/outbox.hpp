// The outboxes of sites, and what of a message goes over the wire of the http channel (gw-http(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config_names.hpp"
#include "message.hpp"
#include "result.hpp"

namespace gw {

inline constexpr size_t http_headers_max = 63;           ///< header lines of one request that every receiver takes
inline constexpr size_t http_head_bytes_max = 16 * 1024;  ///< request line and headers

/// Is it the queue that an endpoint's messages for other sites, answers above all, go through: `E.gateway`?
bool is_gateway_queue(std::string_view queue);

/// Is the transfer window ("22:00-05:00", local time; empty: always) open? If not, `opens_at_ms` says when it will be.
bool window_open(const std::string& window, int64_t now_ms, int64_t* opens_at_ms = nullptr);

/// What stands beside the message in the head of a request.
struct RequestContext {
  unsigned failures = 0;              ///< failed attempts so far: NServiceBus.Retries from the second on
  int64_t last_failure_us = 0;        ///< NServiceBus.Retries.Timestamp
  std::string originating_site;       ///< `http,URL` where replies can be sent; empty: what the message says
  bool without_site = false;          ///< what the message says is where it goes, not where it comes from
  bool original_version_1 = false;    ///< receivers of versions 3, 4 and gateway 1 want two headers more
  bool lower_case_names = false;
  bool with_token = false;            ///< an Authorization line comes with it
  bool to_machine = false;            ///< the message arrives as it is: nothing of it is replaced, added or read
  std::string content_md5;            ///< base64; empty: left out, added later
};

/// The headers of a submit as channels get them that do not encode: names and values as they are, the message's own with their prefix.
Headers submit_fields(const Message& message, const RequestContext& context);
/// The header lines of a submit, each `Name: value` ended by NUL, names and values URL-encoded. Without Host, Content-Length and Date.
std::string submit_head(const Message& message, const RequestContext& context);
/// The same for the call that brings a data bus property; `wire_name` is the name of its header in a submit.
std::string property_head(const Message& message, std::string_view wire_name, const RequestContext& context);
/// The same for channels that do not encode; with an empty `wire_name` a submit.
Headers call_fields(const Message& message, std::string_view wire_name, const RequestContext& context);
/// The name in a request of the header NServiceBus.DataBus.`name`.
std::string property_wire_name(std::string_view name);
/// `Content-MD5: ...` with its NUL.
std::string content_md5_line(const std::string& md5_base64, bool lower_case_names);
/// The header lines of a request whose body is an envelope.
std::string envelope_head();
/// How many lines `head` has.
size_t head_lines(std::string_view head);

/// bad_data if a request with this message to `url` would be larger than receivers take, naming httpvnext.
Result<void> check_http_limits(const Message& message, std::string_view url, const RequestContext& context);

}  // namespace gw
