#include "dedup_store.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "scratch.hpp"
#include "sqlite.hpp"
#include "units.hpp"

namespace {

using gw::DedupRow;
using gw::DedupStore;
using gw::Scratch;

std::unique_ptr<DedupStore> open_store(const std::string& root, const std::string& name = "Store1", bool create = true) {
  auto store = DedupStore::open(root, name, create);
  REQUIRE_MESSAGE(store, (store ? "" : store.error().text));
  return *std::move(store);
}

DedupRow row(const std::string& id, unsigned char body = 1, uint64_t seq = 7) {
  DedupRow r;
  r.scope = "Store1";
  r.id = id;
  r.xid = {42, seq};
  r.queue = "Store1";
  r.seq = seq;
  r.body_sha256.fill(body);
  r.seen_at_ms = 1'000'000;
  return r;
}

std::vector<DedupStore::Decision> decide(DedupStore& store, const std::vector<DedupRow>& rows, std::vector<uint32_t> groups = {}) {
  if (groups.empty())
    for (uint32_t i = 0; i < rows.size(); ++i) groups.push_back(i);
  auto decisions = store.decide(rows, groups);
  REQUIRE_MESSAGE(decisions, (decisions ? "" : decisions.error().text));
  return *std::move(decisions);
}

}  // namespace

TEST_CASE("dedup store: the first of an id wins and is remembered") {
  Scratch root;
  {
    auto store = open_store(root.path);
    auto first = decide(*store, {row("a"), row("b", 2, 8)});
    CHECK(first[0].inserted);
    CHECK(first[1].inserted);
  }
  auto store = open_store(root.path, "Store1", false);
  auto again = decide(*store, {row("a", 1, 99), row("c")});
  CHECK_FALSE(again[0].inserted);
  CHECK(again[0].existing.seq == 7);
  CHECK(again[0].existing.xid == gw::Xid{42, 7});
  CHECK(again[0].existing.body_sha256 == row("a").body_sha256);
  CHECK(again[1].inserted);
  auto found = store->find("Store1", "b");
  REQUIRE(found);
  REQUIRE(*found);
  CHECK((*found)->seq == 8);
  CHECK_FALSE(*store->find("Store1", "zzz"));
  CHECK_FALSE(*store->find("Store2", "a"));
}

TEST_CASE("dedup store: within one batch the earlier row wins") {
  Scratch root;
  auto store = open_store(root.path);
  auto d = decide(*store, {row("a", 1, 1), row("a", 1, 2), row("a", 5, 3)});
  CHECK(d[0].inserted);
  CHECK_FALSE(d[1].inserted);
  CHECK(d[1].existing.seq == 1);
  CHECK_FALSE(d[1].existing.other_body(row("a", 1)));
  CHECK(d[2].existing.other_body(row("a", 5)));
}

TEST_CASE("dedup store: a group is inserted all or none") {
  Scratch root;
  auto store = open_store(root.path);
  decide(*store, {row("old", 1)});
  SUBCASE("a conflict keeps the rest of its group out, and no other group") {
    auto d = decide(*store, {row("n1"), row("old", 2), row("n2"), row("other")}, {0, 0, 0, 1});
    CHECK_FALSE(d[0].inserted);
    CHECK(d[0].existing.id.empty());
    CHECK(d[1].existing.id == "old");
    CHECK_FALSE(d[2].inserted);
    CHECK(d[3].inserted);
    CHECK_FALSE(*store->find("Store1", "n1"));
  }
  SUBCASE("a duplicate with the same body hinders nobody") {
    auto d = decide(*store, {row("n1"), row("old", 1), row("n2")}, {3, 3, 3});
    CHECK(d[0].inserted);
    CHECK_FALSE(d[1].inserted);
    CHECK(d[2].inserted);
  }
  SUBCASE("groups need not be contiguous") {
    auto d = decide(*store, {row("n1"), row("x1"), row("old", 2), row("x2")}, {0, 1, 0, 1});
    CHECK_FALSE(d[0].inserted);
    CHECK(d[1].inserted);
    CHECK(d[3].inserted);
  }
}

TEST_CASE("dedup store: a marked id goes with any body") {
  Scratch root;
  auto store = open_store(root.path);
  std::vector<std::string> ids{"m1", "m2", "m1"};
  auto fresh = store->mark("Store1", ids);
  REQUIRE(fresh);
  CHECK(*fresh == std::vector<bool>{true, true, false});
  auto d = decide(*store, {row("m1", 9)});
  CHECK_FALSE(d[0].inserted);
  CHECK_FALSE(d[0].existing.other_body(row("m1", 9)));
}

