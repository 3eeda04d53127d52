// How long the ids that callers chose (--id, --unique) are remembered.
#pragma once

#include <cstdint>

#include "queue.hpp"

namespace gw {

/// Forgets the id of `key` if it was stored more than `unique_for_ms` ago. For a put that was told PutOutcome::duplicate or conflict:
/// true means that the same put will now be stored. Any number of processes may do so at once: one of them stores.
Result<bool> forget_old_id(Root& root, const DedupKey& key, int64_t unique_for_ms);

}  // namespace gw
