#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <thread>

#include "scratch.hpp"
#include "tools/distributor/commit_thread.hpp"

using namespace gw;
using distributor::CommitThread;

namespace {

bool readable(int fd, int timeout_ms) {
  pollfd item{fd, POLLIN, 0};
  return ::poll(&item, 1, timeout_ms) == 1;
}

}  // namespace

TEST_CASE("commit thread: the submitting thread goes on, and finds the results later") {
  std::atomic<bool> go{false};
  CommitThread commits([&](std::vector<Transaction>&& transactions) {
    while (!go) std::this_thread::yield();
    CommitThread::Results results;
    for (size_t i = 0; i < transactions.size(); ++i) {
      if (i == 1) results.emplace_back(Error{ExitCode::not_now, 0, "full"});
      else results.emplace_back(CommitResult{});
    }
    return results;
  });
  CHECK(!commits.busy());
  for (int round = 0; round < 3; ++round) {
    go = false;
    commits.submit(std::vector<Transaction>(3));
    CHECK(commits.busy());
    CHECK(!commits.done());
    CHECK(!readable(commits.fd(), 0));
    go = true;
    CHECK(readable(commits.fd(), 10'000));
    CHECK(commits.done());
    auto results = commits.take();
    REQUIRE(results.size() == 3);
    CHECK(results[0].has_value());
    CHECK(results[1].error().text == "full");
    CHECK(!commits.busy());
    CHECK(!readable(commits.fd(), 0));
  }
  go = false;
  commits.submit(std::vector<Transaction>(1));
  go = true;
  CHECK(commits.take().size() == 1);  // waits
  commits.submit(std::vector<Transaction>(1));  // its end waits, too
}

TEST_CASE("commit thread: claims are taken and messages acknowledged at the same time") {
  const Scratch scratch;
  {
    auto root = open_root(scratch.path + "/root");
    Queue queue = *root->create_queue("q");
    constexpr size_t messages = 400;
    for (size_t i = 0; i < messages; ++i) {
      Transaction put;
      Message message;
      message.headers.set(header::message_id, "id-" + std::to_string(i));
      message.body = Body("x");
      put.put(queue, std::move(message));
      REQUIRE(root->commit(std::move(put)).has_value());
    }
    CommitThread commits([&](std::vector<Transaction>&& transactions) { return root->commit_all(std::move(transactions)); });
    std::vector<Transaction> next;
    size_t claimed = 0, acked = 0;
    while (acked < messages) {
      auto claims = queue.claim(7);
      REQUIRE(claims.has_value());
      for (Claim& claim : *claims) {
        ++claimed;
        next.emplace_back().ack(std::move(claim));
      }
      if (commits.busy() && (commits.done() || claims->empty()))
        for (auto& result : commits.take()) acked += result.has_value();
      if (!commits.busy() && !next.empty()) commits.submit(std::exchange(next, {}));
    }
    CHECK(claimed == messages);
    CHECK(queue.status()->acks_total == messages);
  }
}
