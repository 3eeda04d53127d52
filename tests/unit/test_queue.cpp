#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "hash.hpp"
#include "queue.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;
namespace fs = std::filesystem;

namespace {

/// Roots in a directory of their own.
struct Place : Scratch {
  std::unique_ptr<Root> open(const std::string& name = "root", uint64_t min_free = 0) { return open_root(path + "/" + name, "here", min_free); }
  /// What a power loss that lost nothing leaves: another identity, so the copy goes through boot recovery.
  std::unique_ptr<Root> open_copy(const char* from, const char* to) {
    fs::copy(path + "/" + from, path + "/" + to, fs::copy_options::recursive);
    return open(to);
  }
};

void put(Root& root, const Queue& queue, const std::string& id, std::string body = "body", PutOptions options = {}) {
  Transaction t;
  t.put(queue, message_with(id, std::move(body)), std::move(options));
  auto done = root.commit(std::move(t));
  REQUIRE_MESSAGE(done, (done ? "" : done.error().text));
}

std::vector<std::string> take_all(Root& root, Queue& queue) {
  std::vector<std::string> ids;
  for (;;) {
    auto claims = queue.claim(10);
    REQUIRE(claims);
    if (claims->empty()) return ids;
    for (auto& c : *claims) {
      ids.push_back(c.message().id());
      Transaction t;
      t.ack(std::move(c));
      REQUIRE(root.commit(std::move(t)));
    }
  }
}

Queue queue(Root& root, const char* name) {
  auto q = root.create_queue(name);
  REQUIRE(q);
  return *q;
}

using Ids = std::vector<std::string>;

}  // namespace

TEST_CASE("queue: names") {
  CHECK(queue_name_ok("Sales.gateway-1_x"));
  CHECK(queue_name_ok(std::string(150, 'a')));
  for (std::string bad : {"", ".x", "-x", "a/b", "../x", "a b", "ü"}) CHECK_MESSAGE(!queue_name_ok(bad), bad);
  CHECK(!queue_name_ok(std::string(151, 'a')));
}

TEST_CASE("queue: what was put comes out, in order, once") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  for (int i = 0; i < 500; i++) put(*root, q, "id-" + std::to_string(i), std::string(static_cast<size_t>(i * 3), 'x'));
  auto ids = take_all(*root, q);
  REQUIRE(ids.size() == 500);
  for (int i = 0; i < 500; i++) CHECK(ids[static_cast<size_t>(i)] == "id-" + std::to_string(i));
  CHECK(take_all(*root, q).empty());
  auto status = q.status();
  REQUIRE(status);
  CHECK(status->puts_total == 500);
  CHECK(status->acks_total == 500);
}

TEST_CASE("queue: a claim excludes others, keeps its place when given back, counts deliveries") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  for (auto id : {"a", "b", "c"}) put(*root, q, id);
  {
    auto first = q.claim(1), second = q.claim(1);
    REQUIRE(first);
    REQUIRE(second);
    CHECK((*first)[0].message().id() == "a");
    CHECK((*second)[0].message().id() == "b");
    CHECK((*first)[0].info().owner_pid == getpid());
  }
  auto again = q.claim(3);
  REQUIRE(again);
  REQUIRE(again->size() == 3);
  CHECK((*again)[0].message().id() == "a");
  CHECK((*again)[0].info().deliveries == 2);
  CHECK((*again)[0].info().failures == 0);
}

TEST_CASE("queue: defer counts failures durably and keeps the due time over a recovery") {
  Place place;
  {
    auto root = place.open();
    Queue q = queue(*root, "Q");
    put(*root, q, "now");
    put(*root, q, "later");
    for (int i = 0; i < 3; i++) {
      auto claim = q.claim(1);
      REQUIRE(claim);
      REQUIRE(claim->size() == 1);
      CHECK((*claim)[0].info().failures == static_cast<unsigned>(i));
      Transaction t;
      t.defer(std::move((*claim)[0]), {0, true});
      REQUIRE(root->commit(std::move(t)));
    }
    auto first = q.claim_seq(2);
    REQUIRE(first);
    REQUIRE(*first);
    Transaction t;
    t.defer(std::move(**first), {now_ms() + 3'600'000, true});
    REQUIRE(root->commit(std::move(t)));
    CHECK(q.next_due_ms() > now_ms() + 3'000'000);
  }
  auto root = place.open_copy("root", "copy");
  auto q = root->queue("Q");
  REQUIRE(q);
  auto status = q->status();
  REQUIRE(status);
  CHECK(status->ready == 1);
  CHECK(status->deferred == 1);
  CHECK(status->failed_total == 4);
  auto claims = q->claim(10);
  REQUIRE(claims);
  REQUIRE(claims->size() == 1);
  CHECK((*claims)[0].info().failures == 3);
}

