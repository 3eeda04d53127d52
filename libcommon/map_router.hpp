// Where messages go: type to endpoint, endpoint to instances, and one of those by the endpoint's strategy.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "address.hpp"
#include "distribution.hpp"
#include "sender_map.hpp"

namespace gw {

/// The queues that messages of a kind can go to.
struct Group {
  Target target;
  bool direct = false;  ///< one address, named by hand: no endpoint stands behind it
  Strategy strategy;
  std::vector<std::optional<Destination>> found;  ///< parallel to target.addresses; looked up when needed
};

/// One thread uses it, one that lives as long as the process.
class Router {
 public:
  /// `strategy`: of --strategy, "" for what the routing says. The configuration is read when another machine is named. config: a strategy that is none, a map or routing that cannot be used.
  static Result<std::unique_ptr<Router>> open(Root& root, const MapSettings& settings, const std::string& strategy, const std::string& config_path,
                                              bool config_must_exist);

  /// Before each batch: looks whether the map is another one. Groups from before are void.
  Result<void> refresh();
  /// Where messages with these enclosed types go. config: nowhere, "No destination specified for message: T".
  Result<Group*> of_types(std::string_view enclosed_types);
  Result<Group*> of_endpoint(const std::string& endpoint);
  /// An address that stands on a command line. usage: it is none.
  Result<Group*> of_address(const std::string& address);
  /// The subscribers of one endpoint ("": the address alone); its strategy has turns of its own.
  Result<Group*> of_subscribers(const std::string& endpoint, std::vector<std::string> addresses);

  /// The queue or outbox behind an address of a group. no_input: there is no such queue here. usage: the machine is not configured.
  Result<const Destination*> find(Group& group, size_t index);
  Result<std::vector<size_t>> choose(const Group& group, std::span<const MessageToRoute> messages) {
    return distribution_.choose(group.strategy, group.target, messages);
  }
  Result<size_t> preview(const Group& group, const MessageToRoute& message) { return distribution_.preview(group.strategy, group.target, message); }

  SenderMap& map() { return *map_; }

 private:
  Router(Root& root, const std::string& config_path, bool config_must_exist)
      : root_(root), destinations_(root, config_path, config_must_exist), distribution_(root) {}
  Result<Strategy> strategy_for(const std::string& endpoint);

  Root& root_;
  std::unique_ptr<SenderMap> map_;
  Destinations destinations_;
  Distribution distribution_;
  std::optional<Strategy> given_;
  std::map<std::string, std::unique_ptr<Group>, std::less<>> endpoints_, addresses_, subscribers_;
  std::string last_types_;  ///< what most messages of a stream have in common
  Group* last_group_ = nullptr;
  int64_t looked_at_ms_ = 0;
};

/// Within which an id that its caller named is one message, whichever of the endpoint's instances it is for. No queue has that name.
std::string scope_of_endpoint(const std::string& endpoint);

/// The single types of an EnclosedMessageTypes header, as they are written there.
std::vector<std::string> enclosed_types(std::string_view header);

}  // namespace gw
