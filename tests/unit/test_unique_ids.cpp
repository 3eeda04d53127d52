#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "hash.hpp"
#include "unique_ids.hpp"
#include "units.hpp"

using namespace gw;

namespace {

struct Fixture {
  std::string path;
  std::unique_ptr<Root> root;
  Queue queue;
  Fixture() {
    char name[] = "/tmp/gatepost-unique.XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path = name;
    RootOptions how;
    how.create = true;
    how.min_free_bytes = 0;
    auto opened = Root::open(path + "/root", how);
    REQUIRE_MESSAGE(opened.has_value(), opened.error().text);
    root = std::move(*opened);
    queue = *root->create_queue("Sales");
  }
  ~Fixture() {
    queue = Queue();
    root.reset();
    [[maybe_unused]] int ignored = std::system(("rm -rf " + path).c_str());
  }

  static DedupKey key(const std::string& body) { return DedupKey{std::string(local_dedup_store), "Sales", "order-17", sha256(body), 0}; }
  PutOutcome put(const std::string& body) {
    Message message;
    message.headers.set(header::message_id, "order-17");
    message.body = Body(body);
    Transaction transaction;
    transaction.put(queue, std::move(message), PutOptions{0, key(body)});
    auto result = root->commit(std::move(transaction));
    REQUIRE_MESSAGE(result.has_value(), result.error().text);
    return result->puts.at(0).outcome;
  }
};

void until(int64_t ms) {
  while (now_ms() <= ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

}  // namespace

TEST_CASE("unique ids: an id is forgotten when it is old enough, not before") {
  Fixture f;
  CHECK(*forget_old_id(*f.root, Fixture::key("a"), 0) == false);  // no store yet
  CHECK(f.put("a") == PutOutcome::stored);
  CHECK(f.put("a") == PutOutcome::duplicate);
  CHECK(f.put("b") == PutOutcome::conflict);
  CHECK(*forget_old_id(*f.root, Fixture::key("b"), 60'000) == false);
  CHECK(f.put("b") == PutOutcome::conflict);
  until(now_ms() + 20);
  CHECK(*forget_old_id(*f.root, Fixture::key("b"), 10) == true);
  CHECK(*forget_old_id(*f.root, Fixture::key("b"), 10) == false);
  CHECK(f.put("b") == PutOutcome::stored);
  CHECK(f.put("b") == PutOutcome::duplicate);
  CHECK(f.queue.status()->ready == 2);
}
