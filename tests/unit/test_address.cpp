#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "address.hpp"
#include "outbox.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;

namespace {

struct Place : Scratch {
  std::unique_ptr<Root> root = open_root(path + "/root", "vm1", 1 << 20);
  Place() {
    REQUIRE(root->create_queue("Sales"));
    configure("<Machine Name='vm1' Address='http://vm1:7000/machine/'/><Machine Name='vm2' Address='http://vm2:7000/machine/'/>");
  }
  std::string config() const { return path + "/config.xml"; }
  void configure(const std::string& machines) const {
    std::ofstream(config() + ".new") << "<gatepost><Machines>" << machines << "</Machines></gatepost>";
    std::filesystem::rename(config() + ".new", config());
  }
};

Message message_of(const std::string& id) {
  Message message = message_with(id);
  message.headers.set("Note", "kept");
  return message;
}

}  // namespace

TEST_CASE("address: parsing") {
  CHECK(parse_address("Sales")->queue == "Sales");
  CHECK(parse_address("Sales")->machine.empty());
  CHECK(parse_address("Sales@vm1")->machine == "vm1");
  for (const char* here : {"Sales@.", "Sales@localhost", "Sales@LOCALHOST", "Sales@127.0.0.1", "Sales@127.1", "Sales@::1", "Sales@[::1]"}) {
    CAPTURE(here);
    REQUIRE(parse_address(here));
    CHECK(parse_address(here)->machine.empty());
    CHECK(is_here(*parse_address(here), "vm1"));
  }
  CHECK(parse_address("Sales@a@b").error().text == "Address contains multiple @ characters. Address supplied: 'Sales@a@b'");
  CHECK(parse_address("@@").error().text == "Address contains multiple @ characters. Address supplied: '@@'");
  CHECK(parse_address("@vm1").error().text == "Empty queue part of address. Address supplied: '@vm1'");
  CHECK(parse_address("@").error().text == "Empty queue part of address. Address supplied: '@'");
  CHECK(parse_address("Sales@").error().text == "Empty machine part of address. Address supplied: 'Sales@'");
  for (const char* bad : {"", "@vm1", "Sales@", "Sales@a/b", "Sales@127.0.0.1x/", "a b", "-x", "Sales@a@b", "Sales@ "}) {
    CAPTURE(bad);
    auto address = parse_address(bad);
    REQUIRE_FALSE(address);
    CHECK(address.error().code == ExitCode::usage);
  }
}

TEST_CASE("address: this machine") {
  CHECK(is_here({"Sales", ""}, "vm1"));
  CHECK(is_here({"Sales", "VM1"}, "vm1"));
  CHECK_FALSE(is_here({"Sales", "vm11"}, "vm1"));
  CHECK_FALSE(is_here({"Sales", "vm"}, "vm1"));
  CHECK(full_address({"Sales", ""}, "vm1") == "Sales@vm1");
  CHECK(full_address({"Sales", "vm2"}, "vm1") == "Sales@vm2");
}

TEST_CASE("address: names of outboxes and locks") {
  CHECK(outbox_of_site(key_of_machine("vm2")) == "machine.vm2");
  CHECK(site_of_outbox("machine.vm2") == "@vm2");
  CHECK(site_of_outbox("machine.a.b") == "@a.b");
  CHECK_FALSE(site_of_outbox("machine."));
  CHECK(outbox_of_site("machine.vm2") == "site.machine.vm2");
  CHECK(forwarder_lock("Store1") == "forward.Store1");
  CHECK(forwarder_lock("@vm2") != forwarder_lock("machine.vm2"));
  CHECK(queue_name_ok(forwarder_lock("@vm2")));
}

TEST_CASE("address: where a put goes") {
  Place place;
  Destinations destinations(*place.root, place.config(), true);
  SUBCASE("here") {
    for (const char* text : {"Sales", "Sales@localhost", "Sales@VM1"}) {
      auto found = destinations.find(text);
      REQUIRE(found);
      CHECK(found->name() == "Sales");
      CHECK(found->remote_queue.empty());
    }
    auto none = destinations.find("Nothing");
    REQUIRE_FALSE(none);
    CHECK(none.error().code == ExitCode::no_input);
  }
  SUBCASE("another machine") {
    auto found = destinations.find("Sales@VM2");
    REQUIRE(found);
    CHECK(found->queue.name() == "machine.vm2");
    CHECK(found->name() == "Sales@vm2");
  }
  SUBCASE("not configured") {
    auto none = destinations.find("Sales@C");
    REQUIRE_FALSE(none);
    CHECK(none.error().code == ExitCode::usage);
    CHECK(none.error().text == "the following machines have not been configured: C");
    CHECK_FALSE(place.root->queue("machine.C"));
  }
  SUBCASE("without a configuration") {
    Destinations bare(*place.root, place.path + "/none.xml", false);
    CHECK(bare.find("Sales"));
    auto none = bare.find("Sales@vm2");
    REQUIRE_FALSE(none);
    CHECK(none.error().text.starts_with("the following machines have not been configured: vm2; there is no file"));
  }
}

TEST_CASE("address: what is put for another machine, and what arrives there") {
  Place place;
  Destinations destinations(*place.root, place.config(), true);
  auto to = destinations.find("Sales@vm2");
  REQUIRE(to);
  const int64_t due = now_ms() + 3'600'000;
  Transaction transaction;
  PutOptions how;
  how.due_at_ms = due;
  how.expires_at_ms = due + 1;
  how.failures = 3;
  put_to(transaction, *to, message_of("m-1"), how);
  put_to(transaction, *to, message_of("m-1"));
  REQUIRE(place.root->commit(std::move(transaction)));
  // Both leave at once: they wait for their time over there.
  auto claims = to->queue.claim(10);
  REQUIRE(claims);
  REQUIRE(claims->size() == 2);
  CHECK((*claims)[0].info().expires_at_ms == due + 1);
  Headers first = (*claims)[0].message().headers, second = (*claims)[1].message().headers;
  const Arrival one = take_arrival(first), two = take_arrival(second);
  CHECK(one.queue == "Sales");
  CHECK(one.due_at_ms == due);
  CHECK(one.failures == 3);
  CHECK((*claims)[0].info().failures == 0);
  CHECK(one.expires_at_ms == due + 1);
  CHECK(two.due_at_ms == 0);
  CHECK(two.failures == 0);
  CHECK_FALSE(two.expires_at_ms);
  CHECK_FALSE(one.transfer_id.empty());
  CHECK(one.transfer_id != two.transfer_id);
  CHECK(one.put_at_ms <= now_ms());
  CHECK(one.put_at_ms > now_ms() - 60'000);
  CHECK(first == message_of("m-1").headers);
  CHECK(second == message_of("m-1").headers);
  Headers plain = message_of("m-2").headers;
  CHECK(take_arrival(plain).queue.empty());
}

TEST_CASE("address: what is put here stays as it is") {
  Place place;
  Destinations destinations(*place.root, place.config(), true);
  PutOptions how;
  how.due_at_ms = 17;
  CHECK(addressed(*destinations.find("Sales"), message_of("m-1"), how).headers == message_of("m-1").headers);
  CHECK(how.due_at_ms == 17);
}
