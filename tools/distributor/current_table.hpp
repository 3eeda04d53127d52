// How things stand with an endpoint, for commands that only look.
#pragma once

#include <memory>
#include <string>

#include "ledger.hpp"

namespace gw::distributor {

/// What the queues say, and what the control messages that nobody has applied yet will lead to, and
/// which workers of this root are dead. Changes nothing.
Result<std::unique_ptr<ReadyTable>> current_table(const Root& root, Ledger& ledger);

}  // namespace gw::distributor
