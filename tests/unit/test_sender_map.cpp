// The map as senders use it: last good ones, instances that leave, endpoints that must not vanish.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "decommission_state.hpp"
#include "scratch.hpp"
#include "sender_map.hpp"
#include "units.hpp"

using namespace gw;

namespace {

struct Place : Scratch {
  std::unique_ptr<Root> root = open_root(path + "/root", "vm1", 1 << 20);
  MapSettings settings;
  Place() {
    settings = default_map_settings(write("config.xml", "<gatepost><Machines><Machine Name=\"vm2\" Address=\"http://vm2/\"/></Machines></gatepost>"));
    for (const char* queue : {"Sales", "Sales-2"}) REQUIRE(root->create_queue(queue));
  }
  void map(const std::string& instances) const {
    std::ofstream(settings.map) << "<endpoints><endpoint name='Sales'>" << instances << "</endpoint></endpoints>";
  }
  void text(const std::string& all) const { std::ofstream(settings.map) << all; }
  std::unique_ptr<SenderMap> open() {
    auto opened = SenderMap::open(*root, settings);
    REQUIRE_MESSAGE(opened, opened.error().text);
    return *std::move(opened);
  }
  std::string addresses(SenderMap& map) const {
    std::string text;
    for (const Instance& instance : map.instances().instances("Sales")) text += (text.empty() ? "" : " ") + instance.address;
    return text;
  }
  /// The types of what is in a queue.
  std::string types(const std::string& name) {
    std::string text;
    auto queue = root->queue(name);
    if (!queue) return "none";
    (void)queue->scan([&](const MessageInfo& info) {
      auto message = queue->read(info.seq);
      text += (text.empty() ? "" : " ") + message_type((*message)->second.headers);
      return true;
    });
    return text;
  }
  void send(SenderMap& map, const std::string& queue) {
    Message message;
    message.headers.set(header::message_id, new_message_id());
    message.headers.set(header::enclosed_message_types, "T");
    message.headers.set(header::originating_endpoint, "HQ");
    REQUIRE(map.stamp("Sales", message.headers));
    CHECK(message.headers.get(header::map_version) == map.instances().version());
    Transaction transaction;
    transaction.put(*root->queue(queue), std::move(message));
    REQUIRE(root->commit(std::move(transaction)));
  }
};

const char* both = "<instance/><instance discriminator='2'/>";

}  // namespace

TEST_CASE("sender map: an instance that leaves is told once, behind everything else") {
  Place place;
  place.map(both);
  auto map = place.open();
  place.send(*map, "Sales-2");
  map.reset();
  place.map("<instance/>");
  map = place.open();
  CHECK(place.addresses(*map) == "Sales@vm1");
  CHECK(place.types("Sales-2") == "T Gatepost.MapVersion");
  CHECK(place.types("Sales") == "");
  auto again = place.open();
  CHECK(place.types("Sales-2") == "T Gatepost.MapVersion");
  auto message = place.root->queue("Sales-2")->read(2);
  REQUIRE((message && *message));
  CHECK((*message)->second.headers.get(header::map_sender) == "HQ@vm1");
  CHECK(is_map_version_message((*message)->second.headers));
}

TEST_CASE("sender map: while somebody uses the old map, nobody is told") {
  Place place;
  place.map(both);
  auto slow = place.open(), other = place.open();
  place.map("<instance/>");
  auto quick = place.open();
  CHECK(place.types("Sales-2") == "");
  auto state = MapState::open(place.root->path(), false);
  REQUIRE(state);
  CHECK((*map_in_use(*state, place.settings.map))->older != "");
  other.reset();
  CHECK(place.types("Sales-2") == "");
  place.send(*slow, "Sales-2");
  const int64_t deadline = monotonic_ms() + 5000;
  for (bool changed = false; !changed && monotonic_ms() < deadline;) changed = *slow->refresh();
  CHECK(place.addresses(*slow) == "Sales@vm1");
  CHECK(place.types("Sales-2") == "T Gatepost.MapVersion");
  CHECK((*map_in_use(*state, place.settings.map))->older == "");
  // Somebody who was killed: whoever comes next tells.
  place.map(both);
  auto third = place.open();
  CHECK(place.types("Sales") == "");
}

