#include "site_status.hpp"

#include <algorithm>
#include <map>

#include "config_names.hpp"
#include "outbox.hpp"
#include "outcome_store.hpp"

namespace gw {
namespace {

Result<void> look_at_messages(const Outbox& outbox, int64_t now, SiteStatus& status) {
  int64_t next_due = INT64_MAX;
  bool ready = false;
  GW_TRY(outbox.queue.scan([&](const MessageInfo& info) {
    if (info.state == MessageState::claimed) {
      ++status.in_flight;
      return true;
    }
    ++status.waiting;
    status.waiting_bytes += info.body_bytes;
    if (status.oldest_put_ms == 0) status.oldest_put_ms = info.put_at_ms;
    ready |= info.state == MessageState::ready || info.due_at_ms <= now;
    if (info.state == MessageState::deferred) next_due = std::min(next_due, info.due_at_ms);
    return true;
  }));
  if (!ready && next_due != INT64_MAX) status.next_try_ms = next_due;
  return {};
}

void look_at_counts(const Outbox& outbox, const QueueStatus& queue, SiteStatus& status) {
  status.in_flight = queue.claimed;
  status.waiting = queue.ready + queue.deferred;
  status.waiting_bytes = queue.live_bytes;
  status.oldest_put_ms = queue.oldest_put_at_ms;
  if (const int64_t due = outbox.queue.next_due_ms(); queue.ready == 0 && queue.deferred > 0 && due != INT64_MAX) status.next_try_ms = due;
}

Result<void> look_into_outbox(const Outbox& outbox, SiteLook look, int64_t now, SiteStatus& status) {
  if (!outbox.queue) return {};
  GW_TRY_ASSIGN(QueueStatus queue, outbox.queue.status());
  if (look == SiteLook::messages) GW_TRY(look_at_messages(outbox, now, status));
  else look_at_counts(outbox, queue, status);
  if (!queue.takes_on) status.state = "held";
  return {};
}

Result<SiteStatus> look_at(const Outbox& outbox, const SiteRecord* record, SiteLook look, int64_t now) {
  SiteStatus status;
  status.site = outbox.site;
  if (outbox.config) {
    status.address = outbox.config->address;
    status.channel_type = outbox.config->channel_type;
  }
  int64_t probe_ms = 0;
  if (record) {
    status.state = record->up ? "up" : "down";
    status.last_delivered_ms = record->last_delivered_ms;
    status.last_error = record->last_error;
    probe_ms = record->next_try_ms;
  }
  int64_t opens_ms = 0;
  const bool closed = outbox.config && !window_open(outbox.config->window, now, &opens_ms);
  if (closed) status.state = "not-ready";
  GW_TRY(look_into_outbox(outbox, look, now, status));
  // Nothing goes before the site is tried again, however early a message is due.
  if (status.waiting > 0) status.next_try_ms = std::max(status.next_try_ms, probe_ms);
  if (closed) status.next_try_ms = opens_ms;
  if (!outbox.config && status.last_error.empty()) status.last_error = is_machine_key(outbox.site) ? "the machine is not configured" : "the site is not configured";
  return status;
}

}  // namespace

int64_t SiteStatus::age_ms(int64_t now) const { return oldest_put_ms == 0 ? 0 : std::max<int64_t>(now - oldest_put_ms, 0); }

Result<std::vector<SiteStatus>> site_statuses(const Root& root, const std::vector<Outbox>& outboxes, SiteLook look, int64_t now_ms) {
  std::map<std::string, SiteRecord> records;
  auto store = OutcomeStore::open(root.path(), false);
  if (store) {
    GW_TRY_ASSIGN(auto sites, (*store)->sites());
    for (SiteRecord& record : sites) records.emplace(record.site, record);
  } else if (store.error().code != ExitCode::no_input) {
    return std::move(store).error();
  }
  std::vector<SiteStatus> statuses;
  for (const Outbox& outbox : outboxes) {
    auto record = records.find(outbox.site);
    GW_TRY_ASSIGN(SiteStatus status, look_at(outbox, record == records.end() ? nullptr : &record->second, look, now_ms));
    statuses.push_back(std::move(status));
  }
  return statuses;
}

JsonObject site_json(const SiteStatus& s, int64_t now_ms) {
  JsonObject object;
  object.add("kind", "site").add("site", s.site);
  if (!s.address.empty()) object.add("address", s.address).add("channel_type", s.channel_type);
  object.add("state", s.state).add("waiting", s.waiting).add("waiting_bytes", s.waiting_bytes);
  if (s.oldest_put_ms != 0) object.add("oldest_s", static_cast<double>(s.age_ms(now_ms)) / 1000.0);
  object.add("in_flight", s.in_flight).add_time("last_delivered_at", s.last_delivered_ms).add_time("next_try_at", s.next_try_ms);
  if (!s.last_error.empty()) object.add("last_error", s.last_error);
  return object;
}

std::vector<Forwarder> running_forwarders(const Root& root, const std::vector<Outbox>& outboxes) {
  std::map<int, int64_t> running;
  if (auto whole = root.singleton("forward"); whole.pid != 0) running[whole.pid] = whole.since_ms;
  for (const Outbox& outbox : outboxes)
    if (auto own = root.singleton(forwarder_lock(outbox.site)); own.pid != 0) running.try_emplace(own.pid, own.since_ms);
  std::vector<Forwarder> list;
  for (const auto& [pid, since] : running) list.push_back({pid, since});
  return list;
}

}  // namespace gw
