#include "distribution.hpp"

#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "address.hpp"
#include "captured_run.hpp"
#include "config_names.hpp"
#include "program.hpp"
#include "suggest.hpp"
#include "table.hpp"
#include "units.hpp"

extern char** environ;

namespace gw {

namespace {

constexpr size_t answer_bytes_max = 4096;
const std::vector<std::string> strategy_names = {"round-robin", "random", "least-backlog", "weighted"};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const size_t first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

}  // namespace

Result<Strategy> Strategy::parse(const std::string& text) {
  Strategy strategy;
  strategy.name = text;
  const auto at = std::find(strategy_names.begin(), strategy_names.end(), text);
  if (at != strategy_names.end()) {
    constexpr Kind kinds[] = {Kind::round_robin, Kind::random, Kind::least_backlog, Kind::weighted};
    strategy.kind = kinds[at - strategy_names.begin()];
    return strategy;
  }
  strategy.kind = Kind::command;
  auto program = find_program(text);
  if (!program) {
    Error error = std::move(program).error();
    error.code = ExitCode::config;
    const std::string hint = suggest(text, strategy_names);
    error.text = "strategy '" + text + "' is none of round-robin, random, least-backlog and weighted, and no program: " + error.text +
                 (hint.empty() ? "" : "; " + hint);
    return error;
  }
  strategy.program = *std::move(program);
  return strategy;
}

std::vector<size_t> weighted_order(std::span<const unsigned> weights) {
  unsigned common = 0;
  for (unsigned weight : weights) common = std::gcd(common, weight);
  struct Turn {
    uint64_t number, weight;  // the turn falls due at (2 number + 1) / (2 weight) of the whole
    size_t who;
  };
  std::vector<Turn> turns;
  for (size_t i = 0; i < weights.size(); ++i) {
    const uint64_t weight = common ? weights[i] / common : 0;
    for (uint64_t n = 0; n < weight; ++n) turns.push_back({n, weight, i});
  }
  std::stable_sort(turns.begin(), turns.end(), [](const Turn& a, const Turn& b) {
    return (2 * a.number + 1) * b.weight < (2 * b.number + 1) * a.weight;
  });
  std::vector<size_t> order;
  order.reserve(turns.size());
  for (const Turn& turn : turns) order.push_back(turn.who);
  return order;
}

// --- what waits ---------------------------------------------------------------------------------------------------------

/// How many messages lie in the queues of a target. Looking costs time that grows with what lies there, so that a stream looks now and
/// then, and counts what it sends itself in between.
struct Distribution::Backlogs {
  struct One {
    bool usable = false;
    uint64_t count = 0;
  };
  std::vector<std::string> addresses;
  std::vector<One> found;
  int64_t looked_at_ms = 0, looking_took_ms = 0;

  static Result<One> look(Root& root, const std::string& address) {
    GW_TRY_ASSIGN(Address place, parse_address(address));
    const bool here = is_here(place, root.machine());
    auto queue = root.queue(here ? place.queue : outbox_of_site(key_of_machine(place.machine)));
    // Nothing was sent to that machine yet; a queue that is not here cannot get anything.
    if (!queue && queue.error().code == ExitCode::no_input) return One{!here, 0};
    if (!queue) return std::move(queue).error();
    GW_TRY_ASSIGN(QueueStatus status, queue->status());
    return One{status.puts_on, status.ready + status.claimed + status.deferred};
  }

  bool fresh(const Target& target) const {
    constexpr int64_t look_again_ms = 100;
    return addresses == target.addresses && monotonic_ms() - looked_at_ms < std::max(look_again_ms, 20 * looking_took_ms);
  }

