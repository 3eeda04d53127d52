// Subscriptions: the control messages, the store, and who applies them.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "control_message.hpp"
#include "control_receiver.hpp"
#include "scratch.hpp"
#include "subscription_store.hpp"
#include "tool.hpp"
#include "units.hpp"

using namespace gw;

namespace {

struct Directory : Scratch {
  std::unique_ptr<SubscriptionStore> store() {
    auto opened = SubscriptionStore::open(path, true);
    REQUIRE_MESSAGE(opened.has_value(), opened.error().text);
    return std::move(*opened);
  }
};

Subscription one(const std::string& address, const std::string& endpoint = "Shop", const std::string& type = "Sales.Accepted") {
  return Subscription{"Sales", type, endpoint, address, 0};
}

std::string shown(const std::vector<Subscription>& list) {
  std::string text;
  for (const Subscription& s : list) text += s.publisher + " " + s.type + " " + s.endpoint + " " + s.address + "\n";
  return text;
}

using Change = SubscriptionChange;

}  // namespace

TEST_CASE("a store of subscriptions") {
  Directory d;
  auto store = d.store();
  const int64_t now = now_ms();
  CHECK(*store->subscribe(one("Shop@vm1"), now) == Change::made);
  CHECK(*store->subscribe(one("Shop@vm2"), now) == Change::made);
  CHECK(*store->subscribe(one("SHOP@VM1"), now) == Change::made);  // the same address, as it is written now
  CHECK(*store->subscribe(one("SHOP@VM1"), now) == Change::known);
  CHECK(*store->subscribe(one("Old@vm3", ""), now) == Change::made);
  CHECK(*store->subscribe(one("Shop@vm1", "Shop", "Sales.Cancelled"), now) == Change::made);
  CHECK(shown(*store->list()) == "Sales Sales.Accepted Shop SHOP@VM1\nSales Sales.Accepted Shop Shop@vm2\nSales Sales.Accepted  Old@vm3\n"
                                 "Sales Sales.Cancelled Shop Shop@vm1\n");
  CHECK(store->list("Other")->empty());

  const std::vector<std::string> types{"Sales.Accepted", "Sales.Cancelled"};
  CHECK(store->subscribers("Sales", types)->size() == 3);  // an address that wants two of them gets one
  CHECK(store->subscribers("Sales", std::vector<std::string>{"Sales.Cancelled"})->size() == 1);
  CHECK(store->subscribers("Sales", std::vector<std::string>{"sales.cancelled"})->empty());
  CHECK(store->subscribers("sales", types)->empty());

  CHECK(*store->unsubscribe(one("shop@vm2"), now) == Change::made);
  CHECK(*store->unsubscribe(one("shop@vm2"), now) == Change::known);
  CHECK(*store->unsubscribe(one("never@vm2"), now) == Change::known);
  CHECK(shown(*store->list()).find("vm2") == std::string::npos);

  const std::vector<Subscription> gone{one("shop@vm1"), one("shop@vm2")};
  CHECK(*store->remove(gone) == 1);
  CHECK(store->list()->size() == 2);
  store.reset();
  CHECK(d.store()->list()->size() == 2);
}

TEST_CASE("of requests that overtake each other the latest counts") {
  Directory d;
  auto store = d.store();
  const int64_t now = now_ms();
  CHECK(*store->unsubscribe(one("Shop@vm1"), now - 1000) == Change::known);
  CHECK(*store->subscribe(one("Shop@vm1"), now - 2000) == Change::outdated);
  CHECK(store->list()->empty());
  CHECK(*store->subscribe(one("Shop@vm1"), now) == Change::made);
  CHECK(*store->unsubscribe(one("Shop@vm1"), now - 500) == Change::outdated);
  CHECK(store->list()->size() == 1);
  // A clock that was ahead does not have the last word.
  CHECK(*store->subscribe(one("Shop@vm2"), now + 86'400'000) == Change::made);
  CHECK(*store->unsubscribe(one("Shop@vm2"), now_ms()) == Change::made);
  // An operator's removal is not remembered: the next request counts, whatever its time.
  CHECK(*store->remove(std::vector<Subscription>{one("Shop@vm1")}) == 1);
  CHECK(*store->subscribe(one("Shop@vm1"), now - 5000) == Change::made);
}

TEST_CASE("many processes subscribe at once, and make the store at once") {
  Directory d;
  constexpr int processes = 6, each = 20;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      auto store = SubscriptionStore::open(d.path, true);
      bool fine = store.has_value();
      for (int i = 0; fine && i < each; ++i) fine = (*store)->subscribe(one("Shop@vm" + std::to_string(p * each + i)), now_ms()).has_value();
      ::_exit(fine ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
  }
  CHECK(d.store()->list()->size() == processes * each);
}

