// What nobody announces: workers that died or fell silent, the messages they had, tokens that somebody took out of the storage queue.
#include <algorithm>

#include "attempt_table.hpp"
#include "diag.hpp"
#include "hand_over.hpp"
#include "journal.hpp"
#include "address.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

constexpr int64_t watch_every_ms = 200;     // a death is noticed within that
constexpr int64_t last_word_ms = 300;       // what a worker said last is read by then, however much others say
constexpr int64_t audit_every_ms = 1000;
constexpr int64_t reclaim_again_ms = 1000;  // when something of a dead worker is still claimed
constexpr size_t reclaim_at_once = 256;

std::optional<std::string> local_name(const Root& root, const std::string& worker) {
  auto address = parse_address(worker);
  if (!address || !is_here(*address, root.machine())) return std::nullopt;
  return address->queue;
}

}  // namespace

int64_t HandOver::wait_ms() const {
  const int64_t now = monotonic_ms();
  int64_t until = watched_at_ms_ + watch_every_ms;
  if (paused_until_ms_ > now) until = std::min(until, paused_until_ms_);
  return std::max<int64_t>(until - now, 1);
}

Result<bool> HandOver::look_around() {
  const int64_t now = monotonic_ms();
  if (now < watched_at_ms_ + watch_every_ms) return false;
  watched_at_ms_ = now;
  unblock();
  if (now < paused_until_ms_) return false;
  watch_workers();
  GW_TRY(reclaim_all());
  tell_leases();
  if (now < audited_at_ms_ + audit_every_ms) return true;
  audited_at_ms_ = now;
  GW_TRY(audit());
  return true;
}

void HandOver::unblock() {
  const int64_t now = monotonic_ms();
  const size_t before = blocked_.size();
  std::erase_if(blocked_, [&](const auto& one) { return one.second <= now; });
  if (blocked_.size() == before) return;
  table_->unblock();
  for (auto& [name, until] : blocked_)
    if (Worker* worker = table_->find(name)) table_->block(*worker);
}

// A worker that stops says so before it lets its lock go: so what lies in the control queue is read before anybody is called dead.
bool HandOver::is_dead(const Worker& worker, int64_t now) {
  auto [seen, first] = unlocked_.emplace(worker.name, now);
  if (first) {
    watched_at_ms_ = 0;  // after the next turn
    return false;
  }
  if (!control_empty_ && !control_held_ && now < seen->second + last_word_ms) {
    watched_at_ms_ = 0;
    return false;
  }
  return true;
}

void HandOver::watch_workers() {
  const int64_t now = monotonic_ms();
  std::erase_if(unlocked_, [&](const auto& one) {
    const Worker* worker = table_->find(one.first);
    return !worker || worker->gone;
  });
  for (Worker* worker : table_->workers()) {
    if (worker->gone || worker->plain) continue;
    auto here = local_name(root_, worker->name);
    const bool unlocked = here && root_.singleton(worker_lock(*here)).pid == 0;
    if (!unlocked) unlocked_.erase(worker->name);
    if (unlocked) {
      if (!is_dead(*worker, now)) continue;
      event(Level::warn, "worker-died",
            {{"endpoint", settings_.endpoint}, {"worker", worker->name}, {"session", worker->session}, {"tokens_cleared", worker->free.size()}, {"in_flight", worker->out.size()}});
      table_->gone(*worker);
      static_cast<void>(root_.recover_dead_owners().has_value());  // what it had claimed is free now
      reclaim_at_ms_ = 0;
    } else if (!worker->silent && !worker->unregistered && control_empty_ && now - worker->heard_ms > settings_.lease_ms) {
      event(Level::warn, "worker-silent",
            {{"endpoint", settings_.endpoint}, {"worker", worker->name}, {"lease_ms", settings_.lease_ms}, {"tokens_cleared", worker->free.size()}, {"in_flight", worker->out.size()}});
      table_->silent(*worker);
      reclaim_at_ms_ = 0;
    }
  }
}

Result<void> HandOver::reclaim_all() {
  if (monotonic_ms() < reclaim_at_ms_) return {};
  reclaim_at_ms_ = monotonic_ms() + reclaim_again_ms;
  for (Worker* worker : table_->workers()) {
    if (!worker->unregistered && (worker->state() != WorkerState::dead || worker->out.empty())) continue;
    GW_TRY(reclaim(*worker));
  }
  return {};
}