TEST_CASE("queue: a message brings its count of failures along, however it is put") {
  Place place;
  {
    auto root = place.open();
    Queue a = queue(*root, "A"), b = queue(*root, "B");
    PutOptions plain, later, keyed;
    plain.failures = 3;
    later.failures = 255;
    later.due_at_ms = now_ms() + 3'600'000;
    keyed.failures = 7;
    keyed.dedup = DedupKey{std::string(local_dedup_store), "B", "keyed", {}, 0};
    put(*root, b, "plain", "body", plain);
    put(*root, b, "later", "body", later);
    put(*root, b, "keyed", "body", keyed);
    put(*root, a, "moved");
    auto claim = a.claim(1);
    REQUIRE(claim);
    Transaction t;
    t.put(b, (*claim)[0].message(), plain);
    t.ack(std::move((*claim)[0]));
    REQUIRE(root->commit(std::move(t)));
  }
  for (auto& root : {place.open(), place.open_copy("root", "copy")}) {
    auto q = root->queue("B");
    REQUIRE(q);
    std::vector<std::pair<MessageState, unsigned>> seen;
    REQUIRE(q->scan([&](const MessageInfo& info) { return seen.emplace_back(info.state, info.failures), true; }));
    CHECK(seen == std::vector<std::pair<MessageState, unsigned>>{
                      {MessageState::ready, 3}, {MessageState::deferred, 255}, {MessageState::ready, 7}, {MessageState::ready, 3}});
    CHECK(q->next_due_ms() > now_ms() + 3'000'000);
  }
}

TEST_CASE("queue: deferred messages come when they are due") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  put(*root, q, "soon", "x", {now_ms() + 60, {}});
  put(*root, q, "ready");
  CHECK(take_all(*root, q) == Ids{"ready"});
  int64_t deadline = monotonic_ms() + 5000;
  Ids got;
  while (got.empty() && monotonic_ms() < deadline) {
    uint32_t bell = root->bell();
    got = take_all(*root, q);
    if (got.empty()) root->wait(bell, 20);
  }
  CHECK(got == Ids{"soon"});
}

TEST_CASE("queue: a transaction is all or nothing") {
  Place place;
  auto root = place.open();
  Queue a = queue(*root, "A"), b = queue(*root, "B"), c = queue(*root, "C");
  put(*root, a, "m");
  SUBCASE("move and fan-out") {
    auto claim = a.claim(1);
    Transaction t;
    Message m = (*claim)[0].message();
    t.put(b, m);
    t.put(c, m);
    t.ack(std::move((*claim)[0]));
    REQUIRE(root->commit(std::move(t)));
    CHECK(take_all(*root, a).empty());
    CHECK(take_all(*root, b) == Ids{"m"});
    CHECK(take_all(*root, c) == Ids{"m"});
  }
  SUBCASE("one target is held: nothing happens, the source is given back") {
    REQUIRE(c.hold(true, false, "test"));
    auto claim = a.claim(1);
    Transaction t;
    Message m = (*claim)[0].message();
    t.put(b, m);
    t.put(c, m);
    t.ack(std::move((*claim)[0]));
    auto done = root->commit(std::move(t));
    REQUIRE(!done);
    CHECK(done.error().code == ExitCode::not_now);
    CHECK(take_all(*root, b).empty());
    CHECK(take_all(*root, a) == Ids{"m"});
    REQUIRE(c.hold(true, true, ""));
    CHECK(take_all(*root, c).empty());
  }
}

