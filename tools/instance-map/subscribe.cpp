#include "subscribe.hpp"

#include <algorithm>

#include "control_message.hpp"
#include "control_receiver.hpp"
#include "diag.hpp"
#include "forwarder_hint.hpp"
#include "held_sends.hpp"
#include "json.hpp"
#include "map_router.hpp"
#include "subscription_store.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::instance_map {

namespace {

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

/// What is to be told to whom.
struct Plan {
  std::vector<SubscriptionRequest> here;  ///< written into the store of this root
  struct Elsewhere {
    SubscriptionRequest request;
    std::string address;
    Destination destination;
  };
  std::vector<Elsewhere> elsewhere;
};

/// Every instance of the publisher is told. Those of this machine share one store.
Result<void> plan_type(Root& root, Router& router, Destinations& destinations, SubscriptionRequest request, Plan& plan) {
  const Route* route = router.map().routes().find(request.type);
  if (!route) return router.map().routes().no_route(type_without_assembly(request.type));
  std::vector<std::string> addresses;
  request.publisher = route->endpoint;
  if (!route->address.empty()) {
    addresses.push_back(route->address);
    if (request.publisher.empty()) {
      GW_TRY_ASSIGN(const Address physical, parse_address(route->address));
      request.publisher = physical.queue;
    }
  } else {
    for (const Instance& instance : router.map().instances().instances(route->endpoint)) addresses.push_back(instance.address);
  }
  bool here = false;
  for (const std::string& text : addresses) {
    GW_TRY_ASSIGN(const Address address, parse_address(text));
    if (is_here(address, root.machine())) {
      here = true;
      continue;
    }
    GW_TRY_ASSIGN(Destination destination, destinations.find(address));
    plan.elsewhere.push_back({request, text, std::move(destination)});
  }
  if (here) plan.here.push_back(std::move(request));
  return {};
}

Result<void> tell_elsewhere(Root& root, const Plan& plan, const CommonOptions& common) {
  if (plan.elsewhere.empty()) return {};
  std::vector<Transaction> transactions(1);
  for (const Plan::Elsewhere& one : plan.elsewhere) put_to(transactions[0], one.destination, subscription_message(one.request, root.machine()));
  auto results = commit_or_hold(root, std::move(transactions));
  if (!results[0]) return std::move(results[0]).error();
  ForwarderHint hint(root, common);
  for (const Plan::Elsewhere& one : plan.elsewhere) hint.look(one.destination);
  for (const Plan::Elsewhere& one : plan.elsewhere)
    event(Level::info, one.request.subscribe ? "subscribing" : "unsubscribing", {{"type", one.request.type}, {"publisher", one.address}, {"address", one.request.address}});
  return {};
}

Result<void> write_here(Root& root, const Plan& plan) {
  if (plan.here.empty()) return {};
  GW_TRY_ASSIGN(auto store, SubscriptionStore::open(root.path(), true));
  for (const SubscriptionRequest& request : plan.here) {
    const Subscription one{request.publisher, type_without_assembly(request.type), request.endpoint, request.address, 0};
    GW_TRY_ASSIGN(auto change, request.subscribe ? store->subscribe(one, now_ms()) : store->unsubscribe(one, now_ms()));
    tell_of_subscription(request, request.publisher, change == SubscriptionChange::made, change == SubscriptionChange::outdated);
  }
  return {};
}

void print_plan(const Plan& plan, const CommonOptions& common, const std::string& machine) {
  if (!common.json) return;
  auto row = [](const SubscriptionRequest& request, const std::string& publisher) {
    JsonObject object;
    object.add("type", type_without_assembly(request.type));
    if (!request.endpoint.empty()) object.add("endpoint", request.endpoint);
    out(object.add("address", request.address).add("publisher", publisher).str() + "\n");
  };
  for (const SubscriptionRequest& request : plan.here) row(request, request.publisher + "@" + machine);
  for (const Plan::Elsewhere& one : plan.elsewhere) row(one.request, one.address);
}

Result<ExitCode> change(const SubscribeOptions& options, const CommonOptions& common, bool subscribe) {
  if (options.endpoint.empty()) return usage("--endpoint is required: who wants the events");
  if (options.types.empty()) return usage("TYPE is missing");
  for (const std::string& type : options.types)
    if (type_without_assembly(type).empty() || !utf8_ok(type)) return usage("'" + type + "' is not a message type");
  if (!utf8_ok(options.endpoint)) return usage("--endpoint: the name is not UTF-8");
  GW_TRY_ASSIGN(const Address where, parse_address(options.address.empty() ? options.endpoint : options.address));
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  GW_TRY_ASSIGN(auto router, Router::open(*root, settings, "", common.config, common.config_given));
  Destinations destinations(*root, common.config, common.config_given);
  SubscriptionRequest request;
  request.subscribe = subscribe;
  request.endpoint = options.endpoint;
  request.address = full_address(where, root->machine());
  Plan plan;
  for (const std::string& type : options.types) {
    request.type = type;
    GW_TRY(plan_type(*root, *router, destinations, request, plan));
  }
  if (subscribe && !plan.here.empty()) {
    // The publisher cannot send there as it is. Perhaps the queue or the machine comes later.
    if (auto found = destinations.find(where); !found) event(Level::warn, "subscriber-not-there", {{"address", request.address}, {"reason", found.error().text}});
  }
  GW_TRY(tell_elsewhere(*root, plan, common));
  GW_TRY(write_here(*root, plan));
  print_plan(plan, common, root->machine());
  return ExitCode::ok;
}

// --- subscriptions ------------------------------------------------------------------------------------------------------

/// Why nothing that is sent there can be handled any more, as far as can be seen from here; "": it looks well.
Result<std::string> why_stale(Root& root, Router& router, Destinations& destinations, const Subscription& one) {
  auto parsed = parse_address(one.address);
  if (!parsed) return parsed.error().text;
  auto found = destinations.find(*parsed);
  if (!found && found.error().code != ExitCode::no_input && found.error().code != ExitCode::usage) return std::move(found).error();
  if (!found) return found.error().text;
  if (found->machine.empty() && !found->queue.puts_on()) return std::string("the queue takes no messages");
  const auto* instances = one.endpoint.empty() ? nullptr : router.map().instances().find(one.endpoint);
  if (!instances) return std::string();
  const std::string address = full_address(*parsed, root.machine());
  auto same = [&](const Instance& instance) {
    auto known = parse_address(instance.address);
    return known && known->queue == parsed->queue && is_this_machine(known->machine, parsed->machine.empty() ? root.machine() : parsed->machine);
  };
  if (std::any_of(instances->begin(), instances->end(), same)) return std::string();
  return "the map has no instance '" + address + "' of endpoint '" + one.endpoint + "'";
}

bool on_machine(const Subscription& one, const std::string& machine) {
  const size_t at = one.address.find('@');
  return at != std::string::npos && is_this_machine(std::string_view(one.address).substr(at + 1), machine);
}

}  // namespace