TEST_CASE("a file that is no store of subscriptions") {
  Directory d;
  CHECK(SubscriptionStore::open(d.path, false).error().code == ExitCode::no_input);
  std::ofstream(d.path + "/subscriptions.db") << std::string(2000, 'x');
  CHECK(SubscriptionStore::open(d.path, true).error().code == ExitCode::system);
}

TEST_CASE("subscription messages have the original's headers") {
  SubscriptionRequest request;
  request.type = "Sales.Accepted, Sales, Version=1.0.0.0";
  request.address = "Shop@vm1";
  request.endpoint = "Shop";
  const Message message = subscription_message(request, "vm1");
  const Headers& headers = message.headers;
  CHECK(headers.get("NServiceBus.ControlMessage") == "True");
  CHECK(headers.get("NServiceBus.MessageIntent") == "Subscribe");
  CHECK(headers.get("SubscriptionMessageType") == request.type);
  CHECK(headers.get("NServiceBus.ReplyToAddress") == "Shop@vm1");
  CHECK(headers.get("NServiceBus.SubscriberAddress") == "Shop@vm1");
  CHECK(headers.get("NServiceBus.SubscriberEndpoint") == "Shop");
  CHECK(parse_nsb_time_ms(headers.get("NServiceBus.TimeSent")).has_value());
  CHECK(headers.get("NServiceBus.Version") == version_string);
  CHECK(message.body.size() == 0);
  auto read = read_subscription(headers);
  REQUIRE(read.has_value());
  REQUIRE(read->has_value());
  CHECK((*read)->subscribe);
  CHECK((*read)->type == request.type);
  CHECK((*read)->endpoint == "Shop");
  CHECK((*read)->sent_at_ms > 0);
}

TEST_CASE("reading subscription messages") {
  Headers headers;
  headers.set("NServiceBus.MessageIntent", "Subscribe");
  headers.set("SubscriptionMessageType", "T");
  headers.set("NServiceBus.ReplyToAddress", "Shop@vm1");
  CHECK(!read_subscription(headers)->has_value());  // no control message: a handler's
  headers.set("NServiceBus.ControlMessage", "true");
  REQUIRE(read_subscription(headers)->has_value());
  CHECK((*read_subscription(headers))->address == "Shop@vm1");  // as old subscribers say it
  headers.set("NServiceBus.SubscriberAddress", "Shop@vm2");
  CHECK((*read_subscription(headers))->address == "Shop@vm2");
  headers.set("NServiceBus.MessageIntent", "unsubscribe");
  CHECK(!(*read_subscription(headers))->subscribe);
  headers.set("SubscriptionMessageType", " , Sales");
  CHECK(read_subscription(headers).error().code == ExitCode::bad_data);
  headers.set("SubscriptionMessageType", "T");
  headers.remove("NServiceBus.SubscriberAddress");
  headers.remove("NServiceBus.ReplyToAddress");
  CHECK(read_subscription(headers).error().code == ExitCode::bad_data);
  headers.set("NServiceBus.MessageIntent", "Send");
  CHECK(!read_subscription(headers)->has_value());
}

TEST_CASE("who takes control messages applies them") {
  Directory d;
  auto root = open_root(d.path + "/root", "here");
  ControlReceiver receiver(*root, "Sales", "Sales");
  SubscriptionRequest request;
  request.type = "Sales.Accepted, Sales";
  request.endpoint = "Shop";
  request.address = "Shop@vm1";
  CHECK(*receiver.apply(subscription_message(request, "vm1")));
  CHECK(*receiver.apply(subscription_message(request, "vm1")));
  request.publisher = "Orders";
  request.address = "Shop@localhost";
  CHECK(*receiver.apply(subscription_message(request, "vm7")));
  request.address = "not an address";
  auto bad = receiver.apply(subscription_message(request, "vm1"));
  REQUIRE(!bad.has_value());
  CHECK(bad.error().code == ExitCode::bad_data);
  Message plain;
  plain.headers.set(header::message_intent, "Subscribe");
  CHECK(!*receiver.apply(plain));
  CHECK(!*receiver.apply(make_control_message("Send", "vm1")));
  auto store = SubscriptionStore::open(root->path(), false);
  REQUIRE(store.has_value());
  CHECK(shown(*(*store)->list()) == "Sales Sales.Accepted Shop Shop@vm1\nOrders Sales.Accepted Shop Shop@vm7\n");
}
