// Whoever waits for a message to arrive at its site must learn what was done by hand to its outbox.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "outcome_store.hpp"
#include "queue.hpp"

namespace gw::inspect {

/// Outcomes that go with the next commits. Record them first: a forwarder may deliver at once what was put, and its word must be the last.
class OutboxOutcomes {
 public:
  explicit OutboxOutcomes(Root& root) : root_(root) {}
  /// It leaves this queue and will not reach its site, if the queue is the outbox of one.
  void leaves(const std::string& queue, const std::string& id, unsigned attempts, const std::string& why);
  /// It is on its way again, if it enters the outbox of a site.
  void enters(const std::string& queue, const std::string& id, unsigned attempts, const std::string& why);
  /// Durable on return; nothing to do if no outbox is concerned.
  Result<void> record();

 private:
  void add(const std::string& queue, const std::string& id, OutcomeState state, unsigned attempts, const std::string& why);
  Root& root_;
  std::vector<Outcome> rows_;
  std::unique_ptr<OutcomeStore> store_;  // opened when it is needed
};

}  // namespace gw::inspect
