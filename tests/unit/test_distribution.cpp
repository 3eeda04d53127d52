// Which instance gets a message: round robin, random, least-backlog, weighted, and programs that choose.
#include <doctest/doctest.h>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "distribution.hpp"
#include "scratch.hpp"

using namespace gw;

namespace {

struct Fixture : Scratch {
  std::unique_ptr<Root> root = open_root(path + "/root", "here");
  Queue queue(const std::string& name, size_t messages = 0) {
    auto made = root->create_queue(name);
    REQUIRE(made.has_value());
    for (size_t i = 0; i < messages; ++i) {
      Transaction transaction;
      Message message;
      message.headers.set(header::message_id, new_message_id());
      transaction.put(*made, std::move(message));
      REQUIRE(root->commit(std::move(transaction)).has_value());
    }
    return *made;
  }
  std::string program(const std::string& text) {
    const std::string file = write("choose", "#!/bin/sh\n" + text + "\n");
    ::chmod(file.c_str(), 0700);
    return file;
  }
};

Target target(std::vector<std::string> addresses, Scope scope = Scope::send) { return Target{"Sales", scope, std::move(addresses)}; }
Target three() { return target({"Sales@vm1", "Sales@vm2", "Sales@vm3"}); }

std::vector<MessageToRoute> messages(size_t count) { return std::vector<MessageToRoute>(count, MessageToRoute{"id", "Shop.Order"}); }

std::vector<size_t> choose(Distribution& distribution, const Strategy& strategy, const Target& to, size_t count) {
  auto chosen = distribution.choose(strategy, to, messages(count));
  REQUIRE_MESSAGE(chosen.has_value(), chosen.error().text);
  return *chosen;
}

Strategy parse(const std::string& text) {
  auto strategy = Strategy::parse(text);
  REQUIRE_MESSAGE(strategy.has_value(), strategy.error().text);
  return *strategy;
}

}  // namespace

TEST_CASE("round robin begins with the first address and goes on in their order, over processes and restarts") {
  Fixture f;
  const Strategy strategy = parse("round-robin");
  {
    Distribution first(*f.root);
    CHECK(choose(first, strategy, three(), 1) == std::vector<size_t>{0});
    CHECK(choose(first, strategy, three(), 1) == std::vector<size_t>{1});
  }
  Distribution second(*f.root);
  CHECK(choose(second, strategy, three(), 5) == std::vector<size_t>{2, 0, 1, 2, 0});
  // The scope has a counter of its own, and so has each endpoint; a map that changes does not set it back.
  CHECK(choose(second, strategy, target({"Sales@vm1", "Sales@vm2"}, Scope::publish), 1) == std::vector<size_t>{0});
  Target other = three();
  other.endpoint = "Shipping";
  CHECK(choose(second, strategy, other, 1) == std::vector<size_t>{0});
  CHECK(choose(second, strategy, target({"Sales@vm1", "Sales@vm2"}), 1) == std::vector<size_t>{1});  // turn 7 of two
}

TEST_CASE("a preview takes no turn") {
  Fixture f;
  Distribution distribution(*f.root);
  const Strategy strategy = parse("round-robin");
  for (int i = 0; i < 3; ++i) CHECK(*distribution.preview(strategy, three(), {"id", "T"}) == 0);
  CHECK(choose(distribution, strategy, three(), 1) == std::vector<size_t>{0});
  CHECK(*distribution.preview(strategy, three(), {"id", "T"}) == 1);
}

TEST_CASE("turns are counted once however many processes take them, and whichever of them is killed") {
  Scratch d;
  constexpr int processes = 8, turns_each = 5000;
  // Each process notes what it took in a file of its own; every second one is killed in the middle.
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t pid = ::fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
      std::ofstream notes(d.path + "/" + std::to_string(p));
      auto counters = TurnCounters::open(d.path);
      if (!counters) ::_exit(1);
      for (int i = 0; i < turns_each; ++i) {
        auto turn = (*counters)->take("Sales", Scope::send);
        if (!turn) ::_exit(1);
        notes << *turn << '\n' << std::flush;
        if (p % 2 == 1 && i == turns_each / 2) ::kill(::getpid(), SIGKILL);
        if (i % 97 == 0 && !(*counters)->take("Other" + std::to_string(i), Scope::publish)) ::_exit(1);
      }
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    CHECK((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));
  }
  std::map<uint64_t, int> per_instance;
  std::set<uint64_t> seen;
  for (int p = 0; p < processes; ++p) {
    std::ifstream notes(d.path + "/" + std::to_string(p));
    for (uint64_t turn; notes >> turn;) {
      CHECK_MESSAGE(seen.insert(turn).second, "turn " << turn << " was taken twice");
      ++per_instance[turn % 3];
    }
  }
  auto counters = TurnCounters::open(d.path);
  REQUIRE(counters.has_value());
  const uint64_t total = *(*counters)->next("Sales", Scope::send);
  CHECK(total == seen.size());
  CHECK(*seen.rbegin() == total - 1);
  const auto [least, most] = std::minmax({per_instance[0], per_instance[1], per_instance[2]});
  CHECK(most - least <= 1);
  CHECK(*(*counters)->next("Other0", Scope::publish) == processes);
}

