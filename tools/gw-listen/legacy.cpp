#include "legacy.hpp"

#include "diag.hpp"

namespace gw::listen {

template <class T>
Result<T> HeldMessages::on_thread(const std::function<Result<T>()>& work) {
  std::optional<Result<T>> result;
  thread_.run([&] { result.emplace(work()); });
  return *std::move(result);
}

Result<Queue> HeldMessages::queue() {
  std::lock_guard<std::mutex> one(mutex_);
  if (queue_) return queue_;
  auto made = on_thread<Queue>([&] { return root_.create_queue(name_); });
  if (made) queue_ = *made;
  return made;
}

void HeldMessages::look_again() {
  auto there = root_.queue(name_);
  std::lock_guard<std::mutex> one(mutex_);
  queue_ = there ? *std::move(there) : Queue();
}

Result<HeldMessages::Released> HeldMessages::release(const std::string& id) {
  const std::string& scope = endpoint_.name();
  auto row = on_thread<std::optional<DedupRow>>([&]() -> Result<std::optional<DedupRow>> {
    // What another process wrote may not be durable yet.
    GW_TRY_ASSIGN(auto found, store_.find(scope, id));
    if (found) GW_TRY(store_.confirm());
    return found;
  });
  if (!row) return std::move(row).error();
  if (!*row) return Released{Outcome::unknown, {}};
  if ((*row)->queue != name_) return Released{};
  return release_held(id, **row);
}

Result<HeldMessages::Released> HeldMessages::release_if_held(const std::string& id) {
  auto exists = on_thread<bool>([&]() -> Result<bool> {
    auto found = root_.queue(name_);
    if (!found && found.error().code == ExitCode::no_input) return false;
    if (!found) return std::move(found).error();
    return true;
  });
  if (!exists) return std::move(exists).error();
  return *exists ? release(id) : Result<Released>(Released{});
}

Result<HeldMessages::Released> HeldMessages::release_held(const std::string& id, const DedupRow& row) {
  GW_TRY_ASSIGN(Queue held, queue());
  auto claim_it = [&] { return on_thread<std::optional<Claim>>([&] { return held.claim_seq(row.seq); }); };
  GW_TRY_ASSIGN(auto claim, claim_it());
  if (claim) return move(id, *std::move(claim));
  // Staged by a listener that was killed: its recovery brings the message.
  GW_TRY(on_thread<size_t>([&] { return root_.recover_dead_owners(); }));
  if (root_.xid_in_use(row.xid)) return Released{Outcome::busy, {}};
  GW_TRY_ASSIGN(claim, claim_it());
  if (claim) return move(id, *std::move(claim));
  return not_there(id, row, held);
}

Result<HeldMessages::Released> HeldMessages::not_there(const std::string& id, const DedupRow& row, Queue& held) {
  using Stored = std::optional<std::pair<MessageInfo, Message>>;
  GW_TRY_ASSIGN(Stored stored, on_thread<Stored>([&] { return held.read(row.seq); }));
  if (stored) return Released{Outcome::busy, {}};
  // Moved; or dropped for its age, then its id went before it.
  GW_TRY_ASSIGN(auto again, on_thread<std::optional<DedupRow>>([&] { return store_.find(endpoint_.name(), id); }));
  return Released{again ? Outcome::released : Outcome::unknown, {}};
}

Result<HeldMessages::Released> HeldMessages::move(const std::string& id, Claim&& claim) {
  Message message = claim.message();
  if (message.id() != id) {  // the queue was removed and made anew: what had this number is lost, and the sender has it
    auto forgotten = on_thread<bool>([&] { return store_.forget(endpoint_.name(), id, INT64_MAX, [&](const Xid& xid) { return root_.xid_in_use(xid); }); });
    if (!forgotten) return std::move(forgotten).error();
    return Released{Outcome::unknown, {}};
  }
  GW_TRY_ASSIGN(auto properties, data_bus_.find(id, true));
  HeldProperties held(data_bus_.root_path());
  GW_TRY(held.hold(properties.rows));
  const auto expected = expected_properties(message.headers, properties.rows);
  if (auto missing = missing_property(expected, properties.rows)) return Released{Outcome::incomplete, std::move(missing)};
  rewrite_properties(message.headers, expected, properties.rows);
  PutOptions options;
  options.expires_at_ms = claim.info().expires_at_ms;
  Transaction transaction;
  transaction.ack(std::move(claim));
  transaction.put(endpoint_.current(), std::move(message), std::move(options));
  GW_TRY(committer_.commit(std::move(transaction)));
  held.release();
  if (!properties.rows.empty())
    if (auto done = data_bus_.accepted(id); !done) event(Level::warn, "properties-left", {{"id", id}, {"reason", done.error().text}});
  return Released{};
}

Result<bool> HeldMessages::drop(Claim&& claim) {
  const std::string id = claim.message().id();
  // The id first: without it an Ack says "never received", and a Submit counts as new.
  bool newer = false;
  auto forgotten = on_thread<bool>([&]() -> Result<bool> {
    GW_TRY_ASSIGN(auto row, store_.find(endpoint_.name(), id));
    // Its id was purged; if it came again, id and properties are those of the later one.
    newer = !row || row->queue != name_ || row->seq != claim.seq();
    if (newer) return true;
    return store_.forget(endpoint_.name(), id, INT64_MAX, [&](const Xid& xid) { return root_.xid_in_use(xid); });
  });
  if (!forgotten) return std::move(forgotten).error();
  if (!*forgotten) return false;
  if (!newer) GW_TRY(data_bus_.discard(id));
  Transaction transaction;
  transaction.ack(std::move(claim));
  GW_TRY(committer_.commit(std::move(transaction)));
  event(Level::warn, "held-dropped", {{"id", id}, {"reason", "no Ack came within 7 days"}});
  return true;
}

Result<uint64_t> HeldMessages::sweep(int64_t now) {
  auto held = root_.queue(name_);
  if (!held && held.error().code == ExitCode::no_input) return uint64_t{0};
  if (!held) return std::move(held).error();
  std::vector<uint64_t> old;
  GW_TRY(held->scan([&](const MessageInfo& info) {
    if (info.put_at_ms >= now - held_ms_max) return false;
    old.push_back(info.seq);
    return true;
  }));
  uint64_t count = 0;
  for (uint64_t seq : old) {
    GW_TRY_ASSIGN(auto claim, held->claim_seq(seq));
    if (!claim) continue;
    GW_TRY_ASSIGN(bool dropped, drop(*std::move(claim)));
    count += dropped;
  }
  return count;
}

}  // namespace gw::listen
