// Messages between the tools themselves, which no handler sees: headers and no body. Subscriptions look as the original's
// (instance-map(1)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "message.hpp"
#include "result.hpp"

namespace gw {

namespace header {
inline constexpr std::string_view control_message = "NServiceBus.ControlMessage";
inline constexpr std::string_view subscription_type = "SubscriptionMessageType";
inline constexpr std::string_view subscriber_address = "NServiceBus.SubscriberAddress";
inline constexpr std::string_view subscriber_endpoint = "NServiceBus.SubscriberEndpoint";
inline constexpr std::string_view nservicebus_version = "NServiceBus.Version";
inline constexpr std::string_view publisher = "Gatepost.Publisher";  ///< the endpoint whose events are meant
}  // namespace header

/// Does it say of itself that it is for the tools?
bool is_control_message(const Headers& headers);

/// An empty control message with what all of them have: id, intent, time, origin. `intent` may be empty.
Message make_control_message(std::string_view intent, std::string_view machine);

/// Somebody wants the events of a type, or wants them no more.
struct SubscriptionRequest {
  bool subscribe = true;
  std::string type;       ///< as it was written: `Shop.OrderAccepted` or with its assembly
  std::string address;    ///< QUEUE@MACHINE, where the copies go
  std::string endpoint;   ///< of the subscriber; "": old subscribers name none
  std::string publisher;  ///< "": the endpoint that gets the message
  int64_t sent_at_ms = 0; ///< by the subscriber's clock; 0: unknown
};
Message subscription_message(const SubscriptionRequest& request, std::string_view machine);
/// nullopt: it is no such request. bad_data: it is one that says not enough, and what is missing.
Result<std::optional<SubscriptionRequest>> read_subscription(const Headers& headers);

/// "Shop.OrderAccepted" of "Shop.OrderAccepted, Shop, Version=1.0.0.0": subscriptions do not tell versions apart.
std::string type_without_assembly(std::string_view type);

}  // namespace gw
