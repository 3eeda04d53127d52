#include <algorithm>
#include <map>

#include "commands.hpp"
#include "json.hpp"
#include "outbox.hpp"
#include "outboxes.hpp"
#include "outcome_store.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw {
namespace {

struct Limits {
  std::optional<uint64_t> max_count, min_free;
  std::optional<int64_t> max_age_ms;
  bool any() const { return max_count || min_free || max_age_ms; }
};

Error bad_value(const char* option, const std::string& value, const char* expected) {
  return Error{ExitCode::usage, 0, "'" + value + "' is not a value of " + option + ": expected " + expected};
}

Result<Limits> read_limits(const StatusOptions& options) {
  Limits limits;
  if (!options.max_count.empty()) {
    limits.max_count = 0;
    for (char digit : options.max_count) {
      if (digit < '0' || digit > '9' || __builtin_mul_overflow(*limits.max_count, uint64_t{10}, &*limits.max_count) ||
          __builtin_add_overflow(*limits.max_count, static_cast<uint64_t>(digit - '0'), &*limits.max_count))
        return bad_value("--max-count", options.max_count, "a number");
    }
  }
  if (!options.max_age.empty()) {
    limits.max_age_ms = parse_duration_ms(options.max_age);
    if (!limits.max_age_ms) return bad_value("--max-age", options.max_age, "a duration like 10m");
  }
  if (!options.min_free.empty()) {
    limits.min_free = parse_size(options.min_free);
    if (!limits.min_free) return bad_value("--min-free", options.min_free, "a size like 1G");
  }
  return limits;
}

struct SiteStatus {
  std::string site, address, channel_type, state = "up", last_error;
  uint64_t waiting = 0, waiting_bytes = 0, in_flight = 0;
  int64_t oldest_put_ms = 0, last_delivered_ms = 0, next_try_ms = 0;
  int64_t age_ms(int64_t now) const { return oldest_put_ms == 0 ? 0 : std::max<int64_t>(now - oldest_put_ms, 0); }
};

Result<void> look_into_outbox(const Outbox& outbox, int64_t now, SiteStatus& status) {
  if (!outbox.queue) return {};
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
  GW_TRY_ASSIGN(QueueStatus queue, outbox.queue.status());
  if (!queue.takes_on) status.state = "held";
  return {};
}

Result<SiteStatus> look_at(const Outbox& outbox, const SiteRecord* record, int64_t now) {
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
  GW_TRY(look_into_outbox(outbox, now, status));
  // Nothing goes before the site is tried again, however early a message is due.
  if (status.waiting > 0) status.next_try_ms = std::max(status.next_try_ms, probe_ms);
  if (closed) status.next_try_ms = opens_ms;
  if (!outbox.config && status.last_error.empty()) status.last_error = "the site is not configured";
  return status;
}

void print_json(const SiteStatus& s, int64_t now) {
  JsonObject object;
  object.add("kind", "site").add("site", s.site);
  if (!s.address.empty()) object.add("address", s.address).add("channel_type", s.channel_type);
  object.add("state", s.state).add("waiting", s.waiting).add("waiting_bytes", s.waiting_bytes);
  if (s.oldest_put_ms != 0) object.add("oldest_s", static_cast<double>(s.age_ms(now)) / 1000.0);
  object.add("in_flight", s.in_flight).add_time("last_delivered_at", s.last_delivered_ms).add_time("next_try_at", s.next_try_ms);
  if (!s.last_error.empty()) object.add("last_error", s.last_error);
  out(object.str() + "\n");
}

std::string at(int64_t ms) { return ms == 0 ? "-" : format_rfc3339(ms); }

void print_row(Table& table, const SiteStatus& s, int64_t now) {
  table.row({s.site, s.state, std::to_string(s.waiting), human_size(s.waiting_bytes),
             s.oldest_put_ms == 0 ? "-" : human_duration(s.age_ms(now)), std::to_string(s.in_flight), at(s.last_delivered_ms),
             at(s.next_try_ms), s.last_error.empty() ? "-" : shortened(printable(s.last_error), 60)});
}

void print_forwarders(const Root& root, const std::vector<Outbox>& outboxes, bool json) {
  std::map<int, int64_t> running;  // pid -> since
  if (auto whole = root.singleton("forward"); whole.pid != 0) running[whole.pid] = whole.since_ms;
  for (const Outbox& outbox : outboxes)
    if (auto own = root.singleton(forwarder_lock(outbox.site)); own.pid != 0) running.try_emplace(own.pid, own.since_ms);
  if (running.empty()) out(json ? JsonObject().add("kind", "forwarder").str() + "\n" : "forwarder: NOT RUNNING\n");
  for (const auto& [pid, since] : running) {
    if (json)
      out(JsonObject().add("kind", "forwarder").add("pid", pid).add_time("since_at", since).str() + "\n");
    else
      out("forwarder: pid " + std::to_string(pid) + " since " + format_rfc3339(since) + "\n");
  }
}

Table site_table() {
  using A = Table::Align;
  return Table({{"SITE"},
                {"STATE"},
                {"WAITING", A::right},
                {"BYTES", A::right},
                {"OLDEST", A::right},
                {"IN-FLIGHT", A::right},
                {"LAST-DELIVERED"},
                {"NEXT-TRY"},
                {"LAST-ERROR"}},
               [](std::string_view text) { out(text); });
}

}  // namespace

Result<ExitCode> show_status(const StatusOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(Limits limits, read_limits(options));
  GW_TRY_ASSIGN(Config config, load_config_with_sites(common.config, common.config_given, options.sites));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(auto outboxes, find_outboxes(*root, config, options.to));
  std::map<std::string, SiteRecord> records;
  auto store = OutcomeStore::open(root->path(), false);
  if (store) {
    GW_TRY_ASSIGN(auto sites, (*store)->sites());
    for (SiteRecord& record : sites) records.emplace(record.site, record);
  } else if (store.error().code != ExitCode::no_input) {
    return std::move(store).error();
  }
  const int64_t now = now_ms();
  bool exceeded = false;
  if (!limits.any()) print_forwarders(*root, outboxes, common.json);
  if (limits.min_free && root->free_bytes() < *limits.min_free) {
    exceeded = true;
    out(common.json ? JsonObject().add("kind", "root").add("free_bytes", root->free_bytes()).str() + "\n"
                    : "free: " + human_size(root->free_bytes()) + "\n");
  }
  Table table = site_table();
  bool rows = false;
  for (const Outbox& outbox : outboxes) {
    auto record = records.find(outbox.site);
    GW_TRY_ASSIGN(SiteStatus status, look_at(outbox, record == records.end() ? nullptr : &record->second, now));
    const bool too_many = limits.max_count && status.waiting > *limits.max_count;
    const bool too_old = limits.max_age_ms && status.age_ms(now) > *limits.max_age_ms;
    exceeded |= too_many || too_old;
    if (limits.any() && !too_many && !too_old) continue;
    rows = true;
    if (common.json)
      print_json(status, now);
    else
      print_row(table, status, now);
  }
  if (!common.json && (rows || !limits.any())) table.flush();
  return exceeded ? ExitCode::no : ExitCode::ok;
}

}  // namespace gw
