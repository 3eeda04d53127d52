// Control messages that arrive in an endpoint's queue are for the tools: whoever takes messages there applies them before any handler
// sees them.
#pragma once

#include <memory>
#include <string>

#include "map_senders.hpp"
#include "message.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw {

class SubscriptionStore;

/// One thread uses it.
class ControlReceiver {
 public:
  /// `endpoint`: whose queue it is, unless a message says otherwise. `queue`: where the messages come from, for events.
  ControlReceiver(Root& root, std::string endpoint, std::string queue);
  ~ControlReceiver();

  /// True: `message` was a control message that is ours, and what it asks for is done, durably: acknowledge it. Applying one twice
  /// changes nothing. False: it is for a handler. bad_data: it is ours but cannot be understood. not_now: the disk is full.
  Result<bool> apply(const Message& message);

 private:
  Result<void> apply_subscription(const struct SubscriptionRequest& request, std::string_view from_machine);
  Root& root_;
  std::string endpoint_, queue_;
  SenderNotes senders_;
  std::unique_ptr<SubscriptionStore> subscriptions_;
};

/// `Subscribe from Shop@vm1 on message type Sales.OrderAccepted`: the line that the original logs, in an event.
void tell_of_subscription(const struct SubscriptionRequest& request, std::string_view publisher, bool changed, bool outdated);

}  // namespace gw
