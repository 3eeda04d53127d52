// Drafts of a command line, stored in one queue or in one for each, of this machine or of another one.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "address.hpp"
#include "message_options.hpp"
#include "queue.hpp"

namespace gw {

/// What the stores of drafts have in common. `fill` makes the transaction of a draft; its error becomes Draft::error, and where it adds
/// nothing, nothing is stored. All are committed or held with shared syncs. `take` hears of
/// each that was committed, and may change its outcome. Returns those of all: the worst of the copies of each, `stored` where nothing is.
std::vector<PutOutcome> commit_drafts(Root& root, std::vector<Draft>& drafts, const std::function<Result<void>(size_t draft, Transaction&)>& fill,
                                      const std::function<void(size_t draft, const CommitResult&, PutOutcome&)>& take = {});

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
