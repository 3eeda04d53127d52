#include "map_router.hpp"

#include "config_names.hpp"
#include "control_message.hpp"
#include "units.hpp"

namespace gw {

namespace {

// How long a queue or outbox that was found is believed to be the one: somebody may remove and create it.
constexpr int64_t found_for_ms = 1000;

Error no_weights(const std::string& endpoint, const std::string& path) {
  return Error{ExitCode::config, 0,
               "strategy 'weighted': '" + path + "' has no weights for endpoint '" + endpoint + "', as in <strategy endpoint=\"" + endpoint +
                   "\" name=\"weighted\" weights=\"" + endpoint + "@vm1=3 " + endpoint + "@vm2=1\"/>"};
}

}  // namespace

std::string scope_of_endpoint(const std::string& endpoint) {
  constexpr char digits[] = "0123456789ABCDEF";
  std::string scope = "+";
  for (const char c : endpoint) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte != '%' && byte != 0x7f) scope += c;
    else (((scope += '%') += digits[byte >> 4]) += digits[byte & 15]);
  }
  return scope;
}

std::vector<std::string> enclosed_types(std::string_view header) {
  std::vector<std::string> types;
  while (!header.empty()) {
    const size_t end = std::min(header.find(';'), header.size());
    std::string_view one = header.substr(0, end);
    header.remove_prefix(std::min(end + 1, header.size()));
    while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
    while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
    if (!one.empty()) types.emplace_back(one);
  }
  return types;
}

Result<std::unique_ptr<Router>> Router::open(Root& root, const MapSettings& settings, const std::string& strategy, const std::string& config_path,
                                              bool config_must_exist) {
  std::unique_ptr<Router> made(new Router(root, config_path, config_must_exist));
  if (!strategy.empty()) {
    GW_TRY_ASSIGN(made->given_, Strategy::parse(strategy));
  }
  GW_TRY_ASSIGN(made->map_, SenderMap::open(root, settings));
  made->looked_at_ms_ = monotonic_ms();
  return made;
}

Result<void> Router::refresh() {
  GW_TRY_ASSIGN(const bool changed, map_->refresh());
  const int64_t now = monotonic_ms();
  if (!changed && now - looked_at_ms_ < found_for_ms) return {};
  looked_at_ms_ = now;
  endpoints_.clear();
  addresses_.clear();
  subscribers_.clear();
  last_group_ = nullptr;
  return {};
}

Result<Strategy> Router::strategy_for(const std::string& endpoint) {
  const StrategyRule* rule = map_->routes().strategy(endpoint);
  const std::string& path = map_->routes().path();
  Strategy strategy;
  if (given_) {
    strategy = *given_;
  } else if (rule) {
    GW_TRY_ASSIGN(strategy, Strategy::parse(rule->name));
  }
  if (strategy.kind != Strategy::Kind::weighted) return strategy;
  if (!rule || rule->weights.empty()) return no_weights(endpoint, path);
  for (const auto& [text, weight] : rule->weights) {
    GW_TRY_ASSIGN(const Address address, parse_address(text));
    strategy.weights[to_lower(full_address(address, root_.machine()))] = weight;
  }
  return strategy;
}

Result<Group*> Router::of_endpoint(const std::string& endpoint) {
  if (const auto known = endpoints_.find(endpoint); known != endpoints_.end()) return known->second.get();
  auto group = std::make_unique<Group>();
  group->target.endpoint = endpoint;
  for (const Instance& instance : map_->instances().instances(endpoint)) group->target.addresses.push_back(instance.address);
  GW_TRY_ASSIGN(group->strategy, strategy_for(endpoint));
  group->found.resize(group->target.addresses.size());
  return endpoints_.emplace(endpoint, std::move(group)).first->second.get();
}

Result<Group*> Router::of_address(const std::string& text) {
  if (const auto known = addresses_.find(text); known != addresses_.end()) return known->second.get();
  GW_TRY_ASSIGN(const Address address, parse_address(text));
  auto group = std::make_unique<Group>();
  group->direct = true;
  group->target.endpoint = address.queue;
  group->target.addresses = {full_address(address, root_.machine())};
  group->found.resize(1);
  return addresses_.emplace(text, std::move(group)).first->second.get();
}

Result<Group*> Router::of_subscribers(const std::string& endpoint, std::vector<std::string> addresses) {
  if (endpoint.empty()) return of_address(addresses.at(0));
  std::unique_ptr<Group>& group = subscribers_[endpoint];
  if (group && group->target.addresses == addresses) return group.get();
  auto made = std::make_unique<Group>();
  made->target = Target{endpoint, Scope::publish, std::move(addresses)};
  GW_TRY_ASSIGN(made->strategy, strategy_for(endpoint));
  made->found.resize(made->target.addresses.size());
  group = std::move(made);
  return group.get();
}

Result<Group*> Router::of_types(std::string_view header) {
  if (last_group_ && last_types_ == header) return last_group_;
  const auto types = enclosed_types(header);
  const Route* route = nullptr;
  for (const std::string& type : types)
    if ((route = map_->routes().find(type))) break;
  if (!route) return map_->routes().no_route(types.empty() ? std::string() : type_without_assembly(types[0]));
  GW_TRY_ASSIGN(Group* group, route->address.empty() ? of_endpoint(route->endpoint) : of_address(route->address));
  last_types_ = header;
  last_group_ = group;
  return group;
}

Result<const Destination*> Router::find(Group& group, size_t index) {
  std::optional<Destination>& found = group.found.at(index);
  if (!found) {
    GW_TRY_ASSIGN(found, destinations_.find(group.target.addresses[index]));
  }
  return &*found;
}

}  // namespace gw
