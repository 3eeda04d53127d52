// The NServiceBus gateway's HTTP format: how names and values are encoded, what a call must carry, and how its headers become
// those of the delivered message. Other channels use the second half: their headers come decoded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "message.hpp"
#include "result.hpp"

namespace gw {

namespace wire {
inline constexpr std::string_view id = "NServiceBus.Id";
inline constexpr std::string_view call_type = "NServiceBus.CallType";
inline constexpr std::string_view correlation_id = "NServiceBus.CorrelationId";
inline constexpr std::string_view gateway = "NServiceBus.Gateway";
inline constexpr std::string_view content_md5 = "Content-MD5";
inline constexpr std::string_view probe = "Gatepost-Probe";  ///< a request that asks what arrives
inline constexpr std::string_view probe_call_type = "Probe";   ///< a call type that no gateway takes
inline constexpr std::string_view time_to_be_received = "NServiceBus.TimeToBeReceived";
inline constexpr std::string_view data_bus_key = "NServiceBus.Gateway.DataBusKey";
inline constexpr std::string_view data_bus_prefix = header::data_bus_prefix;
inline constexpr std::string_view auto_ack = "NServiceBus.AutoAck";
inline constexpr std::string_view header_prefix = "NServiceBus.Header.";
}  // namespace wire

/// A-Za-z0-9-_.!*() stay, a space becomes +, every other byte %XX in upper case.
std::string wire_encode(std::string_view text);
/// Inverse, once; a % that no two hex digits follow stays.
std::string wire_decode(std::string_view text);

/// Why a request is not accepted: the HTTP status and the text (one line, also the reason phrase where it is short).
struct WireRefusal {
  int status = 400;
  std::string text;
};

/// Decodes names and values of all fields. Refused: a name that comes twice (without regard to case, after decoding),
/// control bytes in a name, anything that is not UTF-8.
std::variant<Headers, WireRefusal> decode_wire_fields(std::span<const std::pair<std::string_view, std::string_view>> fields);

/// The same rules for headers that came decoded; nullopt: they are all right.
std::optional<WireRefusal> check_wire_headers(const Headers& headers);

/// What a call is about, from its decoded outer headers.
struct WireCall {
  /// hold: NServiceBus 3's Submit without AutoAck, to be released by ack (with AutoAck it is a submit like any other).
  enum class Type { submit, data_bus_property, hold, ack };
  Type type = Type::submit;
  bool legacy = false;               ///< a call of NServiceBus 3
  std::string id;
  std::string correlation_id;        ///< the id if the call has none
  bool gateway_message = false;      ///< its headers carry the prefix; else all headers are the message's own
  std::optional<std::string> md5;    ///< Content-MD5 as it came, decoded
  std::string data_bus_key;          ///< of a property call
  std::vector<std::string> data_bus_headers;  ///< wire names of the properties that a submit expects
  std::optional<int64_t> time_to_be_received_ms;
};
std::variant<WireCall, WireRefusal> read_wire_call(const Headers& wire);

/// Names beside the known ones that get their case back when a hop has lost it (HeaderNames of a channel).
class HeaderNames {
 public:
  HeaderNames() = default;
  explicit HeaderNames(const std::vector<std::string>& names);
  /// As it is to be written; nullptr: not one of them.
  const std::string* find(std::string_view name) const;

 private:
  std::unordered_map<std::string, std::string> by_lower_case_;
};

/// The headers of the message as it enters the endpoint's queue.
Headers delivered_headers(Headers&& wire, const WireCall& call, std::string_view endpoint, const HeaderNames& own_names = {});

/// The headers of a message from another machine: as they were when it was put there.
Headers arrived_headers(Headers&& wire, const WireCall& call, const HeaderNames& own_names = {});

/// The name in the delivered message of a wire header of the call; "" if it does not get there.
std::string delivered_name(std::string_view wire_name, bool gateway_message);

/// An RFC 9110 date ("Sat, 21 Nov 2026 11:35:41 GMT") in milliseconds since 1970.
std::optional<int64_t> parse_http_date_ms(std::string_view text);
std::string format_http_date(int64_t unix_ms);
/// The wait that `Retry-After` asks for, in milliseconds: seconds, or a date, which is counted from the answer's own `Date` (by the
/// site's clock), without one from `now_ms`. 0: none, past, or not understood.
int64_t retry_after_ms(std::string_view value, std::string_view date, int64_t now_ms);

/// When the message was first sent and expires, by our clock: its age is what the sender's clock says (Date - TimeSent),
/// without a Date what ours says.
struct WireTimes {
  int64_t first_sent_ms = 0;  ///< 0: unknown (no TimeSent)
  int64_t expires_at_ms = 0;  ///< 0: never
};
WireTimes wire_times(const Headers& delivered, const WireCall& call, std::string_view date, int64_t now_ms);

}  // namespace gw