Result<ExitCode> subscribe(const SubscribeOptions& options, const CommonOptions& common) { return change(options, common, true); }
Result<ExitCode> unsubscribe(const SubscribeOptions& options, const CommonOptions& common) { return change(options, common, false); }

Result<ExitCode> subscriptions(const SubscriptionsOptions& options, const CommonOptions& common) {
  if (options.remove && !options.stale && options.machine.empty()) return usage("--remove needs --machine M or --stale: it never takes all");
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  auto opened = SubscriptionStore::open(root->path(), false);
  if (!opened && opened.error().code != ExitCode::no_input) return std::move(opened).error();
  std::vector<Subscription> chosen;
  if (opened) {
    GW_TRY_ASSIGN(chosen, (*opened)->list());
  }
  std::string machine = options.machine;
  if (is_this_machine(machine, root->machine()) && !machine.empty()) machine = root->machine();
  if (!machine.empty()) std::erase_if(chosen, [&](const Subscription& one) { return !on_machine(one, machine); });
  std::vector<std::string> reasons(chosen.size());
  if (options.stale) {
    GW_TRY_ASSIGN(auto router, Router::open(*root, settings, "", common.config, common.config_given));
    Destinations destinations(*root, common.config, common.config_given);
    std::vector<Subscription> stale;
    reasons.clear();
    for (Subscription& one : chosen) {
      GW_TRY_ASSIGN(std::string why, why_stale(*root, *router, destinations, one));
      if (why.empty()) continue;
      reasons.push_back(std::move(why));
      stale.push_back(std::move(one));
    }
    chosen = std::move(stale);
  }
  if (options.remove && !common.dry_run) {
    if (chosen.empty()) return Error{ExitCode::no, 0, machine.empty() ? "no subscription is stale" : "no subscription of machine '" + machine + "'" + (options.stale ? " is stale" : "")};
    GW_TRY((*opened)->remove(chosen));
    event(Level::info, "subscriptions-removed", {{"count", chosen.size()}});
  }
  std::vector<Table::Column> columns{{"TYPE"}, {"ENDPOINT"}, {"ADDRESS"}, {"PUBLISHER"}};
  if (options.stale) columns.push_back({"REASON"});
  Table table(columns, out, common.color ? Table::Titles::bold : Table::Titles::plain);
  for (size_t i = 0; i < chosen.size(); ++i) {
    const Subscription& one = chosen[i];
    if (!common.json) {
      std::vector<std::string> cells{one.type, one.endpoint.empty() ? "-" : one.endpoint, one.address, one.publisher};
      if (options.stale) cells.push_back(reasons[i]);
      table.row(cells);
      continue;
    }
    JsonObject object;
    object.add("type", one.type);
    if (!one.endpoint.empty()) object.add("endpoint", one.endpoint);
    object.add("address", one.address).add("publisher", one.publisher).add_time("since_at", one.since_ms);
    if (options.stale) object.add("reason", reasons[i]);
    if (options.remove && !common.dry_run) object.add("result", "removed");
    out(object.str() + "\n");
  }
  if (!common.json) table.flush();
  return ExitCode::ok;
}

}  // namespace gw::instance_map
