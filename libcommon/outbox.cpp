#include "outbox.hpp"

#include <time.h>

#include <algorithm>

#include "failure.hpp"
#include "units.hpp"
#include "wire_codec.hpp"

namespace gw {
namespace {

constexpr std::string_view gateway_suffix = ".gateway";
constexpr std::string_view message_header_prefix = "NServiceBus.Header.";
// What a first attempt has beside submit_head, at most: Host, Content-Length, Date; and a retry: two headers more.
constexpr size_t lines_beside = 3, lines_of_retry = 2;
constexpr size_t bytes_of_site = 300;  // OriginatingSite with an address that whoever stores a message does not know
constexpr size_t bytes_beside = 160, bytes_of_retry = 160, bytes_of_token = 512;  // without the host's name, which is in the URL

/// Appends header lines of one request.
class HeadWriter {
 public:
  explicit HeadWriter(bool lower_case) : lower_case_(lower_case) { text_.reserve(2048); }
  /// A name that needs no encoding.
  void plain(std::string_view name, std::string_view value) {
    add_name(name);
    add_value(value);
  }
  /// A header of the message.
  void of_message(std::string_view name, std::string_view value) {
    add_name(message_header_prefix, wire_encode(name));
    add_value(value);
  }
  std::string take() && { return std::move(text_); }

 private:
  void add_name(std::string_view prefix, std::string_view rest = {}) {
    const size_t start = text_.size();
    text_.append(prefix).append(rest);
    if (!lower_case_) return;
    auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    std::transform(text_.begin() + static_cast<std::ptrdiff_t>(start), text_.end(), text_.begin() + static_cast<std::ptrdiff_t>(start),
                   lower);
  }
  void add_value(std::string_view value) {
    text_ += ": ";
    text_ += wire_encode(value);
    text_ += '\0';
  }
  std::string text_;
  bool lower_case_;
};

/// The same headers, not encoded.
class FieldWriter {
 public:
  void plain(std::string_view name, std::string_view value) { fields_.entries().push_back({std::string(name), std::string(value)}); }
  void of_message(std::string_view name, std::string_view value) {
    fields_.entries().push_back({std::string(message_header_prefix).append(name), std::string(value)});
  }
  Headers take() && { return std::move(fields_); }