TEST_CASE("dedup store: purge deletes what is before the cut, keeps what is in use, raises the horizon") {
  Scratch root;
  auto store = open_store(root.path);
  std::vector<DedupRow> rows;
  for (int i = 0; i < 5000; ++i) {
    rows.push_back(row("id-" + std::to_string(i), 1, static_cast<uint64_t>(i)));
    rows.back().seen_at_ms = 1000 + i;
  }
  decide(*store, rows);
  auto in_use = [](const gw::Xid& xid) { return xid.low == 10; };
  CHECK(*store->purge(4500 + 1000, in_use, true) == 4499);
  CHECK(*store->horizon_ms() == 0);
  CHECK(store->status()->rows == 5000);
  CHECK(*store->purge(4500 + 1000, in_use, false) == 4499);
  CHECK(*store->horizon_ms() == 5500);
  CHECK(store->status()->rows == 501);
  CHECK(*store->find("Store1", "id-10"));
  CHECK_FALSE(*store->find("Store1", "id-4499"));
  CHECK(*store->find("Store1", "id-4500"));
  // The horizon never goes back.
  CHECK(*store->purge(10, in_use, false) == 0);
  CHECK(*store->horizon_ms() == 5500);
}

TEST_CASE("dedup store: a new id from before the horizon is refused, a known one is a duplicate") {
  Scratch root;
  auto store = open_store(root.path);
  auto in_use = [](const gw::Xid&) { return false; };
  auto known = row("known");
  known.seen_at_ms = 9000;
  decide(*store, {known});
  REQUIRE(store->purge(5000, in_use, false));
  auto at = row("at"), after = row("after"), unknown_age = row("unknown-age");
  at.first_sent_ms = 5000;
  after.first_sent_ms = 5001;
  known.first_sent_ms = 4000;
  auto d = decide(*store, {at, after, unknown_age, known});
  CHECK(d[0].too_old);
  CHECK_FALSE(d[0].inserted);
  CHECK(d[1].inserted);
  CHECK(d[2].inserted);
  CHECK_FALSE(d[3].too_old);
  CHECK(d[3].existing.id == "known");
  CHECK_FALSE(*store->find("Store1", "at"));
  auto group = decide(*store, {row("with-old"), at}, {0, 0});
  CHECK_FALSE(group[0].inserted);
  CHECK_FALSE(*store->find("Store1", "with-old"));
}

TEST_CASE("dedup store: list visits every row once, oldest first, and can be stopped") {
  Scratch root;
  auto store = open_store(root.path);
  std::vector<DedupRow> rows;
  for (int i = 0; i < 2500; ++i) {
    rows.push_back(row("id-" + std::to_string(i)));
    rows.back().seen_at_ms = 1000 + i / 10;
  }
  decide(*store, rows);
  size_t count = 0;
  int64_t last = 0;
  REQUIRE(store->list([&](const DedupRow& r) {
    CHECK(r.seen_at_ms >= last);
    last = r.seen_at_ms;
    ++count;
    return true;
  }));
  CHECK(count == 2500);
  count = 0;
  REQUIRE(store->list([&](const DedupRow&) { return ++count < 1200; }));
  CHECK(count == 1200);
}

TEST_CASE("dedup store: absent, foreign, newer and wrongly named stores are refused") {
  Scratch root;
  auto absent = DedupStore::open(root.path, "Nobody", false);
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == gw::ExitCode::no_input);
  CHECK_FALSE(std::filesystem::exists(root.path + "/dedup"));
  for (const char* name : {"", ".x", "-x", "a/b", "+", "a b"}) {
    auto bad = DedupStore::open(root.path, name, true);
    REQUIRE_FALSE(bad);
    CHECK(bad.error().code == gw::ExitCode::usage);
  }
  open_store(root.path, "+local");
  CHECK(*gw::list_dedup_stores(root.path) == std::vector<std::string>{"+local"});
  std::ofstream(root.path + "/dedup/Foreign.db") << std::string(5000, 'f');
  auto foreign = DedupStore::open(root.path, "Foreign", true);
  REQUIRE_FALSE(foreign);
  CHECK(foreign.error().code == gw::ExitCode::system);
  REQUIRE(::symlink("+local.db", (root.path + "/dedup/Link.db").c_str()) == 0);
  CHECK_FALSE(DedupStore::open(root.path, "Link", true));
}

