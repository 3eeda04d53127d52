#include <doctest/doctest.h>

#include <random>

#include "tools/distributor/ready_table.hpp"

using namespace gw;
using namespace gw::distributor;

namespace {

using Kind = ControlMessage::Kind;

constexpr int64_t lease_ms = 30'000;

ControlMessage control(Kind kind, const std::string& worker, const std::string& session, std::vector<HandOut> hand_outs = {}) {
  ControlMessage message;
  message.kind = kind;
  message.worker = worker;
  message.session = session;
  message.hand_outs = std::move(hand_outs);
  message.lists = true;
  return message;
}

/// A table and what would be stored of it.
struct Fixture {
  ReadyTable table;
  uint64_t next_seq = 1;
  int64_t now = 1000;

  ReadyTable::Changes store() {
    auto changes = table.changes(100);
    std::vector<uint64_t> fresh, records;
    for (auto [worker, tokens] : changes.fresh)
      for (unsigned i = 0; i < tokens; ++i) fresh.push_back(next_seq++);
    for (size_t i = 0; i < changes.records.size(); ++i) records.push_back(next_seq++);
    table.stored(changes, fresh, records, now);
    return changes;
  }
  void start(const std::string& worker, const std::string& session, unsigned capacity) {
    ControlMessage message = control(Kind::starting, worker, session);
    message.capacity = capacity;
    table.starting(message, now, now);
    store();
  }
  HandOut hand_out(uint64_t work) {
    auto taken = table.take(work, now);
    store();
    return {taken.slot, work};
  }
  ReadyTable::Returned give_back(const std::string& worker, const std::string& session, std::vector<HandOut> hand_outs) {
    auto result = table.returned(control(Kind::returned, worker, session, std::move(hand_outs)), now);
    store();
    return result;
  }
  size_t tokens(const std::string& worker) { return table.find(worker)->free.size(); }
  size_t out(const std::string& worker) { return table.find(worker)->out.size(); }
};

}  // namespace

TEST_CASE("ready table: a worker has as many tokens as its capacity, given out in the order of readiness") {
  Fixture f;
  f.start("a", "s1", 2);
  f.start("b", "s1", 1);
  CHECK(f.table.available() == 3);
  HandOut first = f.hand_out(1), second = f.hand_out(2), third = f.hand_out(3);
  CHECK(f.table.available() == 0);
  CHECK(f.out("a") == 2);
  CHECK(f.out("b") == 1);
  f.give_back("b", "s1", {third});
  f.give_back("a", "s1", {second, first});
  CHECK(f.hand_out(4).slot == third.slot);
  CHECK(f.hand_out(5).slot == second.slot);
  CHECK(f.hand_out(6).slot == first.slot);
}

TEST_CASE("ready table: what comes back and goes out again in one turn is not written") {
  Fixture f;
  f.start("a", "s", 1);
  HandOut first = f.hand_out(1);
  f.table.returned(control(Kind::returned, "a", "s", {first}), f.now);
  auto taken = f.table.take(2, f.now);
  CHECK(taken.slot == first.slot);
  CHECK(f.store().empty());
  CHECK(f.give_back("a", "s", {first}).ignored.size() == 1);
  CHECK(f.give_back("a", "s", {{taken.slot, 2}}).applied == 1);
  CHECK(f.tokens("a") == 1);
}

TEST_CASE("ready table: a return counts once, and only from the worker that has it") {
  Fixture f;
  f.start("a", "s", 2);
  f.start("b", "s", 2);
  HandOut one = f.hand_out(7);
  CHECK(f.give_back("b", "s", {one}).ignored.size() == 1);
  CHECK(f.give_back("a", "s", {{one.slot, 8}}).ignored.size() == 1);
  CHECK(f.give_back("a", "s", {{99, 7}}).ignored.size() == 1);
  CHECK(f.give_back("a", "s", {}).applied == 0);
  CHECK(f.give_back("nobody", "s", {one}).ignored.size() == 1);
  CHECK(f.tokens("a") == 1);
  CHECK(f.give_back("a", "s", {one, one}).applied == 1);
  CHECK(f.tokens("a") == 2);
}

TEST_CASE("ready table: a restarted worker has its capacity once, and what it still has counts") {
  Fixture f;
  f.start("a", "s1", 4);
  HandOut one = f.hand_out(1), two = f.hand_out(2);
  f.start("a", "s2", 4);
  CHECK(f.tokens("a") == 2);
  CHECK(f.out("a") == 2);
  CHECK(f.give_back("a", "s2", {one}).applied == 1);
  CHECK(f.give_back("a", "s1", {two}).applied == 1);  // the slot counts, not the session
  CHECK(f.tokens("a") == 4);
  f.start("a", "s3", 4);
  f.start("a", "s3", 4);  // told twice
  CHECK(f.tokens("a") == 4);
  f.start("a", "s4", 1);
  CHECK(f.tokens("a") == 1);
}

