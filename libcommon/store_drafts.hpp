// Drafts of a command line, stored in one queue, of this machine or of another one.
#pragma once

#include <vector>

#include "address.hpp"
#include "message_options.hpp"
#include "queue.hpp"

namespace gw {

/// Puts each draft in a transaction of its own, with shared syncs; what the caller's id says already is not stored again. Fills in
/// Draft::error, seq and queues. The outcome of each that has no error; moves the messages out of the drafts.
Result<std::vector<PutOutcome>> store_drafts(Root& root, const Destination& to, std::vector<Draft>& drafts);

}  // namespace gw