TEST_CASE("dedup store: files get the modes of the root") {
  Scratch root;
  open_store(root.path);
  struct stat st{};
  REQUIRE(::stat((root.path + "/dedup/Store1.db").c_str(), &st) == 0);
  CHECK((st.st_mode & 07777) == 0600);
  Scratch shared;
  REQUIRE(::chmod(shared.path.c_str(), 02770) == 0);
  auto store = open_store(shared.path);
  decide(*store, {row("a")});
  for (const char* name : {"Store1.db", "Store1.db-wal", "Store1.db-shm", "Store1.lock"}) {
    REQUIRE(::stat((shared.path + "/dedup/" + name).c_str(), &st) == 0);
    CHECK_MESSAGE((st.st_mode & 07777) == 0660, name);
  }
}

TEST_CASE("dedup store: one winner per id among threads and processes, and the database stays whole") {
  Scratch root;
  constexpr int processes = 3, ids = 400;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      auto store = DedupStore::open(root.path, "Store1", true);
      int wins = 0;
      if (!store) ::_exit(255);
      for (int i = 0; i < ids; i += 4) {
        std::vector<DedupRow> rows;
        std::vector<uint32_t> groups;
        for (uint32_t k = 0; k < 4; ++k) {
          rows.push_back(row("id-" + std::to_string(i + static_cast<int>(k)), 1, static_cast<uint64_t>(p)));
          groups.push_back(k);
        }
        auto d = (*store)->decide(rows, groups);
        if (!d) ::_exit(254);
        for (const auto& one : *d) wins += one.inserted;
      }
      std::ofstream(root.path + "/wins-" + std::to_string(p)) << wins;
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
  }
  int total = 0;
  for (int p = 0; p < processes; ++p) {
    int wins = 0;
    std::ifstream(root.path + "/wins-" + std::to_string(p)) >> wins;
    total += wins;
  }
  CHECK(total == ids);
  auto store = open_store(root.path);
  CHECK(store->status()->rows == ids);
  CHECK(store->check(false)->empty());

  std::atomic<int> wins{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        std::vector<DedupRow> rows{row("t-" + std::to_string(i))};
        std::vector<uint32_t> groups{0};
        auto d = store->decide(rows, groups);
        if (d && (*d)[0].inserted) ++wins;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(wins == 50);
}

TEST_CASE("dedup store: the log is emptied while it grows") {
  Scratch root;
  auto store = open_store(root.path);
  uintmax_t largest = 0;
  for (int batch = 0; batch < 60; ++batch) {
    std::vector<DedupRow> rows;
    for (int i = 0; i < 500; ++i) rows.push_back(row(std::to_string((batch * 500 + i) * 2654435761u) + "-" + std::to_string(batch)));
    decide(*store, rows);
    largest = std::max(largest, std::filesystem::file_size(root.path + "/dedup/Store1.db-wal"));
  }
  CHECK(largest < 20u << 20);
  CHECK(store->status()->rows == 30000);
  // The index has moved from level to level meanwhile: everything is found, nothing inserted again.
  CHECK(store->check(false)->empty());
  std::vector<DedupRow> again;
  for (int i = 0; i < 500; ++i) again.push_back(row(std::to_string((7 * 500 + i) * 2654435761u) + "-7"));
  for (const auto& d : decide(*store, again)) CHECK_FALSE(d.inserted);
  CHECK(*store->purge(INT64_MAX, [](const gw::Xid&) { return false; }, false) == 30000);
  CHECK(store->check(false)->empty());
}

TEST_CASE("dedup store: a full disk inserts nothing and is no damage") {
  Scratch root;
  pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    auto store = DedupStore::open(root.path, "Store1", true);
    std::vector<DedupRow> rows{row("a")};
    std::vector<uint32_t> groups{0};
    if (!store || !(*store)->decide(rows, groups)) ::_exit(2);
    // A limit on the size of files stands in for a full disk.
    ::signal(SIGXFSZ, SIG_IGN);
    struct rlimit small{40960, 40960};
    ::setrlimit(RLIMIT_FSIZE, &small);
    bool refused = false;
    for (int i = 0; i < 100 && !refused; ++i) {
      rows[0].id = "b-" + std::to_string(i);
      auto d = (*store)->decide(rows, groups);
      refused = !d;
      if (refused) std::ofstream(root.path + "/refused") << rows[0].id;
    }
    ::_exit(refused ? 0 : 3);
  }
  int status = 0;
  REQUIRE(::waitpid(pid, &status, 0) == pid);
  CHECK(status == 0);
  std::string refused_id;
  std::ifstream(root.path + "/refused") >> refused_id;
  auto store = open_store(root.path);
  CHECK(*store->find("Store1", "a"));
  CHECK_FALSE(*store->find("Store1", refused_id));
  CHECK(store->check(false)->empty());
}