TEST_CASE("ready table: a start that was overtaken by a later one counts for nothing") {
  Fixture f;
  ControlMessage first = control(Kind::starting, "a", "s1"), second = control(Kind::starting, "a", "s2");
  first.capacity = second.capacity = 2;
  first.since_ms = 5000;
  second.since_ms = 6000;
  CHECK(f.table.starting(second, f.now, 1));
  CHECK(!f.table.starting(first, f.now, 1));
  CHECK(f.table.find("a")->session == "s2");
  CHECK(f.table.starting(second, f.now, 1));
}

TEST_CASE("ready table: a smaller capacity than what is out") {
  Fixture f;
  f.start("a", "s1", 3);
  HandOut one = f.hand_out(1), two = f.hand_out(2), three = f.hand_out(3);
  f.start("a", "s2", 1);
  CHECK(f.tokens("a") == 0);
  CHECK(f.out("a") == 1);
  auto result = f.give_back("a", "s2", {one, two, three});
  CHECK(result.applied == 1);
  CHECK(f.tokens("a") == 1);
}

TEST_CASE("ready table: drained is without tokens until it is resumed, also for the next session") {
  Fixture f;
  f.start("a", "s", 2);
  HandOut one = f.hand_out(1);
  CHECK(f.table.drain("a"));
  f.store();
  CHECK(f.table.find("a")->state() == WorkerState::draining);
  CHECK(f.table.available() == 0);
  f.give_back("a", "s", {one});
  CHECK(f.table.find("a")->state() == WorkerState::drained);
  CHECK(f.tokens("a") == 0);
  f.start("a", "s2", 2);
  CHECK(f.table.find("a")->state() == WorkerState::drained);
  CHECK(f.table.resume("a"));
  f.store();
  CHECK(f.tokens("a") == 2);
  CHECK(!f.table.drain("nobody"));
}

TEST_CASE("ready table: unregistered until it starts anew") {
  Fixture f;
  f.start("a", "s", 2);
  HandOut one = f.hand_out(1);
  CHECK(f.table.unregister("a"));
  CHECK(!f.table.unregister("a"));
  f.store();
  CHECK(f.out("a") == 1);  // the worker may still be at work on it
  f.start("a", "s1", 2);
  CHECK(f.tokens("a") == 1);
  f.table.unregister("a");
  f.store();
  CHECK(f.give_back("a", "s", {one}).applied == 1);
  CHECK(f.table.slots().empty());
  CHECK(!f.table.heartbeat(control(Kind::heartbeat, "a", "s"), f.now).known);
  CHECK(f.table.available() == 0);
  f.start("a", "s2", 2);
  CHECK(f.tokens("a") == 2);
  f.table.unregister("a");
  f.table.nothing_left(*f.table.find("a"));
  CHECK(f.store().forgotten.size() == 1);
  CHECK(f.table.find("a") == nullptr);
}

TEST_CASE("ready table: silent, and back; gone, and back only in a new session") {
  Fixture f;
  f.start("a", "s", 3);
  HandOut one = f.hand_out(1);
  f.table.silent(*f.table.find("a"));
  f.store();
  CHECK(f.table.find("a")->state() == WorkerState::dead);
  CHECK(f.table.available() == 0);
  CHECK(!f.table.heartbeat(control(Kind::heartbeat, "a", "old"), f.now).known);
  auto alive = f.table.heartbeat(control(Kind::heartbeat, "a", "s", {one}), f.now);
  CHECK(alive.was_silent);
  f.store();
  CHECK(f.tokens("a") == 2);
  CHECK(f.out("a") == 1);
  f.table.gone(*f.table.find("a"));
  f.store();
  CHECK(!f.table.heartbeat(control(Kind::heartbeat, "a", "s"), f.now).known);
  f.table.taken_back({one.slot, one.work + 1});
  CHECK(f.out("a") == 1);
  f.table.taken_back(one);
  f.store();
  CHECK(f.out("a") == 0);
  CHECK(f.table.slots().empty());
  f.start("a", "s2", 3);
  CHECK(f.tokens("a") == 3);
}

TEST_CASE("ready table: a hand-out that the worker does not have any more is free again after a lease, seen twice") {
  Fixture f;
  f.start("a", "s", 2);
  HandOut one = f.hand_out(1), two = f.hand_out(2);
  auto beat = [&](std::vector<HandOut> holds) { return f.table.missing(control(Kind::heartbeat, "a", "s", std::move(holds)), f.now, lease_ms); };
  CHECK(beat({two}).empty());  // perhaps still on its way
  f.now += lease_ms;
  CHECK(beat({two}).empty());
  CHECK(beat({one, two}).empty());
  CHECK(beat({two}).empty());
  CHECK(beat({two}) == std::vector<HandOut>{one});
  f.store();
  CHECK(f.tokens("a") == 1);
  CHECK(f.give_back("a", "s", {one}).applied == 0);
}

