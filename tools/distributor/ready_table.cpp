#include "ready_table.hpp"

#include <algorithm>

#include "gw_assert.hpp"

namespace gw::distributor {

std::string_view to_string(WorkerState state) {
  switch (state) {
    case WorkerState::ready: return "ready";
    case WorkerState::draining: return "draining";
    case WorkerState::drained: return "drained";
    case WorkerState::dead: return "dead";
    case WorkerState::unregistered: break;
  }
  return "unregistered";
}

WorkerState Worker::state() const {
  if (unregistered) return WorkerState::unregistered;
  if (draining && out.empty()) return WorkerState::drained;
  if (gone || silent) return WorkerState::dead;
  return draining ? WorkerState::draining : WorkerState::ready;
}

// --- slots ---------------------------------------------------------------------------------------------------------------

void ReadyTable::touch(uint64_t seq, Slot& slot) {
  if (slot.touched) return;
  slot.touched = true;
  touched_.push_back(seq);
}

void ReadyTable::add_free(uint64_t seq, Worker& worker) {
  worker.free.insert(seq);
  if (worker.blocked) {
    parked_.push_back(seq);
  } else {
    fifo_.push_back(seq);
    ++available_;
  }
}

void ReadyTable::free_slot(uint64_t seq, Slot& slot) {
  Worker& worker = *slot.worker;
  worker.out.erase(seq);
  const bool wanted = worker.may_have_tokens() && worker.free.size() + worker.fresh + worker.out.size() < worker.capacity;
  if (!wanted) return drop_slot(seq, true);
  slot.out = false;
  slot.work = 0;
  slot.missing = 0;
  touch(seq, slot);
  add_free(seq, worker);
}

// `stored`: its message is in the storage queue and has to go.
void ReadyTable::drop_slot(uint64_t seq, bool stored) {
  auto found = slots_.find(seq);
  GW_ASSERT(found != slots_.end());
  Worker& worker = *found->second.worker;
  if (worker.free.erase(seq) > 0 && !worker.blocked) --available_;
  worker.out.erase(seq);
  slots_.erase(found);
  if (stored) voided_.push_back(seq);
}

void ReadyTable::balance(Worker& worker) {
  // What is more than it can hold is no longer counted as its own; it is handled all the same.
  while (worker.out.size() > worker.capacity) drop_slot(*worker.out.begin(), true);
  const size_t wanted = worker.may_have_tokens() ? worker.capacity - worker.out.size() : 0;
  size_t have = worker.free.size() + worker.fresh;
  if (have < wanted) {
    worker.fresh += static_cast<unsigned>(wanted - have);
    return;
  }
  for (; have > wanted && worker.fresh > 0; --have) --worker.fresh;
  for (; have > wanted; --have) drop_slot(*worker.free.rbegin(), true);
}

// --- loading ----------------------------------------------------------------------------------------------------------------

void ReadyTable::load(const WorkerRecord& record, int64_t now) {
  auto& worker = workers_[record.name];
  // Two records of one worker: the later one is true.
  if (worker && worker->seq > record.seq) {
    forgotten_.push_back(record.seq);
    return;
  }
  if (worker) forgotten_.push_back(worker->seq);
  worker = std::make_unique<Worker>();
  static_cast<WorkerRecord&>(*worker) = record;
  worker->heard_ms = now;
}

bool ReadyTable::load_slot(uint64_t seq, const std::string& name, bool out, int64_t now) {
  Worker* worker = find(name);
  if (!worker) return false;
  Slot& slot = slots_[seq];
  slot.worker = worker;
  slot.out = slot.stored_out = out;
  slot.since_ms = now;
  if (out) worker->out.insert(seq);
  else add_free(seq, *worker);
  return true;
}

void ReadyTable::load_hand_out(const HandOut& hand_out) {
  auto found = slots_.find(hand_out.slot);
  if (found != slots_.end() && found->second.out) found->second.work = std::max(found->second.work, hand_out.work);
}

void ReadyTable::loaded() {
  for (Worker* worker : workers()) balance(*worker);
}

// --- events -----------------------------------------------------------------------------------------------------------------

Worker* ReadyTable::find(std::string_view name) {
  auto found = workers_.find(name);
  return found == workers_.end() ? nullptr : found->second.get();
}

std::vector<Worker*> ReadyTable::workers() {
  std::vector<Worker*> all;
  for (auto& [name, worker] : workers_) all.push_back(worker.get());
  return all;
}

std::vector<uint64_t> ReadyTable::slots() const {
  std::vector<uint64_t> all;
  for (auto& [seq, slot] : slots_) all.push_back(seq);
  return all;
}

std::optional<HandOut> ReadyTable::out_on(uint64_t slot) const {
  auto found = slots_.find(slot);
  if (found == slots_.end() || !found->second.out) return std::nullopt;
  return HandOut{slot, found->second.work};
}

bool ReadyTable::starting(const ControlMessage& control, int64_t now, int64_t wall_ms) {
  auto& worker = workers_[control.worker];
  if (!worker) worker = std::make_unique<Worker>();
  if (control.since_ms != 0 && control.since_ms < worker->since_ms && control.session != worker->session) return false;
  worker->name = control.worker;
  worker->session = control.session;
  worker->capacity = control.capacity;
  worker->plain = !control.lists;
  worker->silent = worker->gone = worker->unregistered = false;
  worker->since_ms = control.since_ms != 0 ? control.since_ms : wall_ms;
  worker->lease_ms = 0;
  worker->heard_ms = now;
  worker->changed = true;
  worker->fresh = 0;
  while (!worker->free.empty()) drop_slot(*worker->free.begin(), true);
  balance(*worker);
  return true;
}

bool ReadyTable::is_out(const HandOut& hand_out, const Worker& worker) const {
  auto found = slots_.find(hand_out.slot);
  if (found == slots_.end() || !found->second.out || found->second.worker != &worker) return false;
  return found->second.work == 0 || found->second.work == hand_out.work;
}

ReadyTable::Returned ReadyTable::returned(const ControlMessage& control, int64_t now) {
  Returned result;
  Worker* worker = find(control.worker);
  if (!worker) {
    result.ignored = control.hand_outs;
    return result;
  }
  if (worker->session == control.session) worker->heard_ms = now;
  worker->done += control.done;
  worker->failed += control.failed;
  for (const HandOut& one : control.hand_outs) {
    if (is_out(one, *worker)) {
      free_slot(one.slot, slots_[one.slot]);
      ++result.applied;
    } else {
      result.ignored.push_back(one);
    }
  }
  // It says how many, not which: the oldest. It can never have more than it was given.
  if (worker->plain && control.hand_outs.empty() && worker->session == control.session)
    for (unsigned i = 0; i < control.capacity && !worker->out.empty(); ++i, ++result.applied) free_slot(*worker->out.begin(), slots_[*worker->out.begin()]);
  return result;
}

ReadyTable::Alive ReadyTable::heartbeat(const ControlMessage& control, int64_t now) {
  Alive alive;
  Worker* worker = find(control.worker);
  if (!worker || worker->unregistered || worker->gone || worker->session != control.session) return alive;
  alive.known = true;
  alive.was_silent = worker->silent;
  worker->heard_ms = now;
  worker->failed += control.failed;
  if (worker->silent) {
    worker->silent = false;
    worker->changed = true;
  }
  balance(*worker);
  return alive;
}

std::vector<HandOut> ReadyTable::missing(const ControlMessage& control, int64_t listed_at, int64_t lease_ms) {
  std::vector<HandOut> lost;
  Worker* worker = find(control.worker);
  if (!worker || !control.lists || worker->session != control.session) return lost;
  const std::set<HandOut> holds(control.hand_outs.begin(), control.hand_outs.end());
  for (uint64_t seq : std::vector<uint64_t>(worker->out.begin(), worker->out.end())) {
    Slot& slot = slots_[seq];
    auto held = holds.lower_bound(HandOut{seq, slot.work});
    const bool there = held != holds.end() && held->slot == seq && (slot.work == 0 || held->work == slot.work);
    if (there || listed_at - slot.since_ms < lease_ms) {
      slot.missing = 0;
    } else if (++slot.missing >= 2) {
      lost.push_back({seq, slot.work});
      free_slot(seq, slot);
    }
  }
  return lost;
}

bool ReadyTable::stopping(const ControlMessage& control) {
  Worker* worker = find(control.worker);
  if (!worker || worker->session != control.session) return false;
  gone(*worker);
  return true;
}

void ReadyTable::gone(Worker& worker) {
  worker.changed |= !worker.gone;
  worker.gone = true;
  balance(worker);
}

void ReadyTable::silent(Worker& worker) {
  worker.changed |= !worker.silent;
  worker.silent = true;
  balance(worker);
}

void ReadyTable::told_lease(Worker& worker, int64_t lease_ms) {
  worker.changed |= worker.lease_ms != lease_ms;
  worker.lease_ms = lease_ms;
}

bool ReadyTable::drain(std::string_view name) {
  Worker* worker = find(name);
  if (!worker || worker->unregistered) return false;
  worker->changed |= !worker->draining;
  worker->draining = true;
  balance(*worker);
  return true;
}

bool ReadyTable::resume(std::string_view name) {
  Worker* worker = find(name);
  if (!worker || worker->unregistered) return false;
  worker->changed |= worker->draining;
  worker->draining = false;
  balance(*worker);
  return true;
}

bool ReadyTable::unregister(std::string_view name) {
  Worker* worker = find(name);
  if (!worker || worker->unregistered) return false;
  worker->unregistered = worker->changed = true;
  worker->draining = false;
  balance(*worker);  // what is out stays out until it comes back or is taken back
  return true;
}

void ReadyTable::taken_back(const HandOut& hand_out) {
  auto found = slots_.find(hand_out.slot);
  if (found != slots_.end() && is_out(hand_out, *found->second.worker)) free_slot(hand_out.slot, found->second);
}

void ReadyTable::nothing_left(Worker& worker) {
  while (!worker.out.empty()) free_slot(*worker.out.begin(), slots_[*worker.out.begin()]);
  balance(worker);
  if (!worker.unregistered) return;
  if (worker.seq != 0) forgotten_.push_back(worker.seq);
  workers_.erase(worker.name);
}

void ReadyTable::vanished(uint64_t seq) {
  auto found = slots_.find(seq);
  if (found == slots_.end()) return;
  Worker& worker = *found->second.worker;
  drop_slot(seq, false);
  balance(worker);
}

// --- handing out ------------------------------------------------------------------------------------------------------------

ReadyTable::Taken ReadyTable::take(uint64_t work, int64_t now) {
  GW_ASSERT(available_ > 0);
  for (;;) {
    GW_ASSERT(!fifo_.empty());
    const uint64_t seq = fifo_.front();
    fifo_.pop_front();
    auto found = slots_.find(seq);
    if (found == slots_.end() || found->second.out) continue;
    Slot& slot = found->second;
    if (slot.worker->blocked) {
      parked_.push_back(seq);
      continue;
    }
    --available_;
    slot.worker->free.erase(seq);
    slot.worker->out.insert(seq);
    slot.out = true;
    slot.work = work;
    slot.since_ms = now;
    slot.missing = 0;
    touch(seq, slot);
    return {seq, slot.worker};
  }
}

void ReadyTable::block(Worker& worker) {
  if (worker.blocked) return;
  worker.blocked = true;
  available_ -= worker.free.size();
}

void ReadyTable::unblock() {
  for (auto& [name, worker] : workers_) {
    if (!worker->blocked) continue;
    worker->blocked = false;
    available_ += worker->free.size();
  }
  fifo_.insert(fifo_.end(), parked_.begin(), parked_.end());
  parked_.clear();
}

// --- storing ----------------------------------------------------------------------------------------------------------------

size_t ReadyTable::Changes::size() const {
  size_t count = to_out.size() + to_free.size() + voided.size() + 2 * records.size() + forgotten.size();
  for (auto& [worker, tokens] : fresh) count += tokens;
  return count;
}

ReadyTable::Changes ReadyTable::changes(size_t limit) const {
  Changes changes;
  for (uint64_t seq : touched_) {
    auto found = slots_.find(seq);
    if (found == slots_.end() || found->second.out == found->second.stored_out) continue;
    (found->second.out ? changes.to_out : changes.to_free).push_back(seq);
  }
  changes.voided.assign(voided_.begin(), voided_.begin() + static_cast<std::ptrdiff_t>(std::min(limit, voided_.size())));
  changes.forgotten = forgotten_;
  size_t room = limit;
  for (auto& [name, worker] : workers_) {
    const unsigned tokens = static_cast<unsigned>(std::min<size_t>(worker->fresh, room));
    room -= tokens;
    if (tokens > 0) changes.fresh.emplace_back(worker.get(), tokens);
    if (worker->changed) changes.records.push_back(worker.get());
  }
  return changes;
}

void ReadyTable::stored(const Changes& changes, const std::vector<uint64_t>& fresh, const std::vector<uint64_t>& records, int64_t now) {
  for (uint64_t seq : touched_) {
    auto found = slots_.find(seq);
    if (found == slots_.end()) continue;
    found->second.touched = false;
    found->second.stored_out = found->second.out;
  }
  touched_.clear();
  voided_.erase(voided_.begin(), voided_.begin() + static_cast<std::ptrdiff_t>(changes.voided.size()));
  forgotten_.clear();
  size_t next = 0;
  for (auto [worker, tokens] : changes.fresh)
    for (unsigned i = 0; i < tokens; ++i) {
      Slot& slot = slots_[fresh.at(next)];
      slot.worker = worker;
      slot.since_ms = now;
      --worker->fresh;
      add_free(fresh.at(next++), *worker);
    }
  next = 0;
  for (Worker* worker : changes.records) {
    worker->seq = records.at(next++);
    worker->changed = false;
  }
}

}  // namespace gw::distributor