TEST_CASE("dedup store: check finds damage, repair keeps the damaged file aside and what is readable") {
  Scratch root;
  std::string path = root.path + "/dedup/Store1.db";
  {
    auto store = open_store(root.path);
    std::vector<DedupRow> rows;
    for (int i = 0; i < 3000; ++i) rows.push_back(row("id-" + std::to_string(i)));
    decide(*store, rows);
    REQUIRE(store->purge(5, [](const gw::Xid&) { return false; }, false));
    CHECK(store->check(true)->empty());
  }
  // Without its log the file must hold everything first: open, write until the log is emptied.
  {
    auto store = open_store(root.path);
    for (int batch = 0; std::filesystem::file_size(path) < 400'000; ++batch) {
      REQUIRE(batch < 200);
      std::vector<DedupRow> rows;
      for (int i = 0; i < 500; ++i) rows.push_back(row("more-" + std::to_string(batch * 500 + i)));
      decide(*store, rows);
    }
  }
  std::filesystem::remove(path + "-wal");
  std::filesystem::remove(path + "-shm");
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(20 * 4096);
    file << std::string(4096, '\xee');
  }
  auto store = open_store(root.path);
  CHECK_FALSE(store->check(false)->empty());
  {
    auto second = open_store(root.path);
    auto busy = second->check(true);
    REQUIRE_FALSE(busy);
    CHECK(busy.error().code == gw::ExitCode::not_now);
  }
  auto repaired = store->check(true);
  REQUIRE_MESSAGE(repaired, (repaired ? "" : repaired.error().text));
  CHECK_FALSE(repaired->empty());
  CHECK(store->check(false)->empty());
  CHECK(store->status()->rows > 1000);
  bool aside = false;
  for (const auto& entry : std::filesystem::directory_iterator(root.path + "/dedup"))
    aside |= entry.path().filename().string().find("Store1.db.damaged-") == 0;
  CHECK(aside);
  CHECK(decide(*store, {row("after")})[0].inserted);
}

// --- data bus properties ------------------------------------------------------------------------------------------------

namespace {

using Outcome = DedupStore::PropertyOutcome;

gw::PropertyRow property(const std::string& id, const std::string& name, const std::string& key, unsigned char body = 1) {
  gw::PropertyRow p;
  p.scope = "Store1";
  p.id = id;
  p.name = name;
  p.key = key;
  p.sha256.fill(body);
  p.bytes = 5;
  p.received_at_ms = 1'000'000;
  return p;
}

DedupStore::AddedProperty add(DedupStore& store, const gw::PropertyRow& p, bool even_after_message = false) {
  REQUIRE(store.announce_blob(p.key));
  auto added = store.add_property(p, even_after_message);
  REQUIRE_MESSAGE(added, (added ? "" : added.error().text));
  return *added;
}

std::vector<std::string> purge_blobs(DedupStore& store, int64_t cut_ms) {
  std::vector<std::string> keys;
  auto count = store.purge_properties(cut_ms, [&](const std::string& key) { keys.push_back(key); return gw::Result<void>(); }, false);
  REQUIRE_MESSAGE(count, (count ? "" : count.error().text));
  CHECK(*count == keys.size());
  std::sort(keys.begin(), keys.end());
  return keys;
}

constexpr int64_t for_ever = INT64_MAX - 1;

}  // namespace

TEST_CASE("dedup store: the first property of a name stays, over restarts and in other connections") {
  Scratch root;
  {
    auto store = open_store(root.path);
    CHECK(add(*store, property("a", "H.One", "k1")).outcome == Outcome::stored);
  }
  auto store = open_store(root.path), other = open_store(root.path);
  auto again = add(*store, property("a", "h.one", "k2"));
  CHECK(again.outcome == Outcome::known);
  CHECK_FALSE(again.other_body);
  CHECK(add(*store, property("a", "H.ONE", "k3", 2)).other_body);
  CHECK(add(*store, property("a", "H.Two", "k4")).outcome == Outcome::stored);
  CHECK(add(*store, property("b", "H.One", "k5")).outcome == Outcome::stored);
  auto found = other->properties("Store1", "a", true);
  REQUIRE(found);
  CHECK_FALSE(found->message);
  REQUIRE(found->rows.size() == 2);
  CHECK(found->rows[0].name == "H.One");
  CHECK(found->rows[0].key == "k1");
  CHECK(found->rows[1].bytes == 5);
  CHECK(other->properties("Store2", "a", false)->rows.empty());
  REQUIRE(other->drop_properties("Store1", "a", false));
  CHECK(store->properties("Store1", "a", false)->rows.empty());
  CHECK(store->check(false)->empty());
}