TEST_CASE("ready table: a worker of the original returns by number, never more than it has") {
  Fixture f;
  ControlMessage start = control(Kind::starting, "a", "s");
  start.capacity = 2;
  start.lists = false;
  f.table.starting(start, f.now, f.now);
  f.store();
  f.hand_out(1);
  ControlMessage back = control(Kind::returned, "a", "s");
  back.capacity = 5;
  CHECK(f.table.returned(back, f.now).applied == 1);
  f.store();
  CHECK(f.table.returned(back, f.now).applied == 0);
  CHECK(f.tokens("a") == 2);
  back.session = "old";
  f.hand_out(2);
  CHECK(f.table.returned(back, f.now).applied == 0);
}

TEST_CASE("ready table: loading what was stored") {
  ReadyTable table;
  WorkerRecord record;
  record.name = "a";
  record.session = "s";
  record.capacity = 3;
  record.seq = 7;
  table.load(record, 0);
  record.seq = 4;
  record.session = "older";
  table.load(record, 0);
  CHECK(table.find("a")->session == "s");
  CHECK(table.load_slot(1, "a", true, 0));
  CHECK(table.load_slot(2, "a", false, 0));
  CHECK(!table.load_slot(3, "b", false, 0));
  table.load_hand_out({1, 40});
  table.load_hand_out({1, 50});
  table.load_hand_out({2, 60});  // its token is free: that message was settled
  table.loaded();
  CHECK(table.out_on(1) == HandOut{1, 50});
  auto changes = table.changes(10);
  CHECK(changes.fresh.size() == 1);
  CHECK(changes.fresh[0].second == 1);
  CHECK(changes.forgotten == std::vector<uint64_t>{4});
  CHECK(table.returned(control(Kind::returned, "a", "s", {{1, 40}}), 0).applied == 0);
  CHECK(table.returned(control(Kind::returned, "a", "s", {{1, 50}}), 0).applied == 1);
}

TEST_CASE("ready table: blocked workers are passed over") {
  Fixture f;
  f.start("a", "s", 2);
  f.start("b", "s", 1);
  f.table.block(*f.table.find("a"));
  CHECK(f.table.available() == 1);
  CHECK(f.table.take(1, 0).worker->name == "b");
  CHECK(f.table.available() == 0);
  f.table.unblock();
  CHECK(f.table.available() == 2);
  CHECK(f.table.take(2, 0).worker->name == "a");
  CHECK(f.table.take(3, 0).worker->name == "a");
}

TEST_CASE("ready table: whatever happens, tokens = capacity - out for ready workers, none for others, and what is stored says so") {
  std::mt19937 random(7);
  auto dice = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
  for (int run = 0; run < 30; ++run) {
    Fixture f;
    std::map<uint64_t, bool> storage;  // slot: out?
    std::vector<std::pair<std::string, HandOut>> out;
    uint64_t work = 1;
    auto store = [&] {
      const uint64_t first = f.next_seq;
      auto changes = f.store();
      uint64_t seq = first;
      for (uint64_t slot : changes.to_out) {
        REQUIRE((storage.count(slot) && !storage[slot]));
        storage[slot] = true;
      }
      for (uint64_t slot : changes.to_free) {
        REQUIRE((storage.count(slot) && storage[slot]));
        storage[slot] = false;
      }
      for (uint64_t slot : changes.voided) REQUIRE(storage.erase(slot) == 1);
      for (auto [worker, tokens] : changes.fresh)
        for (unsigned i = 0; i < tokens; ++i) storage[seq++] = false;
    };
    for (int step = 0; step < 400; ++step) {
      const std::string worker(1, static_cast<char>('a' + dice(4)));
      Worker* known = f.table.find(worker);
      const std::string session = known ? known->session : "s";
      switch (dice(10)) {
        case 0: {
          ControlMessage start = control(Kind::starting, worker, "s" + std::to_string(step));
          start.capacity = dice(6);
          f.table.starting(start, f.now, f.now);
          break;
        }
        case 1: f.table.drain(worker); break;
        case 2: f.table.resume(worker); break;
        case 3: if (dice(4) == 0) f.table.unregister(worker); break;
        case 4: if (known) f.table.silent(*known); break;
        case 5: f.table.heartbeat(control(Kind::heartbeat, worker, session), f.now); break;
        case 6: if (known && dice(4) == 0) f.table.gone(*known); break;
        case 7:
          if (!out.empty()) {
            auto one = out[dice(static_cast<unsigned>(out.size()))];  // also twice, and of old sessions
            f.table.returned(control(Kind::returned, one.first, "x", {one.second}), f.now);
          }
          break;
        default:
          if (f.table.available() > 0) {
            auto taken = f.table.take(work, f.now);
            out.push_back({taken.worker->name, {taken.slot, work++}});
          }
      }
      if (dice(3) > 0) continue;  // several events in one turn
      store();
      size_t available = 0;
      for (Worker* w : f.table.workers()) {
        const bool ready = w->state() == WorkerState::ready;
        REQUIRE(w->free.size() == (ready ? w->capacity - w->out.size() : 0));
        REQUIRE(w->out.size() <= w->capacity);
        available += w->free.size();
        for (uint64_t slot : w->free) REQUIRE((storage.count(slot) && !storage[slot]));
        for (uint64_t slot : w->out) REQUIRE((storage.count(slot) && storage[slot]));
      }
      REQUIRE(f.table.available() == available);
      REQUIRE(storage.size() == f.table.slots().size());
    }
  }
}