TEST_CASE("queue: a copied root recovers: claims are void, transfers are finished") {
  Place place;
  auto root = place.open();
  Queue a = queue(*root, "A"), b = queue(*root, "B");
  for (int i = 0; i < 300; i++) put(*root, a, std::to_string(i), std::string(1000, 'x'));
  for (int i = 0; i < 100; i++) {
    auto claim = a.claim(1);
    Transaction t;
    Message m = (*claim)[0].message();
    t.put(b, m);
    t.ack(std::move((*claim)[0]));
    REQUIRE(root->commit(std::move(t)));
  }
  auto held = a.claim(50);
  REQUIRE(held);
  auto copy = place.open_copy("root", "copy");
  auto ca = copy->queue("A"), cb = copy->queue("B");
  REQUIRE(ca);
  REQUIRE(cb);
  Ids left = take_all(*copy, *ca), moved = take_all(*copy, *cb);
  CHECK(left.size() == 200);
  CHECK(moved.size() == 100);
  CHECK(left.front() == "100");
  put(*copy, *ca, "new");
  CHECK(take_all(*copy, *ca) == Ids{"new"});
}

TEST_CASE("queue: the commit log goes from file to file, also when a record fills one to the last byte") {
  Place place;
  auto root = place.open();
  // One-letter names make records of 192 bytes, which divide what a file holds behind its header without a rest.
  Queue a = queue(*root, "A"), b = queue(*root, "B");
  constexpr size_t file_holds = ((1u << 20) - 64) / 192;
  for (int i = 0; i < 64; i++) put(*root, a, std::to_string(i));
  Queue from = a, to = b;
  for (size_t moved = 0; moved < 5 * file_holds + 100;) {
    auto claims = from.claim(64);
    REQUIRE(claims);
    if (claims->empty()) {
      std::swap(from, to);
      continue;
    }
    std::vector<Transaction> batch(claims->size());
    for (size_t i = 0; i < claims->size(); i++, moved++) {
      batch[i].put(to, (*claims)[i].message());
      batch[i].ack(std::move((*claims)[i]));
    }
    for (auto& r : root->commit_all(std::move(batch))) REQUIRE(r);
  }
  size_t with_header = 0;
  for (auto& e : fs::directory_iterator(place.path + "/root/commit")) {
    std::ifstream file(e.path(), std::ios::binary);
    std::string magic(4, '\0');
    file.read(magic.data(), 4);
    with_header += magic == "GWc1";
  }
  CHECK(with_header == 4);
  auto copy = place.open_copy("root", "copy");
  auto ca = copy->queue("A"), cb = copy->queue("B");
  CHECK(take_all(*copy, *ca).size() + take_all(*copy, *cb).size() == 64);
}

TEST_CASE("queue: keys: same id same body is one message, another body a conflict, and all or none") {
  Place place;
  auto root = place.open();
  Queue a = queue(*root, "A"), b = queue(*root, "B");
  auto keyed = [&](const std::string& id, const std::string& body, std::vector<Queue> targets) {
    Transaction t;
    for (auto& q : targets) t.put(q, message_with(id, body), {0, DedupKey{std::string(local_dedup_store), q.name(), id, sha256(body)}});
    return root->commit(std::move(t));
  };
  auto first = keyed("x", "1", {a});
  REQUIRE_MESSAGE(first, (first ? "" : first.error().text));
  CHECK(first->puts[0].outcome == PutOutcome::stored);
  auto again = keyed("x", "1", {a, b});
  REQUIRE(again);
  CHECK(again->puts[0].outcome == PutOutcome::duplicate);
  CHECK(again->puts[1].outcome == PutOutcome::stored);
  auto other = keyed("x", "2", {a, queue(*root, "C")});
  REQUIRE(other);
  CHECK(other->puts[0].outcome == PutOutcome::conflict);
  CHECK(other->puts[1].outcome == PutOutcome::conflict);
  CHECK(take_all(*root, a) == Ids{"x"});
  CHECK(take_all(*root, b) == Ids{"x"});
}

