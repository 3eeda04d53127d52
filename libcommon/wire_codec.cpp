#include "wire_codec.hpp"

#include <strings.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <unordered_map>

#include "json.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr char hex_digits[] = "0123456789ABCDEF";

constexpr bool stays(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '!' ||
         c == '*' || c == '(' || c == ')';
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool equal_no_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

size_t find_no_case(std::string_view text, std::string_view part) {
  auto fold = [](char c) { return static_cast<char>(c | 0x20); };
  for (size_t at = 0; at + part.size() <= text.size(); ++at)
    if (fold(text[at]) == fold(part[0]) && ::strncasecmp(text.data() + at, part.data(), part.size()) == 0) return at;
  return std::string_view::npos;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// Names whose casing a hop that lower-cases everything has destroyed, and that receivers look for.
constexpr std::string_view known_names[] = {
    "$.diagnostics.hostdisplayname",
    "$.diagnostics.hostid",
    "$.diagnostics.license.expired",
    "$.diagnostics.originating.hostid",
    "Gatepost.FileName",
    "Gatepost.ParentId",
    "NServiceBus.AutoAck",
    "NServiceBus.ContentEncoding",
    "NServiceBus.ContentType",
    "NServiceBus.ControlMessage",
    "NServiceBus.ConversationId",
    "NServiceBus.CorrelationId",
    "NServiceBus.DataBusConfig.ContentType",
    "NServiceBus.DeliverAt",
    "NServiceBus.DestinationSites",
    "NServiceBus.EnclosedMessageTypes",
    "NServiceBus.ExceptionInfo.ExceptionType",
    "NServiceBus.ExceptionInfo.HelpLink",
    "NServiceBus.ExceptionInfo.InnerExceptionType",
    "NServiceBus.ExceptionInfo.Message",
    "NServiceBus.ExceptionInfo.Reason",
    "NServiceBus.ExceptionInfo.Source",
    "NServiceBus.ExceptionInfo.StackTrace",
    "NServiceBus.FailedQ",
    "NServiceBus.FLRetries",
    "NServiceBus.From",
    "NServiceBus.Gateway.LegacyMode",
    "NServiceBus.Header.RouteTo",
    "NServiceBus.HttpFrom",
    "NServiceBus.HttpTo",
    "NServiceBus.Id",
    "NServiceBus.IdForCorrelation",
    "NServiceBus.IsDeferredMessage",
    "NServiceBus.IsSagaTimeoutMessage",
    "NServiceBus.MessageId",
    "NServiceBus.MessageIntent",
    "NServiceBus.NonDurableMessage",
    "NServiceBus.OpenTelemetry.StartNewTrace",
    "NServiceBus.OriginatingAddress",
    "NServiceBus.OriginatingEndpoint",
    "NServiceBus.OriginatingHostId",
    "NServiceBus.OriginatingMachine",
    "NServiceBus.OriginatingSagaId",
    "NServiceBus.OriginatingSagaType",
    "NServiceBus.OriginatingSite",
    "NServiceBus.ProcessingEnded",
    "NServiceBus.ProcessingEndpoint",
    "NServiceBus.ProcessingMachine",
    "NServiceBus.ProcessingStarted",
    "NServiceBus.RelatedTo",
    "NServiceBus.RelatedToTimeoutId",
    "NServiceBus.ReplyToAddress",
    "NServiceBus.Retries",
    "NServiceBus.Retries.Timestamp",
    "NServiceBus.RouteExpiredTimeoutTo",
    "NServiceBus.SagaId",
    "NServiceBus.SagaType",
    "NServiceBus.TimeOfFailure",
    "NServiceBus.TimeSent",
    "NServiceBus.TimeToBeReceived",
    "NServiceBus.Timeout.Expire",
    "NServiceBus.Timeout.RouteExpiredTimeoutTo",
    "NServiceBus.To",
    "NServiceBus.Version",
    "ReplyToAddress",
    "RouteTo",
    "ServiceControl.Retry.AcknowledgementQueue",
    "ServiceControl.Retry.UniqueMessageId",
    "ServiceControl.RetryTo",
    "ServiceControl.TargetEndpointAddress",
};
constexpr std::string_view data_bus_name_prefix = "NServiceBus.DataBus.";

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

const std::unordered_map<std::string, std::string_view>& known_by_lower_case() {
  static const auto* table = [] {
    auto* map = new std::unordered_map<std::string, std::string_view>;
    for (std::string_view name : known_names) map->emplace(lower(name), name);
    return map;
  }();
  return *table;
}

std::string restore_case(std::string name) {
  const auto& table = known_by_lower_case();
  if (auto known = table.find(name); known != table.end()) return std::string(known->second);
  if (name.size() > data_bus_name_prefix.size() && equal_no_case(std::string_view(name).substr(0, data_bus_name_prefix.size()), data_bus_name_prefix))
    name.replace(0, data_bus_name_prefix.size(), data_bus_name_prefix);
  return name;
}

// Without "NServiceBus.Header." wherever it stands, as the original does it; the casing is restored if a hop lost it.
std::string inner_name(std::string_view name) {
  std::string result(name);
  bool lost_case = false;
  for (size_t at = find_no_case(result, wire::header_prefix); at != std::string::npos; at = find_no_case(result, wire::header_prefix)) {
    lost_case |= result.compare(at, wire::header_prefix.size(), wire::header_prefix) != 0;
    result.erase(at, wire::header_prefix.size());
  }
  return lost_case ? restore_case(std::move(result)) : result;
}

// Of a message that is no gateway's: there is no prefix that shows whether a hop has lost the case.
std::string custom_name(std::string name, const HeaderNames& own_names) {
  if (const std::string* own = own_names.find(name)) return *own;
  return name.starts_with("nservicebus.") ? restore_case(std::move(name)) : name;
}

// Never believed from outside: set by the listener itself, or secrets of the connection.
bool is_ours_or_secret(std::string_view name) {
  return equal_no_case(name, "Gatepost.Site") || equal_no_case(name, "Authorization") || equal_no_case(name, "Proxy-Authorization") ||
         equal_no_case(name, "Cookie");
}

// MSMQ ends ids with a NUL byte.
std::string without_nul(std::string_view text) {
  while (!text.empty() && text.back() == '\0') text.remove_suffix(1);
  return std::string(text);
}

bool is_time_to_be_received(std::string_view name) {
  if (name.size() < wire::time_to_be_received.size()) return false;
  if (!equal_no_case(name.substr(name.size() - wire::time_to_be_received.size()), wire::time_to_be_received)) return false;
  return equal_no_case(inner_name(name), header::time_to_be_received);
}

/// Nearly all names and values are ASCII.
bool is_utf8(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return static_cast<signed char>(c) < 0; }) || utf8_ok(text);
}

