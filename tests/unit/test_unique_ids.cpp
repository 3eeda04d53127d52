#include <doctest/doctest.h>

#include <thread>

#include "hash.hpp"
#include "scratch.hpp"
#include "unique_ids.hpp"
#include "units.hpp"

using namespace gw;

namespace {

struct Fixture : Scratch {
  std::unique_ptr<Root> root = open_root(path + "/root");
  Queue queue = *root->create_queue("Sales");

  static DedupKey key(const std::string& body) { return DedupKey{std::string(local_dedup_store), "Sales", "order-17", sha256(body), 0}; }
  PutOutcome put(const std::string& body) {
    Transaction transaction;
    transaction.put(queue, message_with("order-17", body), PutOptions{0, key(body)});
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
