#include "current_table.hpp"

#include "hand_over.hpp"
#include "address.hpp"
#include "units.hpp"

namespace gw::distributor {

Result<std::unique_ptr<ReadyTable>> current_table(const Root& root, Ledger& ledger) {
  // The control queue first: what is applied meanwhile is then seen twice, not never, and applying it twice does no harm.
  std::vector<uint64_t> seqs;
  GW_TRY(ledger.control().scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), true; }));
  std::vector<ControlMessage> controls;
  for (uint64_t seq : seqs) {
    GW_TRY_ASSIGN(auto found, ledger.control().read(seq));
    if (!found) continue;
    if (auto control = parse_control(found->second)) controls.push_back(*std::move(control));
  }
  std::vector<uint64_t> foreign;
  const int64_t now = monotonic_ms();
  GW_TRY_ASSIGN(auto table, ledger.load(now, foreign));
  for (const ControlMessage& control : controls) apply_for_show(*table, control, now);
  for (Worker* worker : table->workers()) {
    auto address = parse_address(worker->name);
    if (worker->plain || worker->gone || !address || !is_here(*address, root.machine())) continue;
    if (root.singleton(worker_lock(address->queue)).pid == 0) table->gone(*worker);
  }
  return table;
}

}  // namespace gw::distributor