  Result<void> refresh(Root& root, const Target& target) {
    if (fresh(target)) return {};
    const int64_t began = monotonic_ms();
    addresses = target.addresses;
    found.clear();
    for (const std::string& address : addresses) {
      GW_TRY_ASSIGN(One one, look(root, address));
      found.push_back(one);
    }
    looked_at_ms = monotonic_ms();
    looking_took_ms = looked_at_ms - began;
    return {};
  }
};

Distribution::Distribution(Root& root) : root_(root) {}
Distribution::~Distribution() = default;

// --- choosing -----------------------------------------------------------------------------------------------------------

Result<TurnCounters*> Distribution::turns() {
  if (!turns_) {
    GW_TRY_ASSIGN(turns_, TurnCounters::open(root_.path()));
  }
  return turns_.get();
}

Result<uint64_t> Distribution::take_turns(const Target& target, uint64_t count, bool preview) {
  GW_TRY_ASSIGN(TurnCounters* counters, turns());
  return preview ? counters->next(target.endpoint, target.scope) : counters->take(target.endpoint, target.scope, count);
}

uint64_t Distribution::random_number() {
  // splitmix64: no instance must be preferred, and nobody is kept from guessing.
  if (random_state_ == 0 && ::getrandom(&random_state_, sizeof random_state_, 0) < 0) random_state_ = static_cast<uint64_t>(now_us());
  uint64_t z = (random_state_ += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

Result<void> Distribution::weighted(const Strategy& strategy, const Target& target, uint64_t first, std::vector<size_t>& chosen) {
  std::vector<unsigned> weights;
  uint64_t sum = 0;
  for (const std::string& address : target.addresses) {
    const auto at = strategy.weights.find(to_lower(address));
    weights.push_back(at == strategy.weights.end() ? 1 : at->second);
    sum += weights.back();
  }
  if (sum == 0) return Error{ExitCode::config, 0, "all instances of endpoint '" + target.endpoint + "' have the weight 0"};
  if (sum > weights_sum_max)
    return Error{ExitCode::config, 0, "the weights of endpoint '" + target.endpoint + "' add up to " + std::to_string(sum) + ", more than " + std::to_string(weights_sum_max)};
  if (weights != weights_of_order_) {
    order_ = weighted_order(weights);
    weights_of_order_ = std::move(weights);
  }
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = order_[(first + i) % order_.size()];
  return {};
}

Result<void> Distribution::least_backlog(const Target& target, uint64_t first, std::vector<size_t>& chosen) {
  if (!backlogs_) backlogs_ = std::make_unique<Backlogs>();
  GW_TRY(backlogs_->refresh(root_, target));
  std::vector<Backlogs::One>& found = backlogs_->found;
  const size_t n = found.size();
  if (std::none_of(found.begin(), found.end(), [](const auto& one) { return one.usable; })) {
    // Held ones say so when the message is put.
    for (size_t i = 0; i < n; ++i) found[i].usable = true;
  }
  for (size_t i = 0; i < chosen.size(); ++i) {
    // Among equals it goes round.
    size_t best = n;
    for (size_t k = 0; k < n; ++k) {
      const size_t at = (first + i + k) % n;
      if (found[at].usable && (best == n || found[at].count < found[best].count)) best = at;
    }
    ++found[best].count;
    chosen[i] = best;
  }
  return {};
}

Result<size_t> Distribution::ask_program(const Strategy& strategy, const Target& target, const MessageToRoute& message) {
  ChildSpec spec;
  spec.program = strategy.program;
  spec.arguments = {strategy.name};
  spec.arguments.insert(spec.arguments.end(), target.addresses.begin(), target.addresses.end());
  constexpr std::string_view ours[] = {"GW_MESSAGE_ID=", "GW_MESSAGE_TYPE=", "GW_ENDPOINT=", "GW_SCOPE=", "GW_ROOT="};
  for (char** at = environ; *at; ++at) {
    const std::string_view one(*at);
    if (std::none_of(std::begin(ours), std::end(ours), [&](std::string_view name) { return one.starts_with(name); })) spec.environment.emplace_back(one);
  }
  const std::string values[] = {message.id, message.type, target.endpoint, std::string(to_string(target.scope)), root_.path()};
  for (size_t i = 0; i < std::size(ours); ++i)
    if (values[i].find('\0') == std::string::npos) spec.environment.push_back(std::string(ours[i]) + values[i]);
  GW_TRY_ASSIGN(CapturedRun run, run_captured(std::move(spec), strategy_timeout_ms, answer_bytes_max));
  auto bad = [&](const std::string& what) {
    return Error{ExitCode::config, 0, "strategy '" + strategy.name + "' for endpoint '" + target.endpoint + "': " + what};
  };
  if (const std::string trouble = trouble_of(run, strategy_timeout_ms); !trouble.empty()) return bad(trouble);
  const std::string_view answer = trimmed(run.output);
  for (size_t i = 0; i < target.addresses.size(); ++i)
    if (target.addresses[i] == answer) return i;
  constexpr size_t shown_bytes = 100;
  if (answer.empty()) return bad("it printed nothing, expected one of the addresses");
  return bad("it printed '" + printable(answer.substr(0, shown_bytes)) + "', expected one of the addresses");
}

Result<std::vector<size_t>> Distribution::choose(const Strategy& strategy, const Target& target, std::span<const MessageToRoute> messages, bool preview) {
  const size_t n = target.addresses.size();
  std::vector<size_t> chosen(messages.size(), 0);
  uint64_t first = 0;
  using Kind = Strategy::Kind;
  if (strategy.kind == Kind::round_robin || strategy.kind == Kind::weighted || strategy.kind == Kind::least_backlog) {
    GW_TRY_ASSIGN(first, take_turns(target, messages.size(), preview));
  }
  switch (strategy.kind) {
    case Kind::round_robin:
      for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = (first + i) % n;
      break;
    case Kind::random:
      for (size_t& one : chosen) one = random_number() % n;
      break;
    case Kind::weighted: GW_TRY(weighted(strategy, target, first, chosen)); break;
    case Kind::least_backlog: GW_TRY(least_backlog(target, first, chosen)); break;
    case Kind::command:
      for (size_t i = 0; i < chosen.size(); ++i) {
        GW_TRY_ASSIGN(chosen[i], ask_program(strategy, target, messages[i]));
      }
      break;
  }
  return chosen;
}

Result<std::vector<size_t>> Distribution::choose(const Strategy& strategy, const Target& target, std::span<const MessageToRoute> messages) {
  return choose(strategy, target, messages, false);
}

Result<size_t> Distribution::preview(const Strategy& strategy, const Target& target, const MessageToRoute& message) {
  GW_TRY_ASSIGN(auto chosen, choose(strategy, target, std::span(&message, 1), true));
  return chosen.at(0);
}

}  // namespace gw