TEST_CASE("turns of more endpoints than the file has room for at first, by two threads with an object each") {
  Scratch d;
  auto work = [&] {
    auto counters = TurnCounters::open(d.path);
    if (!counters) return;
    for (int round = 0; round < 3; ++round)
      for (int i = 0; i < 500; ++i)
        if (!(*counters)->take("Endpoint." + std::to_string(i), Scope::send, 2)) return;
  };
  std::thread one(work), two(work);
  one.join();
  two.join();
  auto counters = TurnCounters::open(d.path);
  REQUIRE(counters.has_value());
  for (int i = 0; i < 500; ++i) CHECK(*(*counters)->next("Endpoint." + std::to_string(i), Scope::send) == 12);
}

TEST_CASE("a file of turns that is damaged") {
  Scratch d;
  const std::string file = d.path + "/turns";
  SUBCASE("empty, as after a power loss: it begins anew") {
    std::ofstream(file).close();
    auto counters = TurnCounters::open(d.path);
    REQUIRE(counters.has_value());
    CHECK(*(*counters)->take("Sales", Scope::send) == 0);
  }
  SUBCASE("zeros: the same") {
    std::ofstream(file) << std::string(5000, '\0');
    auto counters = TurnCounters::open(d.path);
    REQUIRE(counters.has_value());
    CHECK(*(*counters)->take("Sales", Scope::send) == 0);
    CHECK(*(*counters)->take("Sales", Scope::send) == 1);
  }
  SUBCASE("names that a power loss took: they begin anew, the others stay") {
    {
      auto counters = TurnCounters::open(d.path);
      for (int i = 0; i < 40; ++i) REQUIRE((*counters)->take("E" + std::to_string(i), Scope::send).has_value());
    }
    std::fstream(file, std::ios::in | std::ios::out).seekp(4096).write(std::string(4096, '\0').c_str(), 4096);
    auto counters = TurnCounters::open(d.path);
    REQUIRE(counters.has_value());
    CHECK(*(*counters)->take("E0", Scope::send) == 1);
    CHECK(*(*counters)->take("E20", Scope::send) == 0);
    CHECK(*(*counters)->take("E39", Scope::send) == 1);
  }
  SUBCASE("cut off: what is missing begins anew") {
    {
      auto counters = TurnCounters::open(d.path);
      for (int i = 0; i < 40; ++i) REQUIRE((*counters)->take("E" + std::to_string(i), Scope::send).has_value());
    }
    REQUIRE(::truncate(file.c_str(), 4096) == 0);
    auto counters = TurnCounters::open(d.path);
    REQUIRE(counters.has_value());
    CHECK(*(*counters)->take("E3", Scope::send) == 1);
    CHECK(*(*counters)->take("E30", Scope::send) == 0);
  }
  SUBCASE("somebody else's: refused") {
    std::ofstream(file) << "not ours";
    auto counters = TurnCounters::open(d.path);
    REQUIRE(!counters.has_value());
    CHECK(counters.error().code == ExitCode::system);
  }
}

TEST_CASE("weights") {
  CHECK(weighted_order(std::vector<unsigned>{1, 1, 1}) == std::vector<size_t>{0, 1, 2});
  CHECK(weighted_order(std::vector<unsigned>{300, 300}) == std::vector<size_t>{0, 1});
  CHECK(weighted_order(std::vector<unsigned>{3, 1}) == std::vector<size_t>{0, 0, 1, 0});
  CHECK(weighted_order(std::vector<unsigned>{0, 5}) == std::vector<size_t>{1});
  CHECK(weighted_order(std::vector<unsigned>{0, 0}).empty());

  Fixture f;
  Distribution distribution(*f.root);
  Strategy strategy = parse("weighted");
  strategy.weights = {{"sales@vm1", 5}, {"sales@vm2", 2}};  // vm3: 1
  std::vector<size_t> count(3);
  for (size_t at : choose(distribution, strategy, three(), 800)) ++count[at];
  CHECK(count == std::vector<size_t>{500, 200, 100});
  strategy.weights = {{"sales@vm1", 0}, {"sales@vm2", 0}, {"sales@vm3", 0}};
  auto none = distribution.choose(strategy, three(), messages(1));
  REQUIRE(!none.has_value());
  CHECK(none.error().code == ExitCode::config);
}

