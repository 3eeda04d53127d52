#include <doctest/doctest.h>

#include <sys/stat.h>

#include <thread>

#include "outcome_store.hpp"
#include "scratch.hpp"
#include "sqlite.hpp"
#include "units.hpp"

using namespace gw;

namespace {

RootClock now_clock() { return {now_ms(), 0, true}; }

Outcome outcome(const std::string& id, const std::string& site, OutcomeState state, int64_t since) {
  Outcome o;
  o.id = id;
  o.site = site;
  o.state = state;
  o.since_ms = since;
  return o;
}

}  // namespace

TEST_CASE("outcome_store: the latest row of each site") {
  Scratch dir;
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE(store);
  Outcome failed = outcome("m1", "A", OutcomeState::stored, 1000);
  failed.attempts = 1;
  failed.status = 503;
  failed.reason = "503 Busy";
  failed.next_try_ms = 61'000;
  const std::vector<Outcome> first{failed, outcome("m1", "B", OutcomeState::delivered, 1001), outcome("m2", "A", OutcomeState::failed, 1002)};
  REQUIRE((*store)->record(now_clock(), first));
  auto found = (*store)->find("m1", "A");
  REQUIRE((found && *found));
  CHECK((*found)->state == OutcomeState::stored);
  CHECK((*found)->reason == "503 Busy");
  CHECK((*found)->status == 503);
  CHECK((*found)->next_try_ms == 61'000);
  REQUIRE((*store)->record(now_clock(), std::vector<Outcome>{outcome("m1", "A", OutcomeState::delivered, 2000)}));
  auto all = (*store)->find("m1");
  REQUIRE(all);
  CHECK(all->size() == 2);
  for (const Outcome& o : *all) CHECK(o.state == OutcomeState::delivered);
  CHECK((*store)->find("nobody")->empty());
}

TEST_CASE("outcome_store: another process sees it, files are private") {
  Scratch dir;
  CHECK(OutcomeStore::open(dir.path, false).error().code == ExitCode::no_input);
  auto writer = OutcomeStore::open(dir.path, true);
  REQUIRE(writer);
  auto reader = OutcomeStore::open(dir.path, false);
  REQUIRE(reader);
  REQUIRE((*writer)->record(now_clock(), std::vector<Outcome>{outcome("m", "A", OutcomeState::expired, 5)}));
  auto found = (*reader)->find("m");
  REQUIRE((found && found->size() == 1));
  CHECK((*found)[0].state == OutcomeState::expired);
  struct stat file {};
  REQUIRE(::stat((dir.path + "/outcomes.db").c_str(), &file) == 0);
  CHECK((file.st_mode & 0777) == 0600);
}

TEST_CASE("outcome_store: many rows move to their place and stay findable") {
  Scratch dir;
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE(store);
  const int batches = 300, batch = 40;  // three moves
  for (int b = 0; b < batches; ++b) {
    std::vector<Outcome> rows;
    for (int i = 0; i < batch; ++i) {
      // Every message comes twice: first it failed, later it is there.
      const int n = b * batch + i, message = n / 2;
      rows.push_back(outcome("m" + std::to_string(message), "A", n % 2 ? OutcomeState::delivered : OutcomeState::stored, n));
      rows.back().reason = std::string(static_cast<size_t>(n % 50), 'r');
    }
    REQUIRE((*store)->record(now_clock(), rows));
  }
  int64_t left = 0, moved = 0;
  {
    auto db = SqliteDatabase::open(dir.path + "/outcomes.db", false);
    REQUIRE(db);
    left = *(*db)->query_integer("SELECT coalesce(sum(count), 0) FROM recent");
    moved = *(*db)->query_integer("SELECT count(*) FROM outcomes");
  }
  CHECK(left < 4096);
  CHECK(moved >= (batches * batch - left) / 2);
  for (int message = 0; message < batches * batch / 2; message += 7) {
    auto found = (*store)->find("m" + std::to_string(message), "A");
    REQUIRE((found && *found));
    CHECK((*found)->state == OutcomeState::delivered);
    CHECK((*found)->since_ms == message * 2 + 1);
    CHECK((*found)->reason.size() == static_cast<size_t>((message * 2 + 1) % 50));
  }
  REQUIRE((*store)->forget_before(now_ms() + 2 * 3600 * 1000));
  CHECK((*store)->find("m5")->empty());
  CHECK((*store)->find("m" + std::to_string(batches * batch / 2 - 1))->empty());
}

TEST_CASE("outcome_store: a store of version 1 is read and gets what is new") {
  Scratch dir;
  REQUIRE(OutcomeStore::open(dir.path, true));
  {
    auto db = SqliteDatabase::open(dir.path + "/outcomes.db", false);
    REQUIRE(db);
    REQUIRE((*db)->exec("DROP TABLE recent; ALTER TABLE sites DROP COLUMN probe_interval; PRAGMA user_version=1"));
  }
  auto store = OutcomeStore::open(dir.path, false);
  REQUIRE(store);
  REQUIRE((*store)->record(now_clock(), std::vector<Outcome>{outcome("m", "A", OutcomeState::delivered, 5)}));
  CHECK((*store)->find("m")->size() == 1);
}

TEST_CASE("outcome_store: sites and probes") {
  Scratch dir;
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE(store);
  SiteRecord record{"A", false, 100, 200, "connection refused", 60'000};
  REQUIRE((*store)->record(now_clock(), {}, std::vector<SiteRecord>{record}));
  record = {"A", true, 0, 0, "", 0};
  REQUIRE((*store)->record(now_clock(), {}, std::vector<SiteRecord>{record}));
  auto sites = (*store)->sites();
  REQUIRE((sites && sites->size() == 1));
  CHECK((*sites)[0].up);
  CHECK((*sites)[0].last_delivered_ms == 100);  // never goes back
  CHECK((*sites)[0].last_error == "connection refused");
  REQUIRE((*store)->ask_for_probe(std::vector<std::string>{"A", "B"}, 7));
  REQUIRE((*store)->ask_for_probe(std::vector<std::string>{"B"}, 9));
  auto asked = (*store)->probes_asked();
  REQUIRE(asked);
  CHECK(*asked == std::vector<std::pair<std::string, int64_t>>{{"A", 7}, {"B", 9}});
}

TEST_CASE("outcome_store: old outcomes go, whole hours at a time") {
  Scratch dir;
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE(store);
  REQUIRE((*store)->record(now_clock(), std::vector<Outcome>{outcome("m", "A", OutcomeState::delivered, now_ms())}));
  REQUIRE((*store)->forget_before(now_ms() - outcome_keep_ms));
  CHECK((*store)->find("m")->size() == 1);
  REQUIRE((*store)->forget_before(now_ms() + 2 * 3600 * 1000));
  CHECK((*store)->find("m")->empty());
}

TEST_CASE("outcome_store: a clock that is behind or suspicious forgets nothing, and one that was ahead hides nothing") {
  Scratch dir;
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE(store);
  const int64_t now = now_ms(), month = 30ll * 24 * 3600 * 1000;
  REQUIRE((*store)->record({now, 0, true}, std::vector<Outcome>{outcome("old", "A", OutcomeState::delivered, now)}));
  REQUIRE((*store)->record({now + month, 0, false}, std::vector<Outcome>{outcome("m", "A", OutcomeState::stored, now + month)}));
  CHECK((*store)->find("old")->size() == 1);
  REQUIRE((*store)->record({now, 0, true}, std::vector<Outcome>{outcome("m", "A", OutcomeState::delivered, now)}));
  const auto found = (*store)->find("m");
  REQUIRE(found->size() == 1);
  CHECK(found->at(0).state == OutcomeState::delivered);
  REQUIRE((*store)->record({now + month, 0, true}, std::vector<Outcome>{outcome("n", "A", OutcomeState::stored, 1)}));
  CHECK((*store)->find("old")->empty());
}

TEST_CASE("outcome_store: a store of version 2 gets what it lacks") {
  Scratch dir;
  { REQUIRE(OutcomeStore::open(dir.path, true)); }
  {
    auto db = SqliteDatabase::open(dir.path + "/outcomes.db", false);
    REQUIRE(db);
    REQUIRE((*db)->exec("ALTER TABLE sites DROP COLUMN probe_interval; INSERT INTO sites VALUES('A',0,1,2,'x'); PRAGMA user_version=2"));
  }
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE_MESSAGE(store, store.error().text);
  auto sites = (*store)->sites();
  REQUIRE(sites);
  REQUIRE(sites->size() == 1);
  CHECK(sites->at(0).next_try_ms == 2);
  CHECK(sites->at(0).last_error == "x");
}

TEST_CASE("outcome_store: many writers and a long log") {
  Scratch dir;
  auto keep = OutcomeStore::open(dir.path, true);
  REQUIRE(keep);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      auto store = OutcomeStore::open(dir.path, false);
      for (int batch = 0; store && batch < 20; ++batch) {
        std::vector<Outcome> rows;
        for (int i = 0; i < 100; ++i)
          rows.push_back(outcome(std::to_string(t) + "-" + std::to_string(batch) + "-" + std::to_string(i), "A", OutcomeState::delivered, 1));
        if (!(*store)->record(now_clock(), rows)) return;
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) CHECK((*keep)->find(std::to_string(t) + "-19-99")->size() == 1);
}

TEST_CASE("outcome_store: a foreign file is refused") {
  Scratch dir;
  auto db = SqliteDatabase::open(dir.path + "/outcomes.db", true);
  REQUIRE(db);
  REQUIRE((*db)->exec("CREATE TABLE mine(x); PRAGMA user_version=9"));
  auto store = OutcomeStore::open(dir.path, true);
  REQUIRE_FALSE(store);
  CHECK(store.error().code == ExitCode::system);
}
