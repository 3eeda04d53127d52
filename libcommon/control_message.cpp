#include "control_message.hpp"

#include <strings.h>

#include "held_sends.hpp"
#include "tool.hpp"
#include "units.hpp"

namespace gw {
namespace {

bool same_word(std::string_view text, std::string_view word) {
  return text.size() == word.size() && ::strncasecmp(text.data(), word.data(), word.size()) == 0;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

Error incomplete(std::string_view intent, std::string_view name) {
  return Error{ExitCode::bad_data, 0, "a control message with intent " + std::string(intent) + " has no header '" + std::string(name) + "'"};
}

}  // namespace

bool is_control_message(const Headers& headers) { return same_word(headers.get(header::control_message), "true"); }

Message make_control_message(std::string_view intent, std::string_view machine) {
  Message message;
  Headers& headers = message.headers;
  headers = unrelated_headers();
  headers.set(header::control_message, "True");
  if (!intent.empty()) headers.set(header::message_intent, intent);
  headers.set(header::time_sent, format_nsb_time(now_us()));
  headers.set(header::originating_machine, machine);
  headers.set(header::nservicebus_version, version_string);
  return message;
}

Message subscription_message(const SubscriptionRequest& request, std::string_view machine) {
  Message message = make_control_message(request.subscribe ? "Subscribe" : "Unsubscribe", machine);
  Headers& headers = message.headers;
  headers.set(header::subscription_type, request.type);
  headers.set(header::reply_to_address, request.address);
  headers.set(header::subscriber_address, request.address);
  if (!request.endpoint.empty()) headers.set(header::subscriber_endpoint, request.endpoint);
  if (!request.endpoint.empty()) headers.set(header::originating_endpoint, request.endpoint);
  if (!request.publisher.empty()) headers.set(header::publisher, request.publisher);
  return message;
}

Result<std::optional<SubscriptionRequest>> read_subscription(const Headers& headers) {
  const std::string_view intent = headers.get(header::message_intent);
  const bool subscribe = same_word(intent, "Subscribe");
  if (!is_control_message(headers) || (!subscribe && !same_word(intent, "Unsubscribe"))) return std::optional<SubscriptionRequest>();
  SubscriptionRequest request;
  request.subscribe = subscribe;
  request.type = trimmed(headers.get(header::subscription_type));
  if (type_without_assembly(request.type).empty()) return incomplete(intent, header::subscription_type);
  // Subscribers before version 6 say where they are in ReplyToAddress only.
  request.address = trimmed(headers.get(header::subscriber_address));
  if (request.address.empty()) request.address = trimmed(headers.get(header::reply_to_address));
  if (request.address.empty()) return incomplete(intent, header::subscriber_address);
  request.endpoint = trimmed(headers.get(header::subscriber_endpoint));
  request.publisher = trimmed(headers.get(header::publisher));
  request.sent_at_ms = parse_nsb_time_ms(headers.get(header::time_sent)).value_or(0);
  return std::optional<SubscriptionRequest>(std::move(request));
}

std::string type_without_assembly(std::string_view type) { return std::string(trimmed(type.substr(0, type.find(',')))); }

}  // namespace gw
