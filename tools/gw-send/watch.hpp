// Waiting for the outcome of messages that were sent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "outboxes.hpp"
#include "outcome_store.hpp"
#include "tool.hpp"

namespace gw {

/// Some messages at some sites, and what is known of them.
class Watch {
 public:
  explicit Watch(Root& root) : root_(root) {}
  /// A message that was just stored.
  void add(const std::string& id, const std::string& site, uint64_t seq);
  /// Finds messages by id in outcomes and outboxes. no_input: nothing is known of one of them.
  Result<void> find(const std::vector<std::string>& ids, const std::vector<Outbox>& outboxes, bool only_these);
  /// Returns when nothing can change any more, the time is up, or `nobody_works` says that nobody works on the rest.
  Result<void> wait(int64_t timeout_ms, const std::function<bool()>& nobody_works);
  /// Prints what is not delivered and a summary; the exit code for it.
  Result<ExitCode> report(const CommonOptions& common) const;

 private:
  struct Item {
    Outcome outcome;
    uint64_t seq = 0;  ///< in its outbox; 0: not there
  };
  Result<void> refresh();
  Result<void> refresh(Item& item);
  Result<bool> open_store();
  Result<Queue*> outbox_of(const std::string& site);
  bool all_final() const { return open_ == 0; }

  Root& root_;
  std::unique_ptr<OutcomeStore> store_;
  std::map<std::string, Queue> outboxes_;
  std::vector<Item> items_;
  size_t open_ = 0;
};

}  // namespace gw
