#include "stream_sends.hpp"

#include "outbox.hpp"
#include "trace_context.hpp"
#include "units.hpp"

namespace gw::distributor {

Result<Message> StreamSends::message_of(const AnswerSend& send, const Message& incoming) const {
  Message message;
  Headers& headers = message.headers;
  headers.set(header::message_id, new_message_id());
  const Headers related = related_headers(incoming.headers);
  for (const auto& [name, value] : related.entries()) headers.set(name, value);
  if (!headers.find(header::conversation_id)) headers.set(header::conversation_id, new_message_id());
  headers.set(header::message_intent, "Send");
  headers.set(header::time_sent, format_nsb_time(now_us()));
  headers.set(header::originating_machine, root_.machine());
  headers.set(header::originating_endpoint, settings_.endpoint);
  if (const std::string trace = child_traceparent(incoming.headers.get(header::traceparent)); !trace.empty()) {
    headers.set(header::traceparent, trace);
    if (const std::string* state = incoming.headers.find(header::tracestate)) headers.set(header::tracestate, *state);
  }
  if (!send.type.empty()) headers.set(header::enclosed_message_types, send.type);
  for (const auto& [name, value] : send.headers.entries()) headers.set(name, value);
  if (!message_id_ok(message.id())) return Error{ExitCode::bad_data, 0, "'" + message.id() + "' is not a message id"};
  if (send.body.size() <= inline_body_bytes_max) {
    message.body = Body(send.body);
    return message;
  }
  BodyWriter writer = root_.body_writer();
  GW_TRY(writer.write(send.body));
  GW_TRY_ASSIGN(message.body, std::move(writer).finish());
  return message;
}

Result<void> StreamSends::add_sites(const AnswerSend& send, Message message, std::vector<HeldSend>& into) {
  // The file may change; a bad one does not replace a good one (the worker has an event for that).
  constexpr int64_t look_again_ms = 1000;
  if (!config_ || monotonic_ms() > loaded_at_ms_ + look_again_ms) {
    auto loaded = load_config(settings_.config, false);
    if (!loaded && !config_) return std::move(loaded).error();
    if (loaded) config_ = *std::move(loaded);
    loaded_at_ms_ = monotonic_ms();
  }
  GW_TRY_ASSIGN(auto sites, resolve_sites(*config_, send.sites));
  for (const SiteConfig* site : sites) {
    GW_TRY_ASSIGN(Queue outbox, root_.create_queue(outbox_of_site(site->key)));
    Message copy = message;
    copy.headers.set(header::destination_sites, site->key);
    if (site->channel_type == "http" || site->channel_type == "https") {
      RequestContext context;
      context.original_version_1 = site->legacy_mode;
      GW_TRY(check_http_limits(copy, site->address, context));
    }
    into.push_back({outbox.name(), std::move(copy), {}});
  }
  return {};
}

Result<std::vector<HeldSend>> StreamSends::build(const Answer& answer, const Message& incoming) {
  std::vector<HeldSend> sends;
  for (const AnswerSend& send : answer.sends) {
    GW_TRY_ASSIGN(Message message, message_of(send, incoming));
    if (!send.sites.empty()) {
      GW_TRY(add_sites(send, std::move(message), sends));
    } else if (!send.queue.empty()) {
      GW_TRY_ASSIGN(Address address, parse_address(send.queue));
      HeldSend held{address.queue, std::move(message), {}};
      if (!is_here(address, root_.machine())) {
        GW_TRY_ASSIGN(Destination to, destinations_.find(address));
        held.message = addressed(to, std::move(held.message), held.options);
        held.queue = to.queue.name();
      }
      sends.push_back(std::move(held));
    } else {
      GW_TRY_ASSIGN(HeldSend held, by_map(std::move(message)));
      sends.push_back(std::move(held));
    }
  }
  return sends;
}

Result<void> StreamSends::look_again() { return router_ ? router_->refresh() : Result<void>(); }

/// To an instance of the endpoint that gets the message's type.
Result<HeldSend> StreamSends::by_map(Message message) {
  if (!router_) {
    GW_TRY_ASSIGN(router_, Router::open(root_, default_map_settings(settings_.config_path), "", settings_.config_path, false));
  }
  GW_TRY(router_->refresh());
  const Headers& headers = message.headers;
  GW_TRY_ASSIGN(Group* group, router_->of_types(headers.get(header::enclosed_message_types)));
  const MessageToRoute one{message.id(), message_type(headers)};
  GW_TRY_ASSIGN(const auto chosen, router_->choose(*group, std::span(&one, 1)));
  GW_TRY_ASSIGN(const Destination* to, router_->find(*group, chosen[0]));
  if (!group->direct) GW_TRY(router_->map().stamp(group->target.endpoint, message.headers));
  HeldSend held;
  held.message = addressed(*to, std::move(message), held.options);
  held.queue = to->queue.name();
  return held;
}

}  // namespace gw::distributor
