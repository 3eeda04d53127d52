#include <CLI/CLI.hpp>

#include "send_options.hpp"

namespace gw::instance_map {

namespace {

// An empty value would look as if the option had not been given.
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

void define_strategy(CLI::App& app, std::string& into) {
  app.add_option("--strategy", into, "how the instance is chosen: round-robin, random, least-backlog, weighted, or a program [routing.xml, else round-robin]")
      ->type_name("S")
      ->check(not_empty);
}

}  // namespace

void define_send(CLI::App& app, SendOptions& into) {
  define_map_options(app, into.map);
  define_strategy(app, into.strategy);
  app.add_option("--to", into.to, "send to this address, whatever the map says")->type_name("ADDR")->check(not_empty);
  app.add_option("--endpoint", into.endpoint, "the name of this endpoint (header OriginatingEndpoint)")->type_name("E")->check(not_empty);
  app.add_option("--from", into.from, "send messages that lie in QUEUE, each where its type goes; SEL chooses them")->type_name("QUEUE")->check(not_empty);
  define_message_options(app, into.message, MessageOptions::Positional::none);
  define_selection(app, into.selection, "FILE|SEL", "the body (- or nothing: stdin); with --from: ids of messages, :SEQ for numbers, - to read them from stdin");
}

void define_publish(CLI::App& app, PublishOptions& into) {
  define_map_options(app, into.map);
  define_strategy(app, into.strategy);
  app.add_option("--endpoint", into.endpoint, "the publisher [the endpoint that routing.xml names for the type]")->type_name("E")->check(not_empty);
  define_message_options(app, into.message);
}

void define_subscribe(CLI::App& app, SubscribeOptions& into) {
  define_map_options(app, into.map);
  app.add_option("--endpoint", into.endpoint, "the endpoint that wants the events")->type_name("E")->check(not_empty);
  app.add_option("--address", into.address, "where its copies go [the queue E on this machine]")->type_name("ADDR")->check(not_empty);
  app.add_option("TYPE", into.types, "the type of the events, with or without its assembly");
}

void define_subscriptions(CLI::App& app, SubscriptionsOptions& into) {
  define_map_options(app, into.map);
  app.add_flag("--stale", into.stale, "only those whose queue is gone, as far as can be seen from here");
  app.add_option("--machine", into.machine, "only those of machine M")->type_name("M")->check(not_empty);
  app.add_flag("--remove", into.remove, "remove them; needs --machine or --stale");
}

}  // namespace gw::instance_map