/// nullopt: neither true nor false. Without the header: false.
std::optional<bool> read_auto_ack(const Headers& wire_headers) {
  const std::string* found = wire_headers.find(wire::auto_ack);
  if (!found) return false;
  std::string_view text = *found;
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  if (equal_no_case(text, "true")) return true;
  if (equal_no_case(text, "false")) return false;
  return std::nullopt;
}

std::string missing(std::string_view name) { return "Required header '" + std::string(name) + "' missing."; }

}  // namespace

std::string wire_encode(std::string_view text) {
  std::string result;
  result.reserve(text.size() + text.size() / 4);
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (stays(byte)) {
      result += c;
    } else if (c == ' ') {
      result += '+';
    } else {
      result += '%';
      result += hex_digits[byte >> 4];
      result += hex_digits[byte & 15];
    }
  }
  return result;
}

std::string wire_decode(std::string_view text) {
  if (std::none_of(text.begin(), text.end(), [](char c) { return c == '%' || c == '+'; })) return std::string(text);
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      result += ' ';
      continue;
    }
    int high = text[i] == '%' && i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
    int low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0) {
      result += text[i];
      continue;
    }
    result += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return result;
}

std::variant<Headers, WireRefusal> decode_wire_fields(std::span<const std::pair<std::string_view, std::string_view>> fields) {
  Headers headers;
  auto& entries = headers.entries();
  entries.reserve(fields.size() + 2);
  for (const auto& [raw_name, raw_value] : fields) {
    std::string name = wire_decode(raw_name), value = wire_decode(raw_value);
    if (name.empty() || has_control(name)) return WireRefusal{400, "header name with control characters"};
    if (!is_utf8(name)) return WireRefusal{400, "header name is not UTF-8"};
    if (!is_utf8(value)) return WireRefusal{400, "header '" + name + "' is not UTF-8"};
    for (const auto& entry : entries)
      if (equal_no_case(entry.name, name)) return WireRefusal{400, "header '" + name + "' is there twice"};
    entries.push_back({std::move(name), std::move(value)});
  }
  return headers;
}

std::optional<WireRefusal> check_wire_headers(const Headers& headers) {
  const auto& entries = headers.entries();
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& [name, value] = entries[i];
    if (name.empty() || has_control(name)) return WireRefusal{400, "header name with control characters"};
    if (!is_utf8(name)) return WireRefusal{400, "header name is not UTF-8"};
    if (!is_utf8(value)) return WireRefusal{400, "header '" + name + "' is not UTF-8"};
    for (size_t k = 0; k < i; ++k)
      if (equal_no_case(entries[k].name, name)) return WireRefusal{400, "header '" + name + "' is there twice"};
  }
  return std::nullopt;
}

