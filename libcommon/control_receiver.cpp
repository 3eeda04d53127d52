#include "control_receiver.hpp"

#include "address.hpp"
#include "control_message.hpp"
#include "diag.hpp"
#include "subscription_store.hpp"
#include "units.hpp"

namespace gw {

ControlReceiver::ControlReceiver(Root& root, std::string endpoint, std::string queue)
    : root_(root), endpoint_(std::move(endpoint)), queue_(std::move(queue)), senders_(root.path()) {}
ControlReceiver::~ControlReceiver() = default;

Result<bool> ControlReceiver::apply(const Message& message) {
  if (!is_control_message(message.headers)) return false;
  GW_TRY_ASSIGN(auto subscription, read_subscription(message.headers));
  if (is_map_version_message(message.headers)) {
    GW_TRY(senders_.note(queue_, message.headers));
    return true;
  }
  if (subscription) {
    GW_TRY(apply_subscription(*subscription, message.headers.get(header::originating_machine)));
    return true;
  }
  return false;
}

Result<void> ControlReceiver::apply_subscription(const SubscriptionRequest& request, std::string_view from_machine) {
  auto parsed = parse_address(request.address);
  if (!parsed) return Error{ExitCode::bad_data, 0, "a subscriber's address: " + parsed.error().text};
  const Address address = *std::move(parsed);
  if (!subscriptions_) {
    GW_TRY_ASSIGN(subscriptions_, SubscriptionStore::open(root_.path(), true));
  }
  Subscription one;
  one.publisher = request.publisher.empty() ? endpoint_ : request.publisher;
  one.type = type_without_assembly(request.type);
  one.endpoint = request.endpoint;
  // An address without a machine, or `localhost`, means the one where the message was made.
  const std::string& machine = address.machine;
  one.address = address.queue + "@" + (!machine.empty() ? machine : !from_machine.empty() ? std::string(from_machine) : root_.machine());
  const int64_t sent_at_ms = request.sent_at_ms != 0 ? request.sent_at_ms : now_ms();
  GW_TRY_ASSIGN(auto change, request.subscribe ? subscriptions_->subscribe(one, sent_at_ms) : subscriptions_->unsubscribe(one, sent_at_ms));
  tell_of_subscription(request, one.publisher, change == SubscriptionChange::made, change == SubscriptionChange::outdated);
  return {};
}

void tell_of_subscription(const SubscriptionRequest& request, std::string_view publisher, bool changed, bool outdated) {
  const std::string text = std::string(request.subscribe ? "Subscribe" : "Unsubscribe") + " from " + request.address + " on message type " + request.type;
  event(outdated ? Level::warn : Level::info, outdated ? "subscription-outdated" : "subscription",
        {{"text", text}, {"publisher", publisher}, {"endpoint", request.endpoint}, {"changed", changed ? "yes" : "no"}});
}

}  // namespace gw
