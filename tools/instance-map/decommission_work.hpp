// The six steps of taking an instance out of service. What is done is kept durably after each; every step looks again at what it needs,
// so it does not matter where the one before was interrupted.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "decommission_state.hpp"
#include "map_senders.hpp"
#include "sender_map.hpp"
#include "queue.hpp"

namespace gw::instance_map {

inline constexpr int64_t drain_timeout_default_ms = 10 * 60 * 1000;

/// One thread uses it.
class DecommissionWork {
 public:
  DecommissionWork(Root& root, Queue queue, const MapState& state, const MapSettings& settings, int64_t drain_ms)
      : root_(root), queue_(std::move(queue)), state_(state), settings_(settings), drain_ms_(drain_ms), notes_(root.path()) {}

  /// What is known of an earlier run, or a new one that has not begun. More `ignored` senders are added.
  Result<void> open(const std::string& address, const std::vector<std::string>& ignored);
  const Decommission& state() const { return d_; }
  /// What run() would do now; the proofs say what would be looked at. Changes nothing.
  Result<Decommission> plan();

  /// Called with why a step waits, whenever that changes.
  using Waiting = std::function<Result<void>(const std::string& why)>;
  /// Does one step, waits for it. False: it cannot be done now; `waiting` has heard why.
  Result<bool> run(DecommissionStep step, const Waiting& waiting);
  /// Undoes what can be undone, and forgets it. What was undone, with the step it belongs to.
  Result<std::vector<std::pair<DecommissionStep, std::string>>> roll_back();

 private:
  struct Proofs;
  Result<void> begin();
  Result<void> store();
  Result<void> done(DecommissionStep step, std::string proof);
  Result<InstanceTable> map_now();
  Result<bool> change_map(const Waiting& waiting);
  Result<bool> take_out(const Waiting& waiting);
  Result<bool> prove_senders(const Waiting& waiting);
  Result<Proofs> proofs();
  Result<void> doubt_proofs();
  Result<bool> nothing_new(const Waiting& waiting);
  Result<bool> drain(const Waiting& waiting);
  Result<bool> disable();
  Result<bool> send_on(const Waiting& waiting);
  Result<void> take_control_messages();
  Result<std::string> give_back_instance();
  void pause();
  int64_t quiet_ms() const;
  std::string quiet_text() const;

  Root& root_;
  Queue queue_;
  const MapState& state_;
  const MapSettings& settings_;
  int64_t drain_ms_;
  SenderNotes notes_;
  Decommission d_;
  std::unique_ptr<SenderMap> sender_map_;
};

}  // namespace gw::instance_map
