// Drafts of a command line, stored in one queue or in one for each, of this machine or of another one.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "address.hpp"
#include "message_options.hpp"
#include "queue.hpp"

namespace gw {

/// Puts each draft in a transaction of its own, with shared syncs; what the caller's id says already is not stored again. Fills in
/// Draft::error, seq and queues. The outcome of each that has no error; moves the messages out of the drafts.
Result<std::vector<PutOutcome>> store_drafts(Root& root, const Destination& to, std::vector<Draft>& drafts);

/// Where one draft goes.
struct DraftPlace {
  const Destination* to = nullptr;  ///< nullptr: nowhere, it has an error
  std::string scope;                ///< where an id that its caller named is one message; "": at `to`
};
/// The same with a place for each, all with shared syncs.
Result<std::vector<PutOutcome>> store_drafts(Root& root, std::span<const DraftPlace> places, std::vector<Draft>& drafts);

}  // namespace gw
