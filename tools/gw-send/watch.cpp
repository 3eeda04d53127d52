#include "watch.hpp"

#include <algorithm>
#include <array>
#include <set>

#include "diag.hpp"
#include "json.hpp"
#include "outbox.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t look_again_ms = 20;  // at most so often, whatever happens in the root

/// The site has said that the message itself is bad.
bool refused_as_bad(const Outcome& outcome) {
  static constexpr std::array<int, 5> bad{400, 412, 413, 415, 422};
  return outcome.state == OutcomeState::failed && std::find(bad.begin(), bad.end(), outcome.status) != bad.end();
}

void print_json(const Outcome& outcome) {
  JsonObject object;
  object.add("id", outcome.id).add("site", outcome.site).add("state", to_string(outcome.state));
  object.add_time("since_at", outcome.since_ms).add("attempts", outcome.attempts);
  if (!outcome.reason.empty()) object.add("reason", outcome.reason);
  object.add_time("next_try_at", outcome.next_try_ms);
  out(object.str() + "\n");
}

std::string at(int64_t ms) { return ms == 0 ? "-" : format_rfc3339(ms); }

}  // namespace

void Watch::add(const std::string& id, const std::string& site, uint64_t seq) {
  Item item;
  item.outcome.id = id;
  item.outcome.site = site;
  item.outcome.since_ms = now_ms();
  item.seq = seq;
  items_.push_back(std::move(item));
  ++open_;
}

/// False: no message of this root has an outcome yet.
Result<bool> Watch::open_store() {
  if (store_) return true;
  auto store = OutcomeStore::open(root_.path(), false);
  if (!store && store.error().code == ExitCode::no_input) return false;
  if (!store) return std::move(store).error();
  store_ = *std::move(store);
  return true;
}

Result<Queue*> Watch::outbox_of(const std::string& site) {
  auto known = outboxes_.find(site);
  if (known == outboxes_.end()) {
    auto queue = root_.queue(outbox_of_site(site));
    if (!queue && queue.error().code != ExitCode::no_input) return std::move(queue).error();
    known = outboxes_.emplace(site, queue ? *queue : Queue()).first;
  }
  return &known->second;
}

Result<void> Watch::find(const std::vector<std::string>& ids, const std::vector<Outbox>& outboxes, bool only_these) {
  auto wanted_site = [&](const std::string& site) {
    return !only_these || std::any_of(outboxes.begin(), outboxes.end(), [&](const Outbox& o) { return o.site == site; });
  };
  std::set<std::string> unknown(ids.begin(), ids.end()), undelivered = unknown;
  std::vector<Item> found;
  auto find_outcomes = [&]() -> Result<void> {
    GW_TRY_ASSIGN(bool any_outcomes, open_store());
    if (!any_outcomes) return {};
    for (const std::string& id : std::vector<std::string>(unknown.begin(), unknown.end())) {
      GW_TRY_ASSIGN(auto outcomes, store_->find(id));
      for (Outcome& outcome : outcomes) {
        if (!wanted_site(outcome.site)) continue;
        unknown.erase(id);
        found.push_back({std::move(outcome), 0});
      }
    }
    return {};
  };
  GW_TRY(find_outcomes());
  // What has no final outcome is in an outbox, and what failed may be there again: one pass over each.
  for (const Outbox& outbox : outboxes) {
    if (!outbox.queue) continue;
    outboxes_.insert_or_assign(outbox.site, outbox.queue);
    auto scanned = outbox.queue.scan([&](const MessageInfo& info) {
      auto message = outbox.queue.read(info.seq);
      if (!message || !*message) return true;
      const std::string id = (*message)->second.id();
      if (!undelivered.contains(id)) return true;
      unknown.erase(id);
      auto known = std::find_if(found.begin(), found.end(),
                                [&](const Item& item) { return item.outcome.id == id && item.outcome.site == outbox.site; });
      if (known == found.end()) {
        found.push_back({});
        known = found.end() - 1;
        known->outcome.id = id;
        known->outcome.site = outbox.site;
        known->outcome.since_ms = info.put_at_ms;
      }
      known->seq = info.seq;
      if (known->outcome.state == OutcomeState::delivered) return true;  // about to be acked
      known->outcome.state = OutcomeState::stored;
      return true;
    });
    GW_TRY(std::move(scanned));
  }
  // What left its outbox between the two looks has an outcome now.
  if (!unknown.empty()) GW_TRY(find_outcomes());
  if (!unknown.empty())
    return Error{ExitCode::no_input, 0,
                 "nothing is known of message '" + *unknown.begin() + "'" + (only_these ? " at these sites" : "") +
                     ": it was not sent from this root, or more than 14 days ago"};
  for (const std::string& id : ids)
    for (Item& item : found)
      if (item.outcome.id == id) items_.push_back(item);
  open_ = static_cast<size_t>(std::count_if(items_.begin(), items_.end(), [](const Item& i) { return !is_final(i.outcome.state); }));
  return refresh();
}

