// How far the decommissioning of an instance has come, and where what comes for it afterwards goes.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "address.hpp"
#include "instance_table.hpp"
#include "map_source.hpp"
#include "map_state.hpp"
#include "queue.hpp"

namespace gw {

enum class DecommissionStep { map_changed, senders, nothing_new, drained, disabled, leftovers };
inline constexpr size_t decommission_steps = 6;
/// "map changed", "senders", "nothing new", "drained", "disabled", "leftovers"
const char* to_string(DecommissionStep step);

/// What is kept of one, durably, after each step.
struct Decommission {
  struct Step {
    int64_t done_ms = 0;  ///< 0: not yet
    std::string proof;
  };
  std::string queue, address, endpoint;
  std::string map;           ///< the source, absolute
  bool loose = false;
  int64_t began_ms = 0, drain_began_ms = 0;
  std::array<Step, decommission_steps> steps;
  std::vector<std::string> ignored;  ///< senders
  bool removed_here = false;         ///< we have taken the instance out of the map
  std::string text_before;           ///< of the map then
  bool hold_noted = false;           ///< the next two are known: from here on the hold is ours
  bool puts_were_on = true;          ///< before we held them
  std::string reason_before;
  uint64_t moved = 0;                ///< leftovers
  uint64_t late = 0;                 ///< arrivals after the end
  int64_t last_late_ms = 0;

  Step& at(DecommissionStep step) { return steps[static_cast<size_t>(step)]; }
  const Step& at(DecommissionStep step) const { return steps[static_cast<size_t>(step)]; }
  bool finished() const { return at(DecommissionStep::leftovers).done_ms != 0; }
};

/// nullopt: none has begun.
Result<std::optional<Decommission>> read_decommission(const MapState& state, const std::string& queue);
Result<void> write_decommission(const MapState& state, const Decommission& decommission);
Result<void> remove_decommission(const MapState& state, const std::string& queue);

/// Where messages go that come for an instance that is out of service. One thread uses it.
class LateArrivals {
 public:
  explicit LateArrivals(Root& root) : root_(root) {}
  /// False: it certainly is in service. One system call, any thread.
  bool may_be_closed(const std::string& queue) const;
  /// nullopt: `queue` is no such instance, or is not closed yet. Else another instance of its endpoint, by turns, as the map has it now.
  /// config: the map cannot be read, and nobody has used it here before; unavailable: it has no other instance.
  Result<std::optional<Address>> address(const std::string& queue);
  /// One has been sent on: `decommission --status` tells how many.
  Result<void> arrived(const std::string& queue);

 private:
  struct Known {
    std::optional<Decommission> decommission;
    std::vector<std::string> addresses;
    int64_t read_ms = 0;
    size_t next = 0;
  };
  Result<Known*> known(const std::string& queue);
  Root& root_;
  std::map<std::string, Known> known_;
};

/// The instances of its endpoint but itself, as the map is now or was last used here.
Result<std::vector<std::string>> other_instances(const MapState& state, const Decommission& decommission, const std::string& this_machine);

}  // namespace gw
