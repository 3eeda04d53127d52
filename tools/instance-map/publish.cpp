#include "publish.hpp"

#include <algorithm>
#include <cstdlib>

#include "control_message.hpp"
#include "diag.hpp"
#include "forwarder_hint.hpp"
#include "held_sends.hpp"
#include "json.hpp"
#include "map_router.hpp"
#include "store_drafts.hpp"
#include "subscription_store.hpp"

namespace gw::instance_map {

namespace {

/// Where one copy goes.
struct Copy {
  std::string endpoint, address;
  const Destination* destination = nullptr;
};

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// Stores drafts, each with all of its copies in one transaction.
class Publisher {
 public:
  Publisher(Root& root, Router& router, std::string endpoint, const CommonOptions& common)
      : root_(root), router_(router), endpoint_(std::move(endpoint)), hint_(root, common) {}
  Result<std::vector<PutOutcome>> operator()(std::vector<Draft>& drafts);

 private:
  Result<void> open_store();
  Result<std::string> publisher_of(const Headers& headers);
  Result<std::vector<Copy>> copies_of(const Message& message, const std::string& publisher);
  Result<Copy> copy_for(const std::string& endpoint, std::vector<std::string> addresses, const Message& message);
  Result<void> add(Draft& draft, Transaction& transaction);