 private:
  Headers fields_;
};

bool replaced(std::string_view name, const RequestContext& context) {
  if (context.to_machine) return false;
  if (name == returned_header) return true;
  if (context.failures > 0 && (name == header::retries || name == header::retries_timestamp)) return true;
  return (context.without_site || !context.originating_site.empty()) && name == header::originating_site;
}

template <class Writer>
void add_outer_headers(Writer& head, const Message& message, const RequestContext& context) {
  const std::string_view id = message.headers.get(header::message_id);
  const std::string* correlation = message.headers.find(header::correlation_id);
  head.plain("NServiceBus.Id", id);
  head.plain("NServiceBus.CorrelationId", correlation && !correlation->empty() ? std::string_view(*correlation) : id);
  if (const std::string* reply_to = message.headers.find(header::reply_to_address)) head.plain(header::reply_to_address, *reply_to);
  if (const std::string* route_to = message.headers.find("ReplyToAddress"); route_to && !context.to_machine) head.plain("NServiceBus.Header.RouteTo", *route_to);
  const std::string* ttbr = message.headers.find(header::time_to_be_received);
  if (ttbr)
    head.plain(header::time_to_be_received, *ttbr);
  else if (context.original_version_1)
    head.plain(header::time_to_be_received, "10675199.02:48:05.4775807");  // TimeSpan.MaxValue
  if (context.original_version_1) head.plain("NServiceBus.Recoverable", "True");
}

template <class Writer>
void add_message_headers(Writer& head, const Message& message, const RequestContext& context) {
  for (const Headers::Entry& entry : message.headers.entries())
    if (!replaced(entry.name, context)) head.of_message(entry.name, entry.value);
  if (context.to_machine) return;
  if (context.failures > 0) {
    head.of_message(header::retries, std::to_string(context.failures));
    head.of_message(header::retries_timestamp, format_nsb_time(context.last_failure_us));
  }
  if (!context.originating_site.empty()) head.of_message(header::originating_site, context.originating_site);
}

/// `property`: the wire name of the property that the call brings; empty: a submit.
template <class Writer>
void add_call(Writer& head, const Message& message, std::string_view property, const RequestContext& context) {
  add_outer_headers(head, message, context);
  add_message_headers(head, message, context);
  if (!property.empty()) head.plain(wire::data_bus_key, property);
  head.plain("NServiceBus.Gateway", "True");
  head.plain("NServiceBus.CallType", property.empty() ? "SingleCallSubmit" : "SingleCallDatabusProperty");
}

}  // namespace

bool is_gateway_queue(std::string_view queue) { return queue.size() > gateway_suffix.size() && queue.ends_with(gateway_suffix); }

Headers call_fields(const Message& message, std::string_view property, const RequestContext& context) {
  FieldWriter fields;
  add_call(fields, message, property, context);
  if (!context.content_md5.empty()) fields.plain("Content-MD5", context.content_md5);
  return std::move(fields).take();
}

Headers submit_fields(const Message& message, const RequestContext& context) { return call_fields(message, "", context); }

std::string submit_head(const Message& message, const RequestContext& context) { return property_head(message, "", context); }

std::string property_wire_name(std::string_view name) {
  return std::string(message_header_prefix).append(header::data_bus_prefix).append(name);
}

std::string property_head(const Message& message, std::string_view property, const RequestContext& context) {
  HeadWriter head(context.lower_case_names);
  add_call(head, message, property, context);
  std::string text = std::move(head).take();
  if (!context.content_md5.empty()) text += content_md5_line(context.content_md5, context.lower_case_names);
  // The one value that is not encoded.
  text += context.lower_case_names ? "content-type" : "Content-Type";
  text += ": application/x-www-form-urlencoded";
  text += '\0';
  return text;
}

std::string content_md5_line(const std::string& md5_base64, bool lower_case_names) {
  HeadWriter line(lower_case_names);
  line.plain("Content-MD5", md5_base64);
  return std::move(line).take();
}

std::string envelope_head() {
  constexpr std::string_view line = "Content-Type: application/json";
  return std::string(line) + '\0';
}

namespace {

/// That time of the day `days` after the day of `local`. mktime moves a time that daylight saving leaves out behind the gap.
time_t local_time(tm local, int days, int minutes) {
  local.tm_mday += days;
  local.tm_hour = minutes / 60;
  local.tm_min = minutes % 60;
  local.tm_sec = 0;
  local.tm_isdst = -1;
  return mktime(&local);
}

}  // namespace

bool window_open(const std::string& window, int64_t now_ms, int64_t* opens_at_ms) {
  if (window.size() != 11) return true;
  auto minutes = [&](size_t at) { return std::stoi(window.substr(at, 2)) * 60 + std::stoi(window.substr(at + 3, 2)); };
  const int from = minutes(0), to = minutes(6);
  if (from == to) return true;
  const time_t now = static_cast<time_t>(now_ms / 1000);
  tm local{};
  localtime_r(&now, &local);
  const int at = local.tm_hour * 60 + local.tm_min;
  bool open = from < to ? at >= from && at < to : at >= from || at < to;
  // A window within the hour that daylight saving leaves out is as long as ever, behind it.
  if (!open && from < to) open = now >= local_time(local, 0, from) && now < local_time(local, 0, to);
  if (open || !opens_at_ms) return open;
  time_t opens = local_time(local, 0, from);
  if (opens <= now) opens = local_time(local, 1, from);
  *opens_at_ms = static_cast<int64_t>(opens) * 1000;
  return false;
}

size_t head_lines(std::string_view head) { return static_cast<size_t>(std::count(head.begin(), head.end(), '\0')); }

Result<void> check_http_limits(const Message& message, std::string_view url, const RequestContext& context) {
  RequestContext first = context;
  if (first.content_md5.empty()) first.content_md5 = "1B2M2Y8AsgTpgAmY7PhCfg==";
  // Every property has a call of its own, with one header more.
  std::string head = submit_head(message, first);
  for (const Headers::Entry& entry : message.headers.entries()) {
    constexpr std::string_view prefix = header::data_bus_prefix;
    if (!entry.name.starts_with(prefix)) continue;
    std::string other = property_head(message, property_wire_name(std::string_view(entry.name).substr(prefix.size())), first);
    if (other.size() > head.size()) head = std::move(other);
  }
  const bool adds_site = first.originating_site.empty();
  const size_t lines = head_lines(head) + lines_beside + (context.with_token ? 1 : 0) + (adds_site ? 1 : 0) + (first.failures == 0 ? lines_of_retry : 0);
  if (lines > http_headers_max)
    return Error{ExitCode::bad_data, 0,
                 "the message has " + std::to_string(message.headers.entries().size()) + " headers, which makes " + std::to_string(lines) +
                     " in a request, and http carries " + std::to_string(http_headers_max) + "; the channel type httpvnext carries more"};
  // Each line has CR LF on the wire and NUL here; the URL stands for the request line and Host.
  const size_t bytes = head.size() + head_lines(head) + url.size() + bytes_beside + (context.with_token ? bytes_of_token : 0) + (adds_site ? bytes_of_site : 0) + (first.failures == 0 ? bytes_of_retry : 0);
  if (bytes > http_head_bytes_max)
    return Error{ExitCode::bad_data, 0,
                 "the message's headers take " + std::to_string(bytes) + " bytes in a request, and http carries " +
                     std::to_string(http_head_bytes_max) + "; the channel type httpvnext carries more"};
  return {};
}

}  // namespace gw
