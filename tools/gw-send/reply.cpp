#include "reply.hpp"

#include <cstdlib>

#include "address.hpp"
#include "diag.hpp"
#include "held_sends.hpp"
#include "outbox.hpp"
#include "outboxes.hpp"
#include "selection.hpp"
#include "store_drafts.hpp"

namespace gw {
namespace {

/// The message that is answered.
struct Incoming {
  Headers headers;
  std::string what;      ///< for errors
  std::string endpoint;  ///< who has received it
};

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::string_view(value) : std::string_view();
}

/// Inside of a handler.
Result<Incoming> incoming_of_handler(const std::string& headers_file) {
  Incoming incoming;
  GW_TRY_ASSIGN(incoming.headers, read_headers_file(headers_file));
  incoming.what = "message '" + std::string(incoming.headers.get(header::message_id)) + "'";
  incoming.endpoint = environment("GW_ENDPOINT");
  return incoming;
}

struct Of {
  std::string id, queue;
};

/// ID:QUEUE; an id may contain colons.
Result<Of> parse_of(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
    return usage("'" + text + "' is not a value of --of: expected ID:QUEUE");
  Of of{text.substr(0, colon), text.substr(colon + 1)};
  GW_TRY(check_queue_name(of.queue));
  return of;
}

Result<Incoming> incoming_of_queue(Root& root, const Of& of) {
  GW_TRY_ASSIGN(Queue queue, root.queue(of.queue));
  SelectionOptions wanted;
  wanted.words = {of.id};
  wanted.max = 1;
  GW_TRY_ASSIGN(Selection selection, Selection::parse(wanted));
  Incoming incoming;
  incoming.what = "message '" + of.id + "' of queue '" + of.queue + "'";
  incoming.endpoint = of.queue;
  bool found = false;
  GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    incoming.headers = std::move(one.message->headers);
    found = true;
    return false;
  }));
  if (!found) return Error{ExitCode::no_input, 0, "there is no message '" + of.id + "' in queue '" + of.queue + "'"};
  return incoming;
}

/// The queue that the sender wants answers in, here or on another machine.
Result<Destination> open_target(Root& root, const Incoming& incoming, const CommonOptions& common) {
  const std::string_view text = incoming.headers.get(header::reply_to_address);
  if (text.empty())
    return Error{ExitCode::bad_data, 0, incoming.what + " does not say where answers go: it has no header '" + std::string(header::reply_to_address) + "'"};
  auto address = parse_address(text);
  if (!address)
    return Error{ExitCode::bad_data, 0, "the header '" + std::string(header::reply_to_address) + "' of " + incoming.what + ": " + address.error().text};
  auto target = Destinations(root, common.config, common.config_given).find(*address);
  if (target) return target;
  Error error = std::move(target).error();
  if (error.code == ExitCode::no_input && is_here(*address, root.machine()))
    return Error{ExitCode::no_input, 0, "answers to " + incoming.what + " go to queue '" + address->queue + "', and there is none"};
  if (error.code == ExitCode::usage) error.text += " (answers to " + incoming.what + " go to '" + std::string(text) + "')";
  return error;
}

/// What no request could carry is refused now, not when it is sent.
Result<std::vector<PutOutcome>> store(Root& root, const Destination& target, bool to_gateway, std::vector<Draft>& drafts) {
  if (to_gateway) {
    for (const Draft& draft : drafts)
      GW_TRY(check_http_limits(draft.message, draft.message.headers.get(header::originating_site), RequestContext{}));
  }
  return store_drafts(root, target, drafts);
}

void hint_at_forwarder(const Root& root, const CommonOptions& common) {
  if (common.quiet || root.singleton("forward").pid != 0) return;
  event(Level::warn, "no-forwarder", {{"hint", "nobody forwards the messages of this root; start 'gw-send forward --root " + common.root + "'"}});
}

}  // namespace

Headers reply_headers(const Headers& incoming, std::string_view endpoint) {
  Headers headers;
  const std::string_view reply_to = incoming.get(header::reply_to_address);
  const Headers related = related_headers(incoming);
  headers.set(header::message_intent, "Reply");
  for (const auto& [name, value] : related.entries()) headers.set(name, value);
  if (!endpoint.empty()) headers.set(header::reply_to_address, endpoint);
  const std::string* site = incoming.find(header::originating_site);
  if (!site && !is_gateway_queue(reply_to)) return headers;
  headers.set("NServiceBus.To", incoming.get("NServiceBus.From"));
  if (site) headers.set(header::originating_site, *site);
  headers.set("NServiceBus.Header.RouteTo", reply_to);
  const std::string* legacy = incoming.find(header::legacy_mode);
  headers.set(header::legacy_mode, legacy ? std::string_view(*legacy) : "True");
  return headers;
}

Result<ExitCode> reply(const ReplyOptions& options, const CommonOptions& common) {
  const std::string headers_file(environment("GW_HEADERS_FILE"));
  if (options.of.empty() && headers_file.empty())
    return usage("outside of a handler '--of ID:QUEUE' says which message is answered");
  std::optional<Of> of;
  std::optional<Incoming> incoming;
  if (!options.of.empty()) {
    GW_TRY_ASSIGN(of, parse_of(options.of));
  } else {
    GW_TRY_ASSIGN(incoming, incoming_of_handler(headers_file));
  }
  GW_TRY_ASSIGN(Config config, load_config(common.config, common.config_given));
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(options.message, common));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  if (of) {
    GW_TRY_ASSIGN(incoming, incoming_of_queue(*root, *of));
    if (!config.endpoint.empty()) incoming->endpoint = config.endpoint;
  }
  const std::string& endpoint = options.endpoint.empty() ? incoming->endpoint : options.endpoint;
  GW_TRY_ASSIGN(Destination target, open_target(*root, *incoming, common));
  const bool to_gateway = target.machine.empty() && is_gateway_queue(target.queue.name());
  if ((to_gateway || !target.machine.empty()) && of) hint_at_forwarder(*root, common);
  source.preset_headers(reply_headers(incoming->headers, endpoint));
  return source.run(*root, endpoint, [&](std::vector<Draft>& drafts) { return store(*root, target, to_gateway, drafts); });
}

}  // namespace gw