TEST_CASE("sender map: a machine that is written in another case has not left") {
  Place place;
  place.map("<instance/><instance machine='VM2'/>");
  auto map = place.open();
  Headers headers;
  REQUIRE(map->stamp("Sales", headers));
  headers.set(header::destination_queue, "Sales");
  map.reset();
  place.map("<instance/><instance machine='vm2'/>");
  place.open();
  CHECK(place.types("machine.vm2") == "none");
  std::vector<UniqueFd> uses;
  CHECK_FALSE(*told_again(*place.root, "machine.VM2", headers, uses));
  CHECK(uses.empty());
}

TEST_CASE("sender map: another machine is told through its outbox") {
  Place place;
  place.map("<instance/><instance machine='vm2'/>");
  place.open();
  place.map("<instance/>");
  place.open();
  CHECK(place.types("machine.vm2") == "Gatepost.MapVersion");
}

TEST_CASE("sender map: last good ones") {
  Place place;
  auto none = place.open();  // without a default map every endpoint is here
  CHECK(place.addresses(*none) == "Sales@vm1");
  none.reset();
  place.text("<endpoints>");
  CHECK_FALSE(SenderMap::open(*place.root, place.settings).has_value());
  place.map(both);
  std::ofstream(place.settings.routing) << "<routing><route type='T' endpoint='Sales'/></routing>";
  place.open();
  for (const char* bad : {"<endpoints>", "", "<endpoints><endpoint name='Sales'/></endpoints>"}) {
    place.text(bad);
    std::ofstream(place.settings.routing) << bad;
    auto map = place.open();
    CHECK(place.addresses(*map) == "Sales@vm1 Sales-2@vm1");
    CHECK(map->routes().find("T") != nullptr);
  }
  std::filesystem::remove(place.settings.map);
  std::filesystem::remove(place.settings.routing);
  auto map = place.open();
  CHECK(place.addresses(*map) == "Sales@vm1 Sales-2@vm1");
  CHECK(map->routes().find("T") != nullptr);
  place.settings.map = place.path + "/other.xml";
  place.settings.map_given = true;
  auto missing = SenderMap::open(*place.root, place.settings);
  REQUIRE_FALSE(missing.has_value());
  CHECK(missing.error().code == ExitCode::config);
  CHECK(missing.error().text.find("The specified instance mapping file does not exist.") == 0);
}

TEST_CASE("sender map: an endpoint that gets messages does not vanish") {
  Place place;
  place.map(both);
  auto map = place.open();
  place.text("<endpoints/>");
  auto quiet = place.open();  // nothing was sent to it
  CHECK(place.addresses(*quiet) == "Sales@vm1");
  place.map(both);
  map = place.open();
  place.send(*map, "Sales");
  place.text("<endpoints/>");
  quiet = place.open();
  CHECK(place.addresses(*quiet) == "Sales@vm1 Sales-2@vm1");
  place.settings.allow_empty = true;
  quiet = place.open();
  CHECK(place.addresses(*quiet) == "Sales@vm1");
}

TEST_CASE("sender map: what waits in an outbox is traffic") {
  Place place;
  place.map("<instance machine='vm2'/>");
  place.open();
  Destinations destinations(*place.root, place.settings.config, false);
  auto destination = destinations.find("Sales@vm2");
  REQUIRE(destination);
  Message message;
  message.headers.set(header::message_id, "x");
  Transaction transaction;
  put_to(transaction, *destination, std::move(message));
  REQUIRE(place.root->commit(std::move(transaction)));
  place.text("<endpoints/>");
  CHECK(place.addresses(*place.open()) == "Sales@vm2");
}

TEST_CASE("senders: what messages say of them") {
  Place place;
  SenderNotes notes(place.root->path());
  Headers headers;
  REQUIRE(notes.note("Sales", headers));
  headers.set(header::map_version, "v1");
  headers.set(header::map_sender, "HQ@vm7");
  REQUIRE(notes.note("Sales", headers));
  auto state = MapState::open(place.root->path(), false);
  REQUIRE(state);
  auto known = *read_senders(*state);
  REQUIRE(known.size() == 1);
  CHECK(known[0].sender == "HQ@vm7");
  CHECK(known[0].machine == "vm7");
  CHECK(known[0].map_version == "v1");
  CHECK_FALSE(known[0].left);
  for (const char* word : {"HQ@vm7", "HQ", "vm7"}) CHECK(means_sender(word, known[0]));
  CHECK_FALSE(means_sender("hq", known[0]));
  REQUIRE(notes.note("Sales", map_version_message("HQ@vm7", "vm7", "v2").headers));
  known = *read_senders(*state);
  REQUIRE(known.size() == 1);
  CHECK(known[0].left);
  CHECK(known[0].map_version == "v2");
  headers.set(header::map_sender, "a\tb@vm7");
  REQUIRE(notes.note("Sales", headers));
  CHECK(read_senders(*state)->size() == 1);
}

