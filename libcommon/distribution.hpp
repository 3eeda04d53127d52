// Which of the instances of an endpoint gets a message: sender-side distribution. Every instance that could get it is known to the
// sender; a strategy chooses one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "queue.hpp"
#include "result.hpp"
#include "turn_counters.hpp"

namespace gw {

inline constexpr int64_t strategy_timeout_ms = 10'000;  ///< of a program that chooses
inline constexpr unsigned weights_sum_max = 65'536;

struct Strategy {
  enum class Kind { round_robin, random, least_backlog, weighted, command };
  Kind kind = Kind::round_robin;
  std::string program, name;                     ///< command: where it is, and as it was written
  std::map<std::string, unsigned> weights;       ///< of addresses, in lower case; those without have 1

  /// round-robin, random, least-backlog, weighted, or a program. config: it is none of that, with what was probably meant.
  static Result<Strategy> parse(const std::string& text);
};

/// Where messages of one kind can go.
struct Target {
  std::string endpoint;
  Scope scope = Scope::send;
  /// QUEUE@MACHINE in the order of the file, each once. Not empty.
  std::vector<std::string> addresses;
};

/// What a strategy may know of a message.
struct MessageToRoute {
  std::string id, type;
};

/// Chooses for one process. One thread uses it, one that lives as long as the process.
class Distribution {
 public:
  explicit Distribution(Root& root);
  ~Distribution();

  /// An index into target.addresses for each of the messages. Messages that are chosen for together get turns that follow one another,
  /// so that a batch that is lost leaves the instances even. config: a program that cannot run, takes too long or prints no address of these; weights of which none is above 0.
  /// no_input: least-backlog, and none of the queues is there.
  Result<std::vector<size_t>> choose(const Strategy& strategy, const Target& target, std::span<const MessageToRoute> messages);
  /// What choose() would say for one message, for --dry-run: takes no turn. (random says what it likes.)
  Result<size_t> preview(const Strategy& strategy, const Target& target, const MessageToRoute& message);

 private:
  struct Backlogs;
  Result<TurnCounters*> turns();
  Result<uint64_t> take_turns(const Target& target, uint64_t count, bool preview);
  Result<std::vector<size_t>> choose(const Strategy& strategy, const Target& target, std::span<const MessageToRoute> messages, bool preview);
  Result<void> weighted(const Strategy& strategy, const Target& target, uint64_t first, std::vector<size_t>& chosen);
  Result<void> least_backlog(const Target& target, uint64_t first, std::vector<size_t>& chosen);
  Result<size_t> ask_program(const Strategy& strategy, const Target& target, const MessageToRoute& message);
  uint64_t random_number();

  Root& root_;
  std::unique_ptr<TurnCounters> turns_;
  std::unique_ptr<Backlogs> backlogs_;
  uint64_t random_state_ = 0;
  // The order of turns by weight, of the target that was asked for last.
  std::vector<unsigned> weights_of_order_;
  std::vector<size_t> order_;
};

/// The order in which instances with these weights get their turns: each `weight` times, as evenly spread as can be; with equal
/// weights one after the other. Empty if all are 0.
std::vector<size_t> weighted_order(std::span<const unsigned> weights);

}  // namespace gw