std::variant<WireCall, WireRefusal> read_wire_call(const Headers& wire_headers) {
  WireCall call;
  call.id = without_nul(wire_headers.get(wire::id));
  if (call.id.empty()) return WireRefusal{400, missing(wire::id)};
  if (call.id.size() > message_id_bytes_max)
    return WireRefusal{400, "header '" + std::string(wire::id) + "' has more than " + std::to_string(message_id_bytes_max) + " bytes"};
  if (!message_id_ok(call.id)) return WireRefusal{400, "header '" + std::string(wire::id) + "' has control characters"};
  const std::string type(wire_headers.get(wire::call_type));
  if (type.empty()) return WireRefusal{400, missing(wire::call_type)};
  call.legacy = type == "Submit" || type == "DatabusProperty" || type == "Ack";
  if (type == "SingleCallDatabusProperty" || type == "DatabusProperty") {
    call.type = WireCall::Type::data_bus_property;
    call.data_bus_key = std::string(wire_headers.get(wire::data_bus_key));
    if (call.data_bus_key.empty()) return WireRefusal{400, missing(wire::data_bus_key)};
    if (has_control(call.data_bus_key)) return WireRefusal{400, "header '" + std::string(wire::data_bus_key) + "' has control characters"};
  } else if (type == "Submit") {
    auto at_once = read_auto_ack(wire_headers);
    if (!at_once) return WireRefusal{400, "Invalid AutoAck header '" + std::string(wire::auto_ack) + "'. Found '" + std::string(wire_headers.get(wire::auto_ack)) + "'"};
    call.type = *at_once ? WireCall::Type::submit : WireCall::Type::hold;
  } else if (type == "Ack") {
    call.type = WireCall::Type::ack;
  } else if (type != "SingleCallSubmit") {
    return WireRefusal{400, "Invalid CallType '" + type + "'. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'"};
  }
  call.gateway_message = wire_headers.find(wire::gateway) != nullptr;
  call.correlation_id = without_nul(wire_headers.get(wire::correlation_id));
  if (call.correlation_id.empty()) call.correlation_id = call.id;
  if (const std::string* md5 = wire_headers.find(wire::content_md5)) call.md5 = *md5;
  for (const auto& entry : wire_headers.entries()) {
    if (find_no_case(entry.name, wire::data_bus_prefix) != std::string::npos) call.data_bus_headers.push_back(entry.name);
    if (!is_time_to_be_received(entry.name)) continue;
    auto span = parse_timespan_ms(entry.value);
    if (!span) return WireRefusal{400, "Invalid header '" + entry.name + "': not a time span (hh:mm:ss)."};
    // The outer one wins; less than a second counts as one.
    bool outer = equal_no_case(entry.name, wire::time_to_be_received);
    if (outer || !call.time_to_be_received_ms) call.time_to_be_received_ms = std::max<int64_t>(*span, 1000);
  }
  return call;
}

std::string delivered_name(std::string_view wire_name, bool gateway_message) {
  if (gateway_message && find_no_case(wire_name, wire::header_prefix) == std::string_view::npos) return {};
  std::string name = gateway_message ? inner_name(wire_name) : std::string(wire_name);
  return is_ours_or_secret(name) ? std::string() : name;
}

HeaderNames::HeaderNames(const std::vector<std::string>& names) {
  for (const std::string& name : names) by_lower_case_.emplace(lower(name), name);
}

const std::string* HeaderNames::find(std::string_view name) const {
  if (by_lower_case_.empty()) return nullptr;
  const auto found = by_lower_case_.find(lower(name));
  return found == by_lower_case_.end() ? nullptr : &found->second;
}

Headers delivered_headers(Headers&& wire_headers, const WireCall& call, std::string_view endpoint, const HeaderNames& own_names) {
  Headers result;
  auto& entries = result.entries();
  entries.reserve(wire_headers.entries().size() + 3);
  for (auto& entry : wire_headers.entries()) {
    if (!call.gateway_message) {
      if (is_ours_or_secret(entry.name)) continue;
      entry.name = custom_name(std::move(entry.name), own_names);
      entries.push_back(std::move(entry));
      continue;
    }
    std::string name = delivered_name(entry.name, true);
    if (name.empty()) continue;
    if (const std::string* own = own_names.find(name)) name = *own;
    // Two wire names can end as one ("X" with the prefix once and twice): the last counts.
    auto same = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return equal_no_case(e.name, name); });
    if (same != entries.end()) same->value = std::move(entry.value);
    else entries.push_back({std::move(name), std::move(entry.value)});
  }
  result.set(header::message_id, call.id);
  if (call.gateway_message) result.set(header::correlation_id, call.correlation_id);
  result.set(header::reply_to_address, std::string(endpoint) + ".gateway");
  return result;
}

