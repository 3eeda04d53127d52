// The ready table in queues: E.distributor.storage has a message for each slot (ready: a token; deferred: out), E.distributor.workers a
// record for each worker. Only the active distributor writes them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "queue.hpp"
#include "ready_table.hpp"

namespace gw::distributor {

class Ledger {
 public:
  /// `create`: makes the queues of the endpoint that are not there. Else no_input if one is missing.
  static Result<Ledger> open(Root& root, const std::string& endpoint, bool create);

  /// Everything there is, from the queues; of the queues of workers on this root, too. Changes nothing.
  /// `foreign`: numbers of messages in the storage queue that are no slots of a known worker.
  Result<std::unique_ptr<ReadyTable>> load(int64_t now, std::vector<uint64_t>& foreign) const;

  /// What a transaction does to the ledger; remembers where the new numbers will stand among its results.
  struct Written {
    ReadyTable::Changes changes;
    size_t first_put = 0;
    std::vector<uint64_t> vanished;  ///< slots that are not to be had: nothing may be committed
  };
  /// `puts_before`: puts that the transaction has already.
  Result<Written> write(Transaction& transaction, size_t puts_before, ReadyTable::Changes&& changes);
  /// The transaction was committed.
  static void written(ReadyTable& table, const Written& what, const CommitResult& result, int64_t now);

  /// Slots that the storage queue has, in any state.
  Result<std::vector<uint64_t>> stored_slots() const;

  const std::string& endpoint() const { return endpoint_; }
  Queue& input() { return input_; }
  Queue& control() { return control_; }
  Queue& storage() { return storage_; }
  /// The queue of a worker of this root. nullopt: on another machine, or not there.
  std::optional<Queue> local_queue(const std::string& worker) const;

 private:
  Ledger(Root& root, std::string endpoint) : root_(&root), endpoint_(std::move(endpoint)) {}
  Result<void> load_records(ReadyTable& table, int64_t now) const;
  Result<void> load_slots(ReadyTable& table, int64_t now, std::vector<uint64_t>& foreign) const;
  void load_hand_outs(ReadyTable& table) const;

  Root* root_;
  std::string endpoint_;
  Queue input_, control_, storage_, workers_;
};

}  // namespace gw::distributor