Result<void> Watch::refresh(Item& item) {
  GW_TRY_ASSIGN(Queue * outbox, outbox_of(item.outcome.site));
  // First the outbox, then the outcome: an outcome is there before its message goes.
  bool there = false;
  int64_t put_at_ms = 0;
  if (*outbox && item.seq != 0) {
    GW_TRY(outbox->scan(
        [&](const MessageInfo& info) {
          there = info.seq == item.seq;
          if (there) {
            put_at_ms = info.put_at_ms;
            item.outcome.attempts = info.failures;
            item.outcome.next_try_ms = info.state == MessageState::deferred ? info.due_at_ms : 0;
          }
          return false;
        },
        item.seq));
  }
  std::optional<Outcome> outcome;
  GW_TRY_ASSIGN(bool any_outcomes, open_store());
  if (any_outcomes) {
    GW_TRY_ASSIGN(outcome, store_->find(item.outcome.id, item.outcome.site));
  }
  if (outcome && (!there || outcome->state == OutcomeState::delivered || outcome->state == OutcomeState::stored)) {
    const int64_t due_ms = item.outcome.next_try_ms;
    item.outcome = *outcome;
    if (there && !is_final(item.outcome.state)) {
      item.outcome.next_try_ms = due_ms;
      item.outcome.since_ms = put_at_ms;
    }
  }
  if (there || is_final(item.outcome.state)) return {};
  // It left the outbox without a word: somebody removed or moved it.
  item.outcome.state = OutcomeState::purged;
  item.outcome.since_ms = now_ms();
  item.outcome.next_try_ms = 0;
  return {};
}

Result<void> Watch::refresh() {
  for (Item& item : items_) {
    if (is_final(item.outcome.state)) continue;
    GW_TRY(refresh(item));
    if (is_final(item.outcome.state)) --open_;
  }
  return {};
}

Result<void> Watch::wait(int64_t timeout_ms, const std::function<bool()>& nobody_works) {
  const int64_t start = monotonic_ms();
  const int64_t deadline = timeout_ms > INT64_MAX - start ? INT64_MAX : start + timeout_ms;
  int64_t pause_ms = look_again_ms;
  for (;;) {
    const uint32_t bell = root_.bell();
    const bool last_look = nobody_works && nobody_works();
    const int64_t looked = monotonic_ms();
    GW_TRY(refresh());
    if (all_final() || last_look) return {};
    const int64_t now = monotonic_ms();
    if (now >= deadline) return {};
    root_.wait(bell, std::min<int64_t>(deadline - now, 250));
    // Many messages take long to look at: leave the machine to those who do the work.
    pause_ms = std::max(look_again_ms, 2 * (now - looked));
    const int64_t rest = std::min(pause_ms - (monotonic_ms() - now), deadline - monotonic_ms());
    if (rest > 0) root_.wait(root_.bell(), rest);
  }
}

Result<ExitCode> Watch::report(const CommonOptions& common) const {
  size_t delivered = 0, pending = 0, final_bad = 0, refused = 0;
  for (const Item& item : items_) {
    const Outcome& o = item.outcome;
    if (o.state == OutcomeState::delivered) ++delivered;
    else if (!is_final(o.state)) ++pending;
    else ++final_bad;
    if (refused_as_bad(o)) ++refused;
    if (common.json) {
      print_json(o);
    } else if (o.state != OutcomeState::delivered || common.verbose) {
      out(o.site + " " + std::string(to_string(o.state)) + " since=" + at(o.since_ms) + " attempts=" + std::to_string(o.attempts) +
          (o.reason.empty() ? "" : " reason=" + json_quote(printable(o.reason))) +
          (o.next_try_ms == 0 ? "" : " next_try=" + at(o.next_try_ms)) + " id=" + o.id + "\n");
    }
  }
  if (!common.quiet) event(Level::info, "waited", {{"delivered", delivered}, {"on_the_way", pending}, {"will_not_arrive", final_bad}});
  if (final_bad > 0) return refused == final_bad ? ExitCode::bad_data : ExitCode::unavailable;
  return pending > 0 ? ExitCode::not_now : ExitCode::ok;
}

}  // namespace gw