// Moves what was handed to a dead worker back into the endpoint's queue, so that others get it. What somebody still holds stays.
Result<void> HandOver::reclaim(Worker& worker) {
  const std::string name = worker.name;
  auto here = local_name(root_, name);
  std::optional<Queue> queue = here ? ledger_.local_queue(name) : std::nullopt;
  const bool process_over = !here || worker.gone || root_.singleton(worker_lock(*here)).pid == 0;
  if (!here && !worker.unregistered) return {};  // on another machine: it goes on when it is back
  std::vector<uint64_t> seqs;
  if (queue) GW_TRY(queue->scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), true; }));
  size_t left = 0, moved = 0;
  std::vector<Claim> claims;
  auto flush = [&]() -> Result<bool> {
    const size_t count = claims.size();
    if (count == 0) return true;
    GW_TRY_ASSIGN(bool done, take_back(*queue, std::move(claims)));
    claims.clear();
    moved += count;
    return done;
  };
  for (uint64_t seq : seqs) {
    GW_TRY_ASSIGN(auto found, queue->read(seq));
    if (!found) continue;
    // What it was told of its lease lies there, too; one that is only silent reads it when it goes on.
    const bool lease = process_over && parse_lease(found->second);
    if (!lease && !parse_hand_out(found->second.headers.get(worker_header::hand_out))) continue;
    GW_TRY_ASSIGN(auto claim, queue->claim_seq(seq));
    if (!claim) {
      ++left;
      continue;
    }
    claims.push_back(*std::move(claim));
    if (claims.size() < reclaim_at_once) continue;
    GW_TRY_ASSIGN(bool done, flush());
    if (!done) return {};
  }
  GW_TRY_ASSIGN(bool done, flush());
  if (moved > 0 && done)
    event(Level::info, "messages-taken-back", {{"endpoint", settings_.endpoint}, {"worker", name}, {"messages", moved}, {"still_claimed", left}});
  Worker* still = table_->find(name);
  if (done && still && left == 0 && process_over) table_->nothing_left(*still);
  return {};
}

// One commit. False: not now.
Result<bool> HandOver::take_back(const Queue& queue, std::vector<Claim>&& claims) {
  std::unique_ptr<AttemptTable> attempts;
  if (auto opened = AttemptTable::open(root_.path(), queue.name())) attempts = *std::move(opened);
  Transaction transaction;
  size_t puts = 0;
  std::vector<std::string> ids;
  for (Claim& claim : claims) {
    const MessageInfo info = claim.info();
    Message message = std::move(claim.message());
    auto hand_out = parse_hand_out(message.headers.get(worker_header::hand_out));
    if (!hand_out) {
      transaction.ack(std::move(claim));
      continue;
    }
    unsigned interrupted = attempts ? attempts->interrupted(info) : 0;
    if (auto before = message.headers.find(worker_header::interruptions)) interrupted += static_cast<unsigned>(std::strtoul(before->c_str(), nullptr, 10));
    remove_hand_out(message.headers);
    if (interrupted > 0) message.headers.set(worker_header::interruptions, std::to_string(interrupted));
    PutOptions options;
    options.failures = info.failures;
    options.due_at_ms = info.due_at_ms;
    options.expires_at_ms = info.expires_at_ms;
    table_->taken_back(*hand_out);
    ids.push_back(message.id());
    transaction.ack(std::move(claim));
    transaction.put(ledger_.input(), std::move(message), std::move(options));
    ++puts;
  }
  GW_TRY_ASSIGN(auto written, ledger_.write(transaction, puts, table_->changes(worker_capacity_max)));
  if (!written.vanished.empty()) {
    transaction = {};
    GW_TRY(reload());
    return false;
  }
  auto result = root_.commit(std::move(transaction));
  if (!result) {
    if (!may_be_over_soon(result.error())) return std::move(result).error();
    pause(result.error());
    GW_TRY(reload());
    return false;
  }
  Ledger::written(*table_, written, *result, monotonic_ms());
  const std::string worker = full_address({queue.name(), ""}, root_.machine());
  for (size_t i = 0; i < ids.size(); ++i) {
    JournalLine line;
    line.event = Happened::moved;
    line.id = ids[i];
    line.queue = queue.name();
    line.to = settings_.endpoint;
    line.seq = result->puts[i].seq;
    line.worker = worker;
    line.reason = "the worker is dead, silent or unregistered";
    root_.journal().add(line);
  }
  root_.journal().write();
  return true;
}

// The storage queue is open to everybody: what somebody took out of it or put into it does not stay unnoticed.
Result<void> HandOver::audit() {
  GW_TRY_ASSIGN(auto seqs, ledger_.stored_slots());
  const std::vector<uint64_t> known = table_->slots();
  const std::set<uint64_t> there(seqs.begin(), seqs.end());
  size_t vanished = 0;
  for (uint64_t slot : known)
    if (!there.count(slot)) {
      table_->vanished(slot);
      ++vanished;
    }
  if (vanished > 0)
    event(Level::warn, "tokens-vanished", {{"endpoint", settings_.endpoint}, {"tokens", vanished}, {"reason", "new ones take their place"}});
  std::vector<uint64_t> foreign;
  const auto pending = table_->changes(SIZE_MAX).voided;
  for (uint64_t seq : seqs)
    if (!table_->has_slot(seq) && std::find(pending.begin(), pending.end(), seq) == pending.end()) foreign.push_back(seq);
  return set_foreign_aside(foreign);
}

// So that workers report often enough.
void HandOver::tell_leases() {
  for (Worker* worker : table_->workers()) {
    if (!is_untold(*worker)) continue;
    auto destination = destination_of(*worker);
    if (!destination) continue;
    Transaction transaction;
    put_to(transaction, *destination, lease_message(settings_.lease_ms));
    if (root_.commit(std::move(transaction))) table_->told_lease(*worker, settings_.lease_ms);  // its record follows in the next turn
  }
}

}  // namespace gw::distributor