TEST_CASE("queue: a claim and keys in one transaction: all or none, duplicates do not hinder it") {
  Place place;
  auto root = place.open();
  Queue in = queue(*root, "in"), out = queue(*root, "out"), plain = queue(*root, "plain");
  auto key = [](const std::string& id, const std::string& body) {
    PutOptions options;
    options.dedup = DedupKey{std::string(local_dedup_store), "out", id, sha256(body), 0};
    return options;
  };
  auto handle = [&](const std::string& id, const std::string& body) {
    auto claims = in.claim(1);
    REQUIRE((claims && claims->size() == 1));
    Transaction t;
    t.ack(std::move((*claims)[0]));
    t.put(out, message_with(id, body), key(id, body));
    t.put(plain, message_with("p"));
    return root->commit(std::move(t));
  };
  for (const char* id : {"1", "2", "3"}) put(*root, in, id);
  auto first = handle("a", "x");
  REQUIRE_MESSAGE(first, (first ? "" : first.error().text));
  CHECK(first->puts[0].outcome == PutOutcome::stored);
  auto again = handle("a", "x");
  REQUIRE(again);
  CHECK(again->puts[0].outcome == PutOutcome::duplicate);
  CHECK(again->puts[0].seq == first->puts[0].seq);
  auto other = handle("a", "y");
  REQUIRE(!other);
  CHECK(other.error().code == ExitCode::bad_data);
  CHECK(take_all(*root, in) == Ids{"3"});  // given back, nothing was put
  // The error names the id that hinders, not one that it held back; that one stays free.
  Transaction both_new;
  both_new.put(plain, message_with("z"));
  both_new.put(out, message_with("fresh"), key("fresh", "body"));
  both_new.put(out, message_with("a", "y"), key("a", "y"));
  auto hindered = root->commit(std::move(both_new));
  REQUIRE(!hindered);
  CHECK(hindered.error().text.find("id 'a'") != std::string::npos);
  CHECK(take_all(*root, out) == Ids{"a"});
  CHECK(take_all(*root, plain) == Ids{"p", "p"});
  // Twice in one transaction is once.
  Transaction t;
  t.put(plain, message_with("q"));
  for (int i = 0; i < 2; ++i) t.put(out, message_with("b"), key("b", "body"));
  t.put(out, message_with("fresh"), key("fresh", "body"));
  auto both = root->commit(std::move(t));
  REQUIRE(both);
  CHECK(both->puts[1].outcome == PutOutcome::stored);
  CHECK(both->puts[2].outcome == PutOutcome::duplicate);
  CHECK(both->puts[3].outcome == PutOutcome::stored);
  CHECK(take_all(*root, out) == Ids{"b", "fresh"});
}

