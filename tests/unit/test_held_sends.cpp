#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "hash.hpp"
#include "held_sends.hpp"
#include "scratch.hpp"

using namespace gw;

namespace {

struct Place : Scratch {
  std::unique_ptr<Root> root = open_root(path + "/root", "", 1 << 20);
  Place() { REQUIRE(root->create_queue("q")); }
  ~Place() { ::unsetenv("GW_OUTBOX"); }
  std::string outbox() const { return path + "/root/outbox/w/17-1"; }
  void open_outbox() const {
    std::filesystem::create_directories(outbox());
    ::setenv("GW_OUTBOX", outbox().c_str(), 1);
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(outbox() + "/" + name) << text; }
  std::vector<Result<CommitResult>> send(Message message, PutOptions how = {}) {
    std::vector<Transaction> transactions(1);
    transactions[0].put(*root->queue("q"), std::move(message), std::move(how));
    return commit_or_hold(*root, std::move(transactions));
  }
  uint64_t stored() { return root->queue("q")->status()->ready; }
};

Message message_of(const std::string& id, const std::string& body) {
  Message message = message_with(id, body);
  message.headers.set("Note", "100%\nof it");
  return message;
}

PutOptions keyed(const std::string& id, const std::string& body) {
  PutOptions how;
  how.dedup = DedupKey{std::string(local_dedup_store), "q", id, sha256(body), 0};
  return how;
}

}  // namespace

TEST_CASE("held sends: outside of a handler at once, inside of one when it is taken") {
  Place place;
  REQUIRE(place.send(message_of("1", "x"))[0]);
  CHECK(place.stored() == 1);
  ::setenv("GW_OUTBOX", "", 1);
  REQUIRE(place.send(message_of("2", "x"))[0]);
  CHECK(place.stored() == 2);
  CHECK(!inside_handler());
  place.open_outbox();
  CHECK(inside_handler());
  PutOptions how = keyed("an id: with blanks", "line\n\ngw-outbox 1\n");
  how.due_at_ms = 1'900'000'000'000;
  auto held = place.send(message_of("an id: with blanks", "line\n\ngw-outbox 1\n"), how);
  REQUIRE(held[0]);
  CHECK(held[0]->puts.at(0).outcome == PutOutcome::stored);
  REQUIRE(place.send(Message{}, {})[0]);
  REQUIRE(place.send(message_of("nul", std::string("a\0b", 3)))[0]);
  CHECK(place.stored() == 2);
  auto sends = take_held_sends(place.outbox());
  REQUIRE_MESSAGE(sends, sends.error().text);
  REQUIRE(sends->size() == 3);
  const HeldSend& first = sends->at(0);
  CHECK(first.queue == "q");
  CHECK(first.message.id() == "an id: with blanks");
  CHECK(first.message.headers.get("Note") == "100%\nof it");
  CHECK(first.message.body.bytes() == "line\n\ngw-outbox 1\n");
  CHECK(first.options.due_at_ms == how.due_at_ms);
  REQUIRE(first.options.dedup);
  CHECK(first.options.dedup->id == how.dedup->id);
  CHECK(first.options.dedup->body_sha256 == how.dedup->body_sha256);
  CHECK(sends->at(1).message.headers.entries().empty());
  CHECK(sends->at(2).message.body.bytes() == std::string("a\0b", 3));
  // It is closed now.
  auto late = place.send(message_of("late", "x"));
  REQUIRE(!late[0]);
  CHECK(late[0].error().code == ExitCode::no_input);
}

