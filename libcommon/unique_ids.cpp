#include "unique_ids.hpp"

#include "dedup_store.hpp"
#include "units.hpp"

namespace gw {

Result<bool> forget_old_id(Root& root, const DedupKey& key, int64_t unique_for_ms) {
  if (!root.clock().may_purge) return false;
  // What a dead process left undecided is decided first: its row is the decision.
  GW_TRY(root.recover_dead_owners());
  auto store = DedupStore::open(root.path(), key.store, false);
  if (!store && store.error().code == ExitCode::no_input) return false;
  if (!store) return std::move(store).error();
  return (*store)->forget(key.scope, key.id, now_ms() - unique_for_ms, [&root](const Xid& xid) { return root.xid_in_use(xid); });
}

}  // namespace gw
