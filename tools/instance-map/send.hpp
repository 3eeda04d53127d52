// `instance-map send`: new messages, and messages of a queue, where the map says.
#pragma once

#include "map_router.hpp"
#include "send_options.hpp"

namespace gw::instance_map {

Result<ExitCode> send(const SendOptions& options, const CommonOptions& common);

/// send --from.
Result<ExitCode> send_from(const SendOptions& options, const CommonOptions& common);

/// What came of a transfer.
struct TransferCounts {
  uint64_t sent = 0, skipped = 0;  ///< skipped: claimed elsewhere or gone
  uint64_t left = 0;               ///< stay where they are: no route, no such queue
  std::optional<Error> error;      ///< of the first that stays
};

/// Sends messages that lie in `source` on, each where its type goes (`to`: all there), in a transaction of its own. They keep id,
/// headers, failed attempts, and the time when they are due. `tell` hears of each that has left. An error: it went no further.
Result<TransferCounts> transfer_by_map(Root& root, Router& router, const Queue& source, std::span<const Selected> chosen, const std::string& to,
                                       const std::function<void(const std::string& id, const std::string& endpoint, const std::string& address)>& tell);

}  // namespace gw::instance_map