  Root& root_;
  Router& router_;
  std::string endpoint_;
  ForwarderHint hint_;
  std::unique_ptr<SubscriptionStore> store_;
};

/// Nobody has subscribed while there is no store.
Result<void> Publisher::open_store() {
  if (store_) return {};
  auto opened = SubscriptionStore::open(root_.path(), false);
  if (opened) store_ = *std::move(opened);
  else if (opened.error().code != ExitCode::no_input) return std::move(opened).error();
  return {};
}

/// Whose event it is: what --endpoint says, the routing, or the endpoint whose handler publishes it.
Result<std::string> Publisher::publisher_of(const Headers& headers) {
  if (!endpoint_.empty()) return endpoint_;
  auto group = router_.of_types(headers.get(header::enclosed_message_types));
  if (group) return (*group)->target.endpoint;
  if (std::string own = environment("GW_ENDPOINT"); inside_handler() && !own.empty()) return own;
  Error error = std::move(group).error();
  error.text += "; or say with --endpoint whose event it is";
  return error;
}

/// Which of the addresses of a subscriber. Those that cannot get anything are passed over while there are others: a subscriber that
/// moved and left an address behind does not miss its events.
Result<Copy> Publisher::copy_for(const std::string& endpoint, std::vector<std::string> addresses, const Message& message) {
  std::vector<std::string> usable;
  std::optional<Error> why;
  for (const std::string& address : addresses) {
    GW_TRY_ASSIGN(Group* alone, router_.of_address(address));
    auto found = router_.find(*alone, 0);
    if (found && !(*found)->queue.puts_on()) found = Error{ExitCode::not_now, 0, "queue '" + (*found)->queue.name() + "' takes no messages now"};
    if (found) {
      usable.push_back(address);
      continue;
    }
    why = std::move(found).error();
    event(Level::warn, "subscriber-not-there", {{"endpoint", endpoint}, {"address", address}, {"reason", why->text}});
  }
  if (usable.empty()) {
    why->text = "subscriber '" + (endpoint.empty() ? addresses[0] : endpoint) + "': " + why->text +
                "; if it is gone for good, 'instance-map subscriptions --remove --stale' or '--remove --machine M' takes its subscriptions out";
    return *std::move(why);
  }
  GW_TRY_ASSIGN(Group* group, router_.of_subscribers(endpoint, std::move(usable)));
  size_t index = 0;
  if (group->target.addresses.size() > 1) {
    const MessageToRoute one{message.id(), message_type(message.headers)};
    GW_TRY_ASSIGN(auto chosen, router_.choose(*group, std::span(&one, 1)));
    index = chosen[0];
  }
  GW_TRY_ASSIGN(const Destination* destination, router_.find(*group, index));
  hint_.look(*destination);
  return Copy{endpoint, group->target.addresses[index], destination};
}

/// One for each subscriber endpoint, and one for each subscriber that names none.
Result<std::vector<Copy>> Publisher::copies_of(const Message& message, const std::string& publisher) {
  std::vector<Copy> copies;
  if (!store_) return copies;
  std::vector<std::string> types;
  for (const std::string& type : enclosed_types(message.headers.get(header::enclosed_message_types))) types.push_back(type_without_assembly(type));
  GW_TRY_ASSIGN(auto subscribers, store_->subscribers(publisher, types));
  for (size_t i = 0; i < subscribers.size(); ++i) {
    const std::string& endpoint = subscribers[i].endpoint;
    auto same = [&](const Subscription& other) { return !endpoint.empty() && other.endpoint == endpoint; };
    const auto first = subscribers.begin(), here = first + static_cast<std::ptrdiff_t>(i);
    if (std::any_of(first, here, same)) continue;
    std::vector<std::string> addresses{subscribers[i].address};
    for (auto other = here + 1; other != subscribers.end(); ++other)
      if (same(*other)) addresses.push_back(other->address);
    GW_TRY_ASSIGN(Copy copy, copy_for(endpoint, std::move(addresses), message));
    copies.push_back(std::move(copy));
  }
  return copies;
}

Result<void> Publisher::add(Draft& draft, Transaction& transaction) {
  GW_TRY_ASSIGN(draft.endpoint, publisher_of(draft.message.headers));
  if (!draft.message.headers.find(header::originating_endpoint)) draft.message.headers.set(header::originating_endpoint, draft.endpoint);
  GW_TRY_ASSIGN(const auto copies, copies_of(draft.message, draft.endpoint));
  draft.addresses.emplace();
  for (const Copy& copy : copies) {
    PutOptions how;
    how.due_at_ms = draft.due_at_ms;
    // The same event again may be another instance's turn: what counts is whether the subscriber has it.
    if (draft.key_id)
      how.dedup = DedupKey{std::string(local_dedup_store), copy.endpoint.empty() ? copy.destination->name() : scope_of_endpoint(copy.endpoint),
                           draft.message.id(), draft.body_sha256, 0};
    put_to(transaction, *copy.destination, draft.message, std::move(how));
    draft.addresses->push_back(copy.address);
  }
  if (copies.empty())
    event(Level::info, "no-subscribers", {{"id", draft.message.id()}, {"type", message_type(draft.message.headers)}, {"publisher", draft.endpoint}});
  return {};
}

Result<std::vector<PutOutcome>> Publisher::operator()(std::vector<Draft>& drafts) {
  GW_TRY(router_.refresh());
  GW_TRY(open_store());
  return commit_drafts(root_, drafts, [&](size_t i, Transaction& transaction) { return add(drafts[i], transaction); });
}

}  // namespace

Result<ExitCode> publish(const PublishOptions& options, const CommonOptions& common) {
  const std::string types = std::string(header::enclosed_message_types) + "=";
  const auto& headers = options.message.headers;
  if (options.message.type.empty() && std::none_of(headers.begin(), headers.end(), [&](const std::string& text) { return text.starts_with(types); }))
    return Error{ExitCode::usage, 0, "--type is required: those who subscribed to it get the event"};
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(options.message, common));
  Headers preset;
  preset.set(header::message_intent, "Publish");
  source.preset_headers(std::move(preset));
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  GW_TRY_ASSIGN(auto router, Router::open(*root, settings, options.strategy, common.config, common.config_given));
  Publisher publisher(*root, *router, options.endpoint, common);
  // Who waits for its next line must not be taken for one that still uses the map of before.
  source.on_idle([&router] { return router->refresh(); });
  return source.run(*root, options.endpoint, [&](std::vector<Draft>& drafts) { return publisher(drafts); });
}

}  // namespace gw::instance_map