TEST_CASE("worker messages: as text and back") {
  ControlMessage start = control(Kind::starting, "q@m", "s1");
  start.capacity = 12;
  auto parsed = parse_control(to_message(start));
  REQUIRE(parsed);
  CHECK(parsed->kind == Kind::starting);
  CHECK(parsed->worker == "q@m");
  CHECK(parsed->session == "s1");
  CHECK(parsed->capacity == 12);
  CHECK(parsed->lists);
  ControlMessage back = control(Kind::returned, "q@m", "s1", {{1, 2}, {18446744073709551615ull, 4}});
  back.done = 2;
  back.failed = 3;
  Message message = to_message(back);
  CHECK(message.headers.get("NServiceBus.Distributor.WorkerCapacityAvailable") == "2");
  CHECK(message.headers.get("NServiceBus.ControlMessage") == "True");
  parsed = parse_control(message);
  REQUIRE(parsed);
  CHECK(parsed->hand_outs == back.hand_outs);
  CHECK(parsed->done == 2);
  CHECK(parsed->failed == 3);
  for (Kind kind : {Kind::heartbeat, Kind::stopping, Kind::unregister, Kind::drain, Kind::resume}) {
    parsed = parse_control(to_message(control(kind, "q@m", "s1")));
    REQUIRE(parsed);
    CHECK(parsed->kind == kind);
    CHECK(parsed->worker == "q@m");
  }
  CHECK(parse_lease(lease_message(1500)) == 1500);
  CHECK(!parse_lease(Message()));
}

TEST_CASE("worker messages: how long it took; what cannot be read is left out") {
  ControlMessage back = control(Kind::returned, "q@m", "s1", {{1, 2}, {3, 4}});
  back.times = {{1.25, 0.5}, {0, 0.0009}};
  Message message = to_message(back);
  CHECK(message.headers.get("Gatepost.Times") == "1250/500 0/0");
  auto parsed = parse_control(message);
  REQUIRE(parsed.has_value());
  REQUIRE(parsed->times.size() == 2);
  CHECK(parsed->times[0].critical_s == doctest::Approx(1.25));
  CHECK(parsed->times[0].processing_s == doctest::Approx(0.5));
  message.headers.set("Gatepost.Times", "7 x/1  5/ -1/2 40/30");
  parsed = parse_control(message);
  REQUIRE((parsed.has_value() && parsed->times.size() == 1));
  CHECK(parsed->times[0].critical_s == doctest::Approx(0.04));
}

TEST_CASE("worker messages: what is none") {
  auto refuse = [](std::initializer_list<std::pair<const char*, const char*>> headers) {
    Message message;
    for (auto [name, value] : headers) message.headers.set(name, value);
    auto parsed = parse_control(message);
    REQUIRE(!parsed);
    CHECK(parsed.error().code == ExitCode::bad_data);
    return parsed.error().text;
  };
  constexpr const char *control = "NServiceBus.ControlMessage", *capacity = "NServiceBus.Distributor.WorkerCapacityAvailable", *reply = "NServiceBus.ReplyToAddress";
  refuse({});
  refuse({{capacity, "1"}, {reply, "q@m"}});
  refuse({{control, "False"}, {capacity, "1"}, {reply, "q@m"}});
  refuse({{control, "True"}, {capacity, "1"}});
  refuse({{control, "True"}, {reply, "q@m"}});
  refuse({{control, "True"}, {capacity, "-1"}, {reply, "q@m"}});
  refuse({{control, "True"}, {capacity, "1000000"}, {reply, "q@m"}});
  refuse({{control, "True"}, {capacity, "1"}, {reply, "q@m"}, {"Gatepost.HandOuts", "1.2,3.4"}});
  refuse({{control, "True"}, {"NServiceBus.Distributor.UnregisterWorker", ""}});
}