Headers arrived_headers(Headers&& wire_headers, const WireCall& call, const HeaderNames& own_names) {
  Headers result;
  auto& entries = result.entries();
  entries.reserve(wire_headers.entries().size());
  for (auto& entry : wire_headers.entries()) {
    std::string_view name = entry.name;
    const bool prefixed = name.size() > wire::header_prefix.size() && equal_no_case(name.substr(0, wire::header_prefix.size()), wire::header_prefix);
    if (call.gateway_message && !prefixed) continue;
    if (!prefixed && is_ours_or_secret(name)) continue;  // of the connection
    const bool lost_case = prefixed && !name.starts_with(wire::header_prefix);
    if (prefixed) name.remove_prefix(wire::header_prefix.size());
    std::string whole = lost_case ? restore_case(std::string(name)) : std::string(name);
    if (const std::string* own = own_names.find(whole)) whole = *own;
    entries.push_back({std::move(whole), std::move(entry.value)});
  }
  if (!result.find(header::message_id)) result.set(header::message_id, call.id);
  return result;
}

namespace {
constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::array<std::string_view, 7> week_days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

bool number_at(std::string_view text, size_t at, size_t length, int& into) {
  auto end = text.data() + at + length;
  auto [stop, error] = std::from_chars(text.data() + at, end, into);
  return error == std::errc() && stop == end && into >= 0;
}
}  // namespace

std::optional<int64_t> parse_http_date_ms(std::string_view text) {
  // Sat, 21 Nov 2026 11:35:41 GMT
  if (text.size() != 29 || text.substr(3, 2) != ", " || text.substr(25) != " GMT") return std::nullopt;
  if (text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':') return std::nullopt;
  tm parts{};
  auto month = std::find(months.begin(), months.end(), text.substr(8, 3));
  if (month == months.end()) return std::nullopt;
  parts.tm_mon = static_cast<int>(month - months.begin());
  if (!number_at(text, 5, 2, parts.tm_mday) || !number_at(text, 12, 4, parts.tm_year) || !number_at(text, 17, 2, parts.tm_hour) ||
      !number_at(text, 20, 2, parts.tm_min) || !number_at(text, 23, 2, parts.tm_sec))
    return std::nullopt;
  if (parts.tm_mday < 1 || parts.tm_mday > 31 || parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60) return std::nullopt;
  parts.tm_year -= 1900;
  return static_cast<int64_t>(::timegm(&parts)) * 1000;
}

std::string format_http_date(int64_t unix_ms) {
  time_t seconds = static_cast<time_t>(unix_ms / 1000);
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[64];
  int n = std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", week_days[static_cast<size_t>(parts.tm_wday)].data(),
                        parts.tm_mday, months[static_cast<size_t>(parts.tm_mon)].data(), parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
                        parts.tm_sec);
  return std::string(text, static_cast<size_t>(n));
}

int64_t retry_after_ms(std::string_view value, std::string_view date, int64_t now) {
  int64_t seconds = 0;
  bool digits = !value.empty();
  for (char c : value) {
    digits = digits && c >= '0' && c <= '9';
    if (!digits) break;
    if (__builtin_mul_overflow(seconds, int64_t{10}, &seconds) || seconds > INT64_MAX / 2000 - 9) return INT64_MAX / 2;
    seconds += c - '0';
  }
  if (digits) return seconds * 1000;
  const auto until = parse_http_date_ms(value);
  if (!until) return 0;
  return std::max<int64_t>(*until - parse_http_date_ms(date).value_or(now), 0);
}

WireTimes wire_times(const Headers& delivered, const WireCall& call, std::string_view date, int64_t now) {
  WireTimes times;
  int64_t age = 0;
  if (auto sent = parse_nsb_time_ms(delivered.get(header::time_sent))) {
    int64_t sender_now = parse_http_date_ms(date).value_or(now);
    age = std::max<int64_t>(sender_now - *sent, 0);
    times.first_sent_ms = now - age;
  }
  if (call.time_to_be_received_ms && *call.time_to_be_received_ms < INT64_MAX - now) {
    // Arrived too late: it expires now, and whoever would take it counts it.
    int64_t left = *call.time_to_be_received_ms - age;
    times.expires_at_ms = now + std::max<int64_t>(left, 0);
  }
  return times;
}

}  // namespace gw
