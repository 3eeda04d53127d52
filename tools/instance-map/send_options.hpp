// What the words of send, publish, subscribe and subscriptions mean.
#pragma once

#include <string>
#include <vector>

#include "message_options.hpp"
#include "options.hpp"
#include "selection.hpp"

namespace gw::instance_map {

struct SendOptions {
  MapOptions map;
  std::string strategy, to, endpoint, from;
  MessageOptions message;
  SelectionOptions selection;      ///< of --from; its words are the positional ones
};
void define_send(CLI::App& app, SendOptions& into);

struct PublishOptions {
  MapOptions map;
  std::string strategy, endpoint;
  MessageOptions message;
};
void define_publish(CLI::App& app, PublishOptions& into);

struct SubscribeOptions {
  MapOptions map;
  std::string endpoint, address;
  std::vector<std::string> types;
};
void define_subscribe(CLI::App& app, SubscribeOptions& into);

struct SubscriptionsOptions {
  MapOptions map;
  bool stale = false, remove = false;
  std::string machine;
};
void define_subscriptions(CLI::App& app, SubscriptionsOptions& into);

}  // namespace gw::instance_map