TEST_CASE("held sends: a large body is linked, not copied, and outlives its writer") {
  Place place;
  place.open_outbox();
  const std::string large(200'000, 'z');
  {
    BodyWriter writer = place.root->body_writer();
    REQUIRE(writer.write(large));
    auto body = std::move(writer).finish();
    REQUIRE(body);
    Message message = message_of("large", "");
    message.body = *body;
    std::vector<Transaction> transactions(1);
    for (int i = 0; i < 2; ++i) transactions[0].put(*place.root->queue("q"), message);
    REQUIRE(commit_or_hold(*place.root, std::move(transactions))[0]);
  }
  auto sends = take_held_sends(place.outbox());
  REQUIRE(sends);
  REQUIRE(sends->size() == 2);
  CHECK(sends->at(0).message.body.file() == sends->at(1).message.body.file());
  Transaction transaction;
  for (HeldSend& send : *sends) transaction.put(*place.root->queue("q"), std::move(send.message), std::move(send.options));
  REQUIRE(place.root->commit(std::move(transaction)));
  std::filesystem::remove_all(place.path + "/root/outbox");
  auto claims = place.root->queue("q")->claim(2);
  REQUIRE((claims && claims->size() == 2));
  for (Claim& claim : *claims) CHECK(*claim.message().body.read_all() == large);
}

TEST_CASE("held sends: one id is one message, or nothing is sent") {
  for (const char* second : {"same", "other"}) {
    Place place;
    place.open_outbox();
    REQUIRE(place.send(message_of("1", "same"), keyed("1", "same"))[0]);
    REQUIRE(place.send(message_of("1", second), keyed("1", second))[0]);
    auto sends = take_held_sends(place.outbox());
    if (std::string(second) == "same") CHECK((sends && sends->size() == 1));
    else CHECK((!sends && sends.error().code == ExitCode::bad_data));
  }
}

TEST_CASE("held sends: an empty outbox is gone, what is no record is an error") {
  Place place;
  place.open_outbox();
  auto none = take_held_sends(place.outbox());
  REQUIRE(none);
  CHECK(none->empty());
  CHECK(!std::filesystem::exists(place.outbox()));
  for (const char* text : {"x", "gw-outbox 2\n", "gw-outbox 1\nqueue q\n", "gw-outbox 1\nqueue q\n\n\n", "gw-outbox 1\nqueue ../q\nbody 0\n\n\n",
                           "gw-outbox 1\nqueue q\nbody 5\n\n\nx", "gw-outbox 1\nqueue q\nbody x\n\n\n", "gw-outbox 1\nqueue q\nbody 0\nother\n\n\n",
                           "gw-outbox 1\nqueue q\nbody-file ../../x.body 1 1\n\n\n", "gw-outbox 1\nqueue q\nbody-file none.body 1 1\n\n\n",
                           "gw-outbox 1\nqueue q\nkey s q 00 0 1\nbody 0\n\n\n", "gw-outbox 1\nqueue q\nbody 0\n\nno header\n\n"}) {
    CAPTURE(text);
    std::filesystem::remove_all(place.outbox() + ".sealed");
    place.open_outbox();
    place.write("1.send", text);
    CHECK(!take_held_sends(place.outbox()));
  }
  std::filesystem::remove_all(place.outbox() + ".sealed");
  place.open_outbox();
  place.write("2.send", "gw-outbox 1\nqueue q\nbody 1\n\n\n2");
  place.write("1.send", "gw-outbox 1\nqueue q\nbody 1\n\nA: b\n\n1gw-outbox 1\nqueue q\nbody 0\n\n\n");
  place.write(".3", "unfinished");
  auto sends = take_held_sends(place.outbox());
  REQUIRE_MESSAGE(sends, sends.error().text);
  REQUIRE(sends->size() == 3);
  CHECK(sends->at(0).message.headers.get("A") == "b");
  CHECK(sends->at(2).message.body.bytes() == "2");
}

TEST_CASE("held sends: what a message inherits") {
  Headers incoming;
  CHECK(related_headers(incoming).entries().empty());
  incoming.set(header::message_id, "in");
  CHECK(related_headers(incoming).get(header::correlation_id) == "in");
  incoming.set(header::correlation_id, "corr");
  incoming.set(header::conversation_id, "conv");
  const Headers related = related_headers(incoming);
  CHECK(related.get(header::related_to) == "in");
  CHECK(related.get(header::correlation_id) == "corr");
  CHECK(related.get(header::conversation_id) == "conv");
}