TEST_CASE("dedup store: a property of a message that was accepted is not wanted, but by NServiceBus 3") {
  Scratch root;
  auto store = open_store(root.path);
  decide(*store, {row("a")});
  CHECK(add(*store, property("a", "H.One", "k1")).outcome == Outcome::message_known);
  CHECK(store->properties("Store1", "a", true)->message);
  CHECK(add(*store, property("a", "H.One", "k2"), true).outcome == Outcome::stored);
  auto later = gw::now_ms() + 1000;
  CHECK(purge_blobs(*store, later) == std::vector<std::string>{"k1"});  // k2 is the message's
  CHECK(store->properties("Store1", "a", false)->rows.empty());
}

TEST_CASE("dedup store: the blobs of a message stay even if its listener was killed before it had noted the acceptance") {
  Scratch root;
  auto store = open_store(root.path);
  add(*store, property("a", "H.One", "k1"));
  REQUIRE(store->properties("Store1", "a", true));
  decide(*store, {row("a")});
  CHECK(purge_blobs(*store, for_ever).empty());
  REQUIRE(store->purge(for_ever, [](const gw::Xid&) { return false; }, false));
  CHECK(store->properties("Store1", "a", false)->rows.empty());
  CHECK(purge_blobs(*store, for_ever).empty());
}

TEST_CASE("dedup store: purge takes the blobs that nobody owns, and no others") {
  Scratch root;
  auto store = open_store(root.path);
  const int64_t later = gw::now_ms() + 1000;
  REQUIRE(store->announce_blob("announced"));
  add(*store, property("never-came", "H.One", "orphan"));
  add(*store, property("about-to", "H.One", "leased"));
  add(*store, property("came", "H.One", "owned"));
  add(*store, property("dropped", "H.One", "dropped"));
  REQUIRE(store->properties("Store1", "about-to", true));
  REQUIRE(store->drop_properties("Store1", "came", false));
  REQUIRE(store->drop_properties("Store1", "dropped", true));
  CHECK(purge_blobs(*store, 1'000'000).empty());
  CHECK(*store->purge_properties(later, [](const std::string&) { return gw::Result<void>(); }, true) == 3);
  // A file that cannot be removed is tried again.
  auto failed = store->purge_properties(later, [](const std::string& key) { return gw::Result<void>(gw::Error{gw::ExitCode::system, 0, key}); }, false);
  CHECK_FALSE(failed);
  // Who is still receiving a blob that is being removed does not become its owner.
  CHECK_FALSE(store->add_property(property("slow", "H.One", "announced"), false));
  CHECK(store->properties("Store1", "slow", false)->rows.empty());
  CHECK(purge_blobs(*store, 0) == std::vector<std::string>{"announced", "dropped", "orphan"});
  CHECK(purge_blobs(*store, for_ever).empty());
  CHECK(store->properties("Store1", "about-to", false)->rows.size() == 1);
  CHECK(store->check(false)->empty());
}

TEST_CASE("dedup store: one that was made before there were properties gets them; repair keeps them") {
  Scratch root;
  {
    auto store = open_store(root.path);
    decide(*store, {row("a")});
  }
  std::string path = root.path + "/dedup/Store1.db";
  {
    auto db = gw::SqliteDatabase::open(path, false);
    REQUIRE(db);
    REQUIRE((*db)->exec("DROP TABLE property; DROP TABLE stray"));
  }
  auto store = open_store(root.path);
  CHECK(*store->find("Store1", "a"));
  add(*store, property("b", "H.One", "k1"));
  REQUIRE(store->announce_blob("k2"));
  {
    auto db = gw::SqliteDatabase::open(path, false);
    REQUIRE(db);
    // What rebuilding the index does not mend.
    REQUIRE((*db)->exec("UPDATE seen SET body_sha256 = x'00'; INSERT INTO property VALUES('Store1', '', 'n', 'k3', x'00', 1, 1, 0)"));
  }
  auto repaired = store->check(true);
  REQUIRE_MESSAGE(repaired, (repaired ? "" : repaired.error().text));
  CHECK(repaired->size() >= 2);
  auto found = store->properties("Store1", "b", true);
  REQUIRE(found);
  REQUIRE(found->rows.size() == 1);
  CHECK(found->rows[0].key == "k1");
  REQUIRE(store->drop_properties("Store1", "b", true));
  CHECK(purge_blobs(*store, for_ever) == std::vector<std::string>{"k1", "k2"});
}
