#include "commands.hpp"

#include <memory>

#include "command.hpp"
#include "decommission.hpp"
#include "edit.hpp"
#include "list.hpp"
#include "options.hpp"
#include "publish.hpp"
#include "send.hpp"
#include "senders.hpp"
#include "subscribe.hpp"

namespace gw::instance_map {

namespace {

/// One command with options of a type of its own.
template <class Options>
void add(Tool& tool, const char* usage, const char* summary, const char* examples, void (*define)(CLI::App&, Options&),
         Result<ExitCode> (*run)(const Options&, const CommonOptions&), bool changes = false) {
  tool.commands.push_back(make_command(std::make_shared<Options>(), usage, summary, examples, changes, define, run));
}

}  // namespace

Tool make_tool() {
  Tool tool;
  tool.name = "instance-map";
  tool.summary = "send messages to the instances of endpoints, and look after the map of them";
  add(tool, "list [--follow]", "list the instances of all endpoints, or what changes",
      "  instance-map list\n  instance-map list --follow --refresh 5s\n", define_list, list);
  add(tool, "validate [FILE]", "check the instance map and the routing, or one file", "  instance-map validate\n  instance-map validate --loose old.xml\n",
      define_validate, validate);
  add(tool, "resolve --type T", "print the addresses that messages of a type go to", "  instance-map resolve --type Orders.AcceptOrder\n", define_resolve,
      resolve);
  add(tool, "add ADDR [--endpoint E]", "add an instance to the map", "  instance-map add Sales@vm3\n  instance-map add SalesQ-2@vm2 --endpoint Sales\n",
      define_add, add_instance, true);
  add(tool, "remove ADDR", "remove an instance from the map", "  instance-map remove Sales@vm2\n", define_remove, remove_instance, true);
  add(tool, "senders [E] [--wait [--timeout T]]", "list who sends by the map, and whether they know it as it is now",
      "  instance-map senders Sales\n  instance-map senders Sales --wait --timeout 1m\n", define_senders, senders);
  add(tool, "decommission ADDR [-n | --status | --rollback] [--ignore-sender S]... [--drain-timeout T]",
      "take an instance on this machine out of service, with proof for each step",
      "  instance-map decommission Sales@vm2 --dry-run\n  instance-map decommission Sales@vm2 --ignore-sender Reports@vm7\n"
      "  instance-map decommission Sales@vm2 --rollback\n",
      define_decommission, decommission, true);
  add(tool, "send [--strategy S] [OPTION]... [FILE | -]", "store a message for an instance of the endpoint that handles its type, print its id",
      "  instance-map send --type Orders.AcceptOrder order.json\n"
      "  zcat orders.gz | instance-map send --lines --type Orders.AcceptOrder --strategy least-backlog\n"
      "  instance-map send --from Sales --where 'age>1h'\n",
      define_send, send, true);
  add(tool, "publish [--endpoint E] [OPTION]... [FILE | -]", "store a copy of an event for each of its subscribers, print its id",
      "  instance-map publish --type Orders.OrderAccepted accepted.json\n", define_publish, publish);
  add(tool, "subscribe --endpoint E [--address ADDR] TYPE...", "ask the publisher of a type for its events",
      "  instance-map subscribe --endpoint Billing Orders.OrderAccepted\n", define_subscribe, subscribe);
  add(tool, "unsubscribe --endpoint E [--address ADDR] TYPE...", "want them no more",
      "  instance-map unsubscribe --endpoint Billing --address Billing@vm2 Orders.OrderAccepted\n", define_subscribe, unsubscribe);
  add(tool, "subscriptions [--stale] [--machine M] [--remove]", "list who gets the events of this machine's publishers, or remove some",
      "  instance-map subscriptions --stale\n  instance-map subscriptions --remove --machine vm2\n", define_subscriptions, subscriptions, true);
  return tool;
}

}  // namespace gw::instance_map
