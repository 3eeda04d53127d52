#include "outbox_outcomes.hpp"

#include <utility>

#include "outbox.hpp"
#include "units.hpp"

namespace gw::inspect {

void OutboxOutcomes::add(const std::string& queue, const std::string& id, OutcomeState state, unsigned attempts, const std::string& why) {
  const auto site = site_of_outbox(queue);
  if (!site) return;
  Outcome& row = rows_.emplace_back();
  row.id = id;
  row.site = *site;
  row.state = state;
  row.since_ms = now_ms();
  row.attempts = attempts;
  row.reason = why;
}

void OutboxOutcomes::leaves(const std::string& queue, const std::string& id, unsigned attempts, const std::string& why) {
  add(queue, id, OutcomeState::purged, attempts, why);
}

void OutboxOutcomes::enters(const std::string& queue, const std::string& id, unsigned attempts, const std::string& why) {
  add(queue, id, OutcomeState::stored, attempts, why);
}

Result<void> OutboxOutcomes::record() {
  const auto rows = std::exchange(rows_, {});
  if (rows.empty()) return {};
  if (!store_) {
    GW_TRY_ASSIGN(store_, OutcomeStore::open(root_.path(), true));
  }
  return store_->record(root_.clock(), rows);
}

}  // namespace gw::inspect
