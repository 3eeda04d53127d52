#include "commands.hpp"
#include "json.hpp"
#include "outboxes.hpp"
#include "site_status.hpp"
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

std::string at(int64_t ms) { return ms == 0 ? "-" : format_rfc3339(ms); }

void print_row(Table& table, const SiteStatus& s, int64_t now) {
  table.row({s.site, s.state, std::to_string(s.waiting), human_size(s.waiting_bytes),
             s.oldest_put_ms == 0 ? "-" : human_duration(s.age_ms(now)), std::to_string(s.in_flight), at(s.last_delivered_ms),
             at(s.next_try_ms), s.last_error.empty() ? "-" : shortened(printable(s.last_error), 60)});
}

void print_forwarders(const std::vector<Forwarder>& running, bool json) {
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
  const int64_t now = now_ms();
  bool exceeded = false;
  if (!limits.any()) print_forwarders(running_forwarders(*root, outboxes), common.json);
  if (limits.min_free && root->free_bytes() < *limits.min_free) {
    exceeded = true;
    out(common.json ? JsonObject().add("kind", "root").add("free_bytes", root->free_bytes()).str() + "\n"
                    : "free: " + human_size(root->free_bytes()) + "\n");
  }
  Table table = site_table();
  bool rows = false;
  GW_TRY_ASSIGN(auto statuses, site_statuses(*root, outboxes, SiteLook::messages, now));
  for (const SiteStatus& status : statuses) {
    const bool too_many = limits.max_count && status.waiting > *limits.max_count;
    const bool too_old = limits.max_age_ms && status.age_ms(now) > *limits.max_age_ms;
    exceeded |= too_many || too_old;
    if (limits.any() && !too_many && !too_old) continue;
    rows = true;
    if (common.json)
      out(site_json(status, now).str() + "\n");
    else
      print_row(table, status, now);
  }
  if (!common.json && (rows || !limits.any())) table.flush();
  return exceeded ? ExitCode::no : ExitCode::ok;
}

}  // namespace gw
