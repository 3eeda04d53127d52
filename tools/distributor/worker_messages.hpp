// What workers, the distributor and operators tell each other: control messages in E.distributor.control, and the headers of a message
// that was handed out. Names as in the original where it has them. Pure functions; the state machine is in gw-distributor(5).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "message.hpp"
#include "result.hpp"

namespace gw::distributor {

namespace worker_header {
inline constexpr std::string_view control_message = "NServiceBus.ControlMessage";
inline constexpr std::string_view capacity_available = "NServiceBus.Distributor.WorkerCapacityAvailable";
inline constexpr std::string_view session = "NServiceBus.Distributor.WorkerSessionId";
inline constexpr std::string_view starting = "NServiceBus.Distributor.WorkerStarting";
inline constexpr std::string_view unregister = "NServiceBus.Distributor.UnregisterWorker";
inline constexpr std::string_view hand_out = "Gatepost.HandOut";          ///< of a message in a worker's queue
inline constexpr std::string_view hand_outs = "Gatepost.HandOuts";        ///< those that come back
inline constexpr std::string_view done = "Gatepost.Done";                 ///< how many of them were acknowledged
inline constexpr std::string_view failed = "Gatepost.Failed";             ///< failed attempts since the last report
inline constexpr std::string_view times = "Gatepost.Times";               ///< how long those took, of a worker elsewhere
inline constexpr std::string_view heartbeat = "Gatepost.Heartbeat";
inline constexpr std::string_view holding = "Gatepost.Holding";           ///< hand-outs that lie in the worker's queue
inline constexpr std::string_view since = "Gatepost.WorkerSince";         ///< when the session began, ms since 1970 by the worker's root
inline constexpr std::string_view stopping = "Gatepost.WorkerStopping";
inline constexpr std::string_view drain = "Gatepost.DrainWorker";
inline constexpr std::string_view resume = "Gatepost.ResumeWorker";
inline constexpr std::string_view lease = "Gatepost.Distributor.Lease";   ///< to a worker: how long it may be silent
inline constexpr std::string_view interruptions = "Gatepost.Interruptions";  ///< of attempts on workers that died
}  // namespace worker_header

/// The queues of an endpoint with a distributor.
std::string control_queue(std::string_view endpoint);
std::string storage_queue(std::string_view endpoint);
std::string workers_queue(std::string_view endpoint);

/// Which token took which message: the token's number in the storage queue and the message's in the endpoint's. No pair comes twice.
struct HandOut {
  uint64_t slot = 0, work = 0;
  bool operator==(const HandOut&) const = default;
  auto operator<=>(const HandOut&) const = default;
};
/// `SLOT.WORK`
std::string to_text(const HandOut& hand_out);
std::optional<HandOut> parse_hand_out(std::string_view text);

/// Hand-outs and sessions mean nothing outside of the worker's queue.
void remove_hand_out(Headers& headers);

/// Of a message that was handled, in seconds (handling_times.hpp).
struct Took {
  double critical_s = 0, processing_s = 0;
};

struct ControlMessage {
  enum class Kind { starting, returned, heartbeat, stopping, unregister, drain, resume };
  Kind kind = Kind::returned;
  std::string worker;   ///< QUEUE@MACHINE
  std::string session;  ///< not of unregister, drain, resume
  int64_t since_ms = 0; ///< starting: by the worker's clock, 0: unknown
  unsigned capacity = 0;  ///< starting: tokens it wants; returned: how many come back
  /// returned: those that come back. A worker of the original knows none and tells their number only.
  std::vector<HandOut> hand_outs;
  bool lists = false;   ///< starting: it will name hand-outs. heartbeat: `hand_outs` is all that it has
  uint64_t done = 0, failed = 0;
  std::vector<Took> times;  ///< returned: of those that were handled
};
Message to_message(const ControlMessage& control);
/// bad_data: not one of these, and why.
Result<ControlMessage> parse_control(const Message& message);

/// To a worker: how long it may be silent. Workers apply it themselves.
Message lease_message(int64_t lease_ms);
/// nullopt: not such a message.
std::optional<int64_t> parse_lease(const Message& message);

inline constexpr unsigned worker_capacity_max = 1000;

}  // namespace gw::distributor