TEST_CASE("queue: bodies above 64 KiB are files, stored once for many targets, gone after the last ack") {
  Place place;
  auto root = place.open();
  Queue a = queue(*root, "A"), b = queue(*root, "B");
  auto bodies = [&] {
    std::set<uintmax_t> inodes;
    size_t names = 0;
    for (auto& e : fs::recursive_directory_iterator(place.path + "/root/bodies"))
      if (e.is_regular_file()) {
        names++;
        CHECK(e.file_size() == 200'000);
      }
    return names;
  };
  BodyWriter writer = root->body_writer();
  for (int i = 0; i < 20; i++) REQUIRE(writer.write(std::string(10'000, static_cast<char>('a' + i))));
  auto body = std::move(writer).finish();
  REQUIRE(body);
  CHECK(body->is_file());
  Message m = message_with("big");
  m.body = *body;
  Transaction t;
  t.put(a, m);
  t.put(b, m);
  REQUIRE(root->commit(std::move(t)));
  m = Message();
  body = Body();
  CHECK(bodies() == 2);
  auto claim = a.claim(1);
  REQUIRE(claim);
  auto bytes = (*claim)[0].message().body.read_all();
  REQUIRE(bytes);
  CHECK(bytes->size() == 200'000);
  CHECK((*bytes)[199'999] == 't');
  Transaction ack;
  ack.ack(std::move((*claim)[0]));
  REQUIRE(root->commit(std::move(ack)));
  CHECK(bodies() == 1);
  CHECK(take_all(*root, b) == Ids{"big"});
  CHECK(bodies() == 0);
}

TEST_CASE("queue: byte limit and free-space reserve refuse puts, takes go on") {
  Place place;
  auto root = place.open();
  auto q = root->create_queue("Q", {4096, false});
  REQUIRE(q);
  size_t stored = 0;
  Result<CommitResult> last = CommitResult{};
  for (; stored < 100; stored++) {
    Transaction t;
    t.put(*q, message_with("m" + std::to_string(stored), std::string(500, 'x')));
    last = root->commit(std::move(t));
    if (!last) break;
  }
  REQUIRE(!last);
  CHECK(last.error().code == ExitCode::not_now);
  CHECK(stored == 6);
  CHECK(take_all(*root, *q).size() == 6);
  put(*root, *q, "fits again");
  root.reset();
  auto tight = place.open("root", UINT64_MAX / 2);
  auto q2 = tight->queue("Q");
  Transaction t;
  t.put(*q2, message_with("no"));
  auto refused = tight->commit(std::move(t));
  REQUIRE(!refused);
  CHECK(refused.error().code == ExitCode::not_now);
  CHECK(take_all(*tight, *q2) == Ids{"fits again"});
}

TEST_CASE("queue: space comes back: an emptied queue is small, finished segments go") {
  Place place;
  uint64_t disk_full = 0;
  {
    auto root = place.open();
    Queue q = queue(*root, "Q");
    for (int round = 0; round < 20; round++) {
      std::vector<Transaction> batch(200);
      for (auto& t : batch) t.put(q, message_with("x", std::string(1000, 'x')));
      for (auto& r : root->commit_all(std::move(batch))) REQUIRE(r);
    }
    disk_full = q.status()->disk_bytes;
    CHECK(take_all(*root, q).size() == 4000);
  }
  auto root = place.open();
  auto q = root->queue("Q");
  auto status = q->status();
  CHECK(disk_full > 4'000'000);
  CHECK(status->disk_bytes < 100 * 1024);
  CHECK(status->puts_total == 4000);
  CHECK(status->acks_total == 4000);
  CHECK(status->live_bytes == 0);
}

TEST_CASE("queue: disk stays within twice the live bytes and 1 MiB, in whatever order messages are finished") {
  // Of small messages that are finished at random hardly a page is without a live one: there the promise cannot be kept to the letter.
  for (const auto& [at_once, permille] : {std::pair{300u, 1000u}, {4000u, 4000u}}) {
    CAPTURE(at_once);
    Place place;
    auto root = place.open();
    Queue q = queue(*root, "Q");
    std::mt19937 random(at_once);
    std::vector<Claim> held;
    uint64_t worst_permille = 0;
    for (unsigned turn = 0; turn < 60; ++turn) {
      std::vector<Transaction> batch(turn < 40 ? 200 : 0);
      for (auto& t : batch) t.put(q, message_with("x", std::string(1000, 'x')));
      for (auto& r : root->commit_all(std::move(batch))) REQUIRE(r);
      auto claims = q.claim(at_once);
      REQUIRE(claims);
      for (auto& claim : *claims) held.push_back(std::move(claim));
      if (turn < 40 && held.size() < at_once) continue;
      std::shuffle(held.begin(), held.end(), random);
      std::vector<Transaction> acks(std::min<size_t>(held.size(), 400));
      for (auto& t : acks) {
        t.ack(std::move(held.back()));
        held.pop_back();
      }
      for (auto& r : root->commit_all(std::move(acks))) REQUIRE(r);
      const auto status = q.status();
      worst_permille = std::max(worst_permille, status->disk_bytes * 1000 / (2 * status->live_bytes + (1u << 20)));
    }
    CHECK(worst_permille <= permille);
    CHECK(q.status()->ready + held.size() + q.status()->acks_total == 8000);
  }
}

TEST_CASE("queue: one old message does not pin what is behind it") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  put(*root, q, "old");
  auto held = q.claim(1);
  for (int round = 0; round < 40; round++) {
    std::vector<Transaction> batch(100);
    for (auto& t : batch) t.put(q, message_with("x", std::string(2000, 'x')));
    for (auto& r : root->commit_all(std::move(batch))) REQUIRE(r);
  }
  CHECK(take_all(*root, q).size() == 4000);
  (*held)[0].release();
  held->clear();
  root.reset();
  root = place.open();
  auto again = root->queue("Q");
  CHECK(again->status()->disk_bytes <= 1024 * 1024);
  auto status = again->status();
  CHECK(status->puts_total == 4001);
  CHECK(status->acks_total == 4000);
  CHECK(take_all(*root, *again) == Ids{"old"});
}

TEST_CASE("queue: expired messages are dropped at claim") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  Message m = message_with("late");
  m.headers.set(header::time_sent, format_nsb_time((now_ms() - 10'000) * 1000));
  m.headers.set(header::time_to_be_received, "00:00:05");
  Transaction t;
  t.put(q, m);
  REQUIRE(root->commit(std::move(t)));
  put(*root, q, "good");
  CHECK(take_all(*root, q) == Ids{"good"});
  CHECK(q.status()->acks_total == 2);
}

TEST_CASE("queue: remove, and a queue made again under the same name is another one") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  put(*root, q, "m");
  auto refused = root->remove_queue("Q", false);
  REQUIRE(!refused);
  CHECK(refused.error().code == ExitCode::not_now);
  REQUIRE(root->remove_queue("Q", true));
  auto gone = root->queue("Q");
  REQUIRE(!gone);
  CHECK(gone.error().code == ExitCode::no_input);
  Queue fresh = queue(*root, "Q");
  CHECK(take_all(*root, fresh).empty());
}

TEST_CASE("queue: foreign and newer formats are refused") {
  Place place;
  place.open();
  SUBCASE("garbage in format") {
    std::ofstream(place.path + "/root/format", std::ios::in | std::ios::out).write("garbage!", 8);
    std::fstream second(place.path + "/root/format", std::ios::in | std::ios::out);
    second.seekp(4096);
    second.write("garbage!", 8);
  }
  SUBCASE("a directory with other things in it") {
    fs::create_directory(place.path + "/other");
    std::ofstream(place.path + "/other/file") << "x";
    RootOptions options;
    options.create = true;
    auto other = Root::open(place.path + "/other", options);
    REQUIRE(!other);
    CHECK(other.error().code == ExitCode::cannot_create);
    return;
  }
  SUBCASE("writable by everybody") { fs::permissions(place.path + "/root", fs::perms::all); }
  auto root = Root::open(place.path + "/root", {});
  REQUIRE(!root);
  CHECK((root.error().code == ExitCode::system || root.error().code == ExitCode::no_permission));
}

TEST_CASE("queue: a damaged record is set aside and reported, the rest goes on") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  for (auto id : {"a", "b", "c"}) put(*root, q, id, std::string(100, 'z'));
  std::string log;
  for (auto& e : fs::directory_iterator(place.path + "/root/queues/Q"))
    if (e.path().extension() == ".log") log = e.path();
  {
    std::fstream file(log, std::ios::in | std::ios::out | std::ios::binary);
    std::string bytes(16 * 1024, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    size_t at = bytes.find('b', bytes.find("MessageId", bytes.find("MessageId") + 1));
    REQUIRE(at != std::string::npos);
    file.clear();
    file.seekp(static_cast<std::streamoff>(at));
    file.put('B');
  }
  auto report = root->check(false);
  REQUIRE(report);
  REQUIRE(report->findings.size() == 1);
  CHECK(report->findings[0].kind == "corrupt-record");
  CHECK(!report->findings[0].repaired);
  CHECK(take_all(*root, q) == Ids{"a", "c"});
  CHECK(q.status()->bad == 1);
  CHECK(fs::exists(place.path + "/root/queues/Q/bad"));
}

TEST_CASE("queue: threads: every message once, order kept per producer") {
  Place place;
  auto root = place.open();
  Queue q = queue(*root, "Q");
  constexpr int producers = 4, consumers = 4, each = 300;
  std::vector<std::thread> threads;
  std::mutex mutex;
  std::vector<std::vector<int>> seen(producers);
  std::atomic<int> total{0};
  for (int p = 0; p < producers; p++)
    threads.emplace_back([&, p] {
      for (int i = 0; i < each; i++) {
        Transaction t;
        t.put(q, message_with(std::to_string(p) + "/" + std::to_string(i)));
        if (!root->commit(std::move(t))) std::abort();
      }
    });
  for (int c = 0; c < consumers; c++)
    threads.emplace_back([&] {
      while (total < producers * each) {
        uint32_t bell = root->bell();
        auto claims = q.claim(3);
        if (!claims) std::abort();
        if (claims->empty()) root->wait(bell, 50);
        for (auto& claim : *claims) {
          std::string id = claim.message().id();
          {
            std::lock_guard guard(mutex);
            seen[static_cast<size_t>(id[0] - '0')].push_back(std::stoi(id.substr(2)));
          }
          Transaction t;
          t.ack(std::move(claim));
          if (!root->commit(std::move(t))) std::abort();
          total++;
        }
      }
    });
  for (auto& t : threads) t.join();
  for (auto& ids : seen) CHECK(std::set<int>(ids.begin(), ids.end()).size() == each);
  CHECK(total == producers * each);
  CHECK(take_all(*root, q).empty());
}
