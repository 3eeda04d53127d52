// gw-dedup purge. Order matters: a message that a killed listener has staged needs its row to be published, so everything is
// recovered before anything is forgotten, and rows of transactions under way stay.
#include "commands.hpp"
#include "databus.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "store.hpp"
#include "units.hpp"

namespace gw::dedup {

namespace {

Result<int64_t> parse_age(const Options& options) {
  if (options.older_than.empty()) return Error{ExitCode::usage, 0, "no age: give --older-than T, such as 7d"};
  auto age = parse_duration_ms(options.older_than);
  if (!age) return Error{ExitCode::usage, 0, "'" + options.older_than + "' is not a duration for --older-than: expected 7d, 12h, 30m or so"};
  return *age;
}

Result<void> recover(Root& root) {
  GW_TRY(root.recover_dead_owners());
  GW_TRY_ASSIGN(auto queues, root.list_queues());
  for (const std::string& name : queues) {
    auto queue = root.queue(name);  // opening it recovers it
    if (!queue && queue.error().code != ExitCode::no_input) return std::move(queue).error();
  }
  return root.maintain();
}

/// What a wrong clock would destroy cannot be had back.
Result<void> check_clock(Root& root, DedupStore& store, bool accept, bool dry_run) {
  GW_TRY_ASSIGN(auto clock, store.clock());
  const RootClock of_root = root.clock();
  if (clock.ahead_ms == 0 && clock.behind_ms == 0 && of_root.may_purge) return {};
  if (accept) {
    if (dry_run) return {};
    GW_TRY(root.accept_clock());
    return store.accept_clock();
  }
  if (of_root.behind_ms)
    return Error{ExitCode::not_now, 0, "the clock is " + human_duration(of_root.behind_ms) + " behind what was seen before; nothing is purged (--yes: it is right)"};
  if (clock.behind_ms) {
    event(Level::warn, "clock-behind", {{"behind_s", clock.behind_ms / 1000}});
    return Error{ExitCode::not_now, 0, "the clock is " + human_duration(clock.behind_ms) + " behind what was seen before; nothing is purged (--yes: it is right)"};
  }
  if (clock.ahead_ms == 0)
    return Error{ExitCode::not_now, 0, "the clock has jumped forward by over a day; nothing is purged (--yes: it is right)"};
  event(Level::warn, "clock-ahead", {{"ahead_s", clock.ahead_ms / 1000}});
  return Error{ExitCode::not_now, 0, "the clock is " + human_duration(clock.ahead_ms) + " ahead of what was seen before; nothing is purged (--yes: it is right)"};
}

}  // namespace

Result<ExitCode> purge(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(int64_t age, parse_age(options));
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, false));
  GW_TRY(check_clock(*open.root, *open.store, options.yes, common.dry_run));
  if (!common.dry_run) GW_TRY(recover(*open.root));
  const int64_t cut = now_ms() - age;
  // Before the ids: those say which properties have found their message.
  auto remove = [&](const std::string& key) -> Result<void> {
    GW_TRY(abandoned_part(open.root->path(), key, true));
    GW_TRY(release_blob(open.root->path(), key));
    return {};
  };
  GW_TRY_ASSIGN(uint64_t blobs, open.store->purge_properties(cut, remove, common.dry_run));
  GW_TRY_ASSIGN(uint64_t count, open.store->purge(cut, [&](const Xid& xid) { return open.root->xid_in_use(xid); }, common.dry_run));
  if (common.json) {
    out(JsonObject().add("endpoint", open.endpoint).add("purged", count).add_time("cut_at", cut).add("dry_run", common.dry_run).add("purged_blobs", blobs).str() + "\n");
  } else if (!common.quiet) {
    out((common.dry_run ? "would purge " : "purged ") + std::to_string(count) + "\n");
  }
  return ExitCode::ok;
}

}  // namespace gw::dedup