TEST_CASE("senders: who had left an instance that is put back has to say so again") {
  Place place;
  SenderNotes notes(place.root->path());
  const Headers left = map_version_message("HQ@vm7", "vm7", "v2").headers;
  REQUIRE(notes.note("Sales", left));
  REQUIRE(notes.note("Other", left));
  auto state = MapState::open(place.root->path(), false);
  REQUIRE(state);
  REQUIRE(doubt_senders(*state, "Sales"));
  auto senders = *read_senders(*state);
  REQUIRE(senders.size() == 2);
  for (const KnownSender& known : senders) {
    CHECK(known.left);
    CHECK(known.put_back == (known.target == "Sales"));
  }
  REQUIRE(notes.note("Sales", left));  // the same once more, which is news
  senders = *read_senders(*state);
  for (const KnownSender& known : senders) CHECK_FALSE(known.put_back);
}

TEST_CASE("decommission: what is remembered") {
  Place place;
  auto state = MapState::open(place.root->path(), true);
  REQUIRE(state);
  Decommission d;
  d.queue = "Sales";
  d.address = "Sales@vm1";
  d.endpoint = "Sales";
  d.map = place.settings.map;
  d.began_ms = 5;
  d.text_before = "<endpoints>\r\n  100% %0A\n</endpoints>";
  d.ignored = {"a", "b c"};
  d.at(DecommissionStep::drained) = {7, "0 ready; 100%"};
  d.puts_were_on = false;
  REQUIRE(write_decommission(*state, d));
  auto read = *read_decommission(*state, "Sales");
  REQUIRE(read);
  CHECK(read->text_before == d.text_before);
  CHECK(read->ignored == d.ignored);
  CHECK(read->at(DecommissionStep::drained).proof == "0 ready; 100%");
  CHECK(read->at(DecommissionStep::drained).done_ms == 7);
  CHECK_FALSE(read->puts_were_on);
  CHECK_FALSE(*read_decommission(*state, "Other"));

  place.map("<instance/><instance discriminator='2'/><instance discriminator='3' machine='vm2'/>");
  LateArrivals late(*place.root);
  CHECK_FALSE(*late.address("Sales"));
  d.hold_noted = true;
  REQUIRE(write_decommission(*state, d));
  LateArrivals closed(*place.root);
  auto first = *closed.address("Sales"), second = *closed.address("Sales");
  REQUIRE((first && second));
  CHECK(first->queue == "Sales-2");
  CHECK(full_address(*second, "vm1") == "Sales-3@vm2");
  REQUIRE(closed.arrived("Sales"));
  CHECK((*read_decommission(*state, "Sales"))->late == 1);
  CHECK_FALSE(*closed.address("Sales-2"));
}

TEST_CASE("sender map: what was put aside under an old map is followed by a control message") {
  Place place;
  place.map("<instance/><instance discriminator='2'/><instance machine='vm2'/>");
  auto map = place.open();
  Headers local, remote;
  for (Headers* headers : {&local, &remote}) {
    headers->set(header::originating_endpoint, "HQ");
    REQUIRE(map->stamp("Sales", *headers));
  }
  remote.set(header::destination_queue, "Sales");
  std::vector<UniqueFd> uses;
  CHECK_FALSE(*told_again(*place.root, "Sales-2", local, uses));
  CHECK(uses.size() == 1);
  map.reset();
  place.map("<instance/>");
  map = place.open();
  CHECK(place.types("Sales-2") == "");  // what is about to be put is waited for
  uses.clear();
  place.open();
  CHECK(place.types("Sales-2") == "Gatepost.MapVersion");
  auto behind = *told_again(*place.root, "Sales-2", local, uses);
  REQUIRE(behind);
  CHECK(is_map_version_message(behind->headers));
  CHECK(behind->headers.get(header::map_version) == map->instances().version());
  CHECK(behind->headers.get(header::map_sender) == "HQ@vm1");
  behind = *told_again(*place.root, "machine.vm2", remote, uses);
  REQUIRE(behind);
  CHECK(behind->headers.get(header::destination_queue) == "Sales");
  CHECK_FALSE(behind->headers.get(header::transfer_id).empty());
  CHECK_FALSE(*told_again(*place.root, "Sales", local, uses));  // it is in the map still
  CHECK(uses.empty());
  CHECK_FALSE(*told_again(*place.root, "Sales", Headers(), uses));
}
