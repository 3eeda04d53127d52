// Where a message can be put: a queue of this machine, or one of another machine (`queue@machine`), which is reached through the outbox
// of that machine and `gw-send forward`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config.hpp"
#include "config_watch.hpp"
#include "message.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw {

namespace header {
// Of a message in the outbox of a machine, and on its way; whoever puts it into its queue takes them off.
inline constexpr std::string_view destination_queue = "Gatepost.DestinationQueue";
inline constexpr std::string_view transfer_id = "Gatepost.TransferId";  ///< TIME/UUID of this one put: a message may go to the same queue again
inline constexpr std::string_view failed_attempts = "Gatepost.FailedAttempts";  ///< of a message that moves with its count
inline constexpr std::string_view due_at = "Gatepost.DueAt";
inline constexpr std::string_view expires_at = "Gatepost.ExpiresAt";  ///< if it is not what the other headers say
}  // namespace header

/// `queue@machine` or `queue`.
struct Address {
  std::string queue, machine;  ///< machine empty: this one
};
/// `.`, localhost and loopback addresses are this machine. usage, with the original's texts: several @, an empty part; a bad name.
Result<Address> parse_address(std::string_view text);
/// Does it lie on this machine, whose name counts without regard to case?
bool is_here(const Address& address, std::string_view this_machine);
/// `queue@machine`, also for this machine.
std::string full_address(const Address& address, std::string_view this_machine);

/// What a put to an address is on this machine.
struct Destination {
  Queue queue;               ///< where it enters now: the queue itself, or the outbox of its machine
  std::string remote_queue;  ///< the queue over there; empty: `queue` is it
  std::string machine;       ///< the other machine, as it is configured; empty: this one
  /// For people and for the ids of callers: `queue`, or `queue@machine`.
  std::string name() const { return remote_queue.empty() ? queue.name() : remote_queue + "@" + machine; }
};

/// The message as it has to be put into `destination.queue`. On the way to another machine it gets headers that say where to and when
/// it is due (it waits for that over there, so `options` loses it).
Message addressed(const Destination& destination, Message message, PutOptions& options);
/// Transaction::put() to an address.
void put_to(Transaction& transaction, const Destination& destination, Message message, PutOptions options = {});

/// What those headers of a message that has arrived said. It does not have them any more.
struct Arrival {
  std::string queue;        ///< empty: it was not sent to a machine
  std::string transfer_id;  ///< may be empty
  int64_t put_at_ms = 0;    ///< when it was put, by the sender's clock; 0: unknown
  unsigned failures = 0;    ///< PutOptions::failures
  int64_t due_at_ms = 0;    ///< by the sender's clock; 0: at once
  std::optional<int64_t> expires_at_ms;  ///< by the sender's clock; 0: never; nullopt: what its other headers say
};
Arrival take_arrival(Headers& headers);

/// Finds out what addresses mean on this machine. The configuration is read when the first other machine is named, and again when the
/// file has changed (a bad one does not replace a good one). One thread uses it.
class Destinations {
 public:
  /// As load_config. `root` outlives it.
  Destinations(Root& root, std::string config_path, bool config_must_exist)
      : root_(root), file_(std::move(config_path), config_must_exist) {}

  /// no_input: there is no such queue here. usage: "the following machines have not been configured: C". Makes the outbox.
  Result<Destination> find(const Address& address);
  /// The same of its text.
  Result<Destination> find(std::string_view address);

 private:
  Result<void> read_config();
  Root& root_;
  ConfigWatch file_;
  std::optional<Config> config_;
  int64_t looked_at_ms_ = 0;
};

/// The machine of that name, without regard to case; nullptr: there is none.
const MachineConfig* find_machine(const Config& config, std::string_view name);
/// usage: "the following machines have not been configured: C", with a name that was probably meant.
Error unknown_machine(const Config& config, std::string_view name);

}  // namespace gw