TEST_CASE("any part of a weighted order is near the weights") {
  std::srand(17);
  for (int round = 0; round < 200; ++round) {
    std::vector<unsigned> weights(1 + static_cast<size_t>(std::rand()) % 6);
    for (unsigned& weight : weights) weight = static_cast<unsigned>(std::rand() % 9);
    const auto order = weighted_order(weights);
    unsigned sum = 0;
    for (unsigned weight : weights) sum += weight;
    if (sum == 0) continue;
    std::vector<size_t> count(weights.size());
    for (size_t i = 0; i < order.size(); ++i) {
      ++count[order[i]];
      for (size_t k = 0; k < weights.size(); ++k) {
        const double due = static_cast<double>(i + 1) * weights[k] / sum;
        CHECK(std::abs(static_cast<double>(count[k]) - due) < 2.0);
      }
    }
  }
}

TEST_CASE("random reaches all") {
  Fixture f;
  Distribution distribution(*f.root);
  std::vector<size_t> count(3);
  for (size_t at : choose(distribution, parse("random"), three(), 3000)) ++count[at];
  for (size_t one : count) CHECK(one > 800);
}

TEST_CASE("least-backlog") {
  Fixture f;
  Distribution distribution(*f.root);
  const Strategy strategy = parse("least-backlog");
  SUBCASE("the shortest queue, then the next, with what is sent meanwhile") {
    f.queue("A", 5), f.queue("B", 2), f.queue("C", 3);
    std::vector<size_t> count(3);
    for (size_t at : choose(distribution, strategy, target({"A@here", "B@HERE", "C"}), 5)) ++count[at];
    CHECK(count == std::vector<size_t>{0, 3, 2});
  }
  SUBCASE("another machine's outbox counts; none is empty") {
    f.queue("A", 1), f.queue("machine.vm2", 3);
    CHECK(choose(distribution, strategy, target({"A@here", "A@vm2"}), 1) == std::vector<size_t>{0});
    Distribution again(*f.root);
    CHECK(choose(again, strategy, target({"A@here", "A@vm3"}), 1) == std::vector<size_t>{1});
  }
  SUBCASE("queues that are missing or take nothing are passed over, unless all are") {
    Queue held = f.queue("B");
    REQUIRE(held.hold(true, false, "test").has_value());
    f.queue("C", 9);
    CHECK(choose(distribution, strategy, target({"A@here", "B@here", "C@here"}), 2) == std::vector<size_t>{2, 2});
    Distribution again(*f.root);
    CHECK(choose(again, strategy, target({"A@here", "B@here"}), 1).size() == 1);
  }
  SUBCASE("equal ones in turn") {
    f.queue("A"), f.queue("B"), f.queue("C");
    std::set<size_t> all;
    for (int i = 0; i < 3; ++i) {
      Distribution each(*f.root);
      all.insert(choose(each, strategy, target({"A@here", "B@here", "C@here"}), 1)[0]);
    }
    CHECK(all.size() == 3);
  }
}

TEST_CASE("a program chooses") {
  Fixture f;
  Distribution distribution(*f.root);
  auto ask = [&](const std::string& text) { return distribution.choose(parse(f.program(text)), three(), messages(1)); };
  SUBCASE("the address that it prints") {
    auto chosen = ask("echo \"$2\"");
    REQUIRE_MESSAGE(chosen.has_value(), chosen.error().text);
    CHECK(*chosen == std::vector<size_t>{1});
  }
  SUBCASE("what it gets") {
    auto chosen = ask("[ \"$*\" = 'Sales@vm1 Sales@vm2 Sales@vm3' ] && [ \"$GW_MESSAGE_ID:$GW_MESSAGE_TYPE:$GW_ENDPOINT:$GW_SCOPE\" = id:Shop.Order:Sales:Send ] && printf ' Sales@vm3\\n\\n'");
    REQUIRE_MESSAGE(chosen.has_value(), chosen.error().text);
    CHECK(*chosen == std::vector<size_t>{2});
  }
  SUBCASE("everything else is an error of the configuration") {
    for (const char* text : {"exit 3", "kill -9 $$", "echo Sales@vm9", "true", "echo Sales@vm1; echo Sales@vm2", "head -c 100000 /dev/zero"}) {
      CAPTURE(text);
      auto chosen = ask(text);
      REQUIRE(!chosen.has_value());
      CHECK(chosen.error().code == ExitCode::config);
      CHECK(chosen.error().text.find("choose") != std::string::npos);
    }
  }
  SUBCASE("what it leaves running does not keep us") {
    auto chosen = ask("sleep 60 & echo \"$1\"");
    REQUIRE_MESSAGE(chosen.has_value(), chosen.error().text);
    CHECK(*chosen == std::vector<size_t>{0});
  }
}

TEST_CASE("names of strategies") {
  CHECK(parse("least-backlog").kind == Strategy::Kind::least_backlog);
  auto unknown = Strategy::parse("roundrobin");
  REQUIRE(!unknown.has_value());
  CHECK(unknown.error().code == ExitCode::config);
  CHECK(unknown.error().text.find("did you mean 'round-robin'?") != std::string::npos);
}
