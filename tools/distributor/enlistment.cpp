#include "enlistment.hpp"

#include <algorithm>

#include "diag.hpp"
#include "distributor_status.hpp"
#include "units.hpp"

namespace gw::distributor {

using Kind = ControlMessage::Kind;

namespace {

constexpr int64_t beat_again_ms = 1000;      // after one that could not be put
constexpr int64_t beat_min_ms = 100;
constexpr size_t listed_max = 4 * worker_capacity_max;  // more than that was not handed out: somebody else filled the queue

}  // namespace

Result<std::unique_ptr<Enlistment>> Enlistment::open(Root& root, Queue queue, EnlistmentSettings settings, Destinations& destinations) {
  std::unique_ptr<Enlistment> one(new Enlistment(root, std::move(queue), std::move(settings)));
  int pid = 0;
  GW_TRY_ASSIGN(auto lock, root.try_singleton(worker_lock(one->settings_.queue), &pid));
  if (!lock)
    return Error{ExitCode::not_now, 0, "another worker with a master takes from queue '" + one->settings_.queue + "' (pid " + std::to_string(pid) + "): give each worker a --queue of its own"};
  one->lock_ = *std::move(lock);
  const Address& master = one->settings_.master;
  one->endpoint_address_ = full_address(master, root.machine());
  one->worker_ = full_address({one->settings_.queue, ""}, root.machine());
  one->session_ = new_message_id();
  if (is_here(master, root.machine())) {
    GW_TRY_ASSIGN(one->input_, root.create_queue(master.queue));
    GW_TRY(root.create_queue(control_queue(master.queue)));
  }
  GW_TRY_ASSIGN(one->control_, destinations.find(Address{control_queue(master.queue), master.machine}));
  GW_TRY_ASSIGN(one->endpoint_, destinations.find(master));
  return one;
}

ControlMessage Enlistment::about_me(Kind kind) const {
  ControlMessage control;
  control.kind = kind;
  control.worker = worker_;
  control.session = session_;
  return control;
}

void Enlistment::put(Transaction& transaction, Message&& message) const { put_to(transaction, control_, std::move(message)); }

void Enlistment::put_to_endpoint(Transaction& transaction, Message message, PutOptions options) const {
  put_to(transaction, endpoint_, std::move(message), std::move(options));
}

Result<CommitResult> Enlistment::send(const ControlMessage& control) {
  Transaction transaction;
  put(transaction, to_message(control));
  return root_.commit(std::move(transaction));
}

Result<void> Enlistment::announce() {
  ControlMessage control = about_me(Kind::starting);
  control.capacity = settings_.capacity;
  control.lists = true;
  control.since_ms = root_.clock().now_ms;
  GW_TRY(send(control));
  next_beat_ms_ = monotonic_ms() + beat_every_ms_;
  return {};
}

void Enlistment::leave() {
  if (left_) return;
  left_ = true;
  // If it cannot be told, the distributor finds out by the lock or by the lease.
  if (auto sent = send(about_me(Kind::stopping)); !sent) event(Level::warn, "master-not-told", {{"master", endpoint_address_}, {"reason", sent.error().text}});
}

void Enlistment::list_held(ControlMessage& control) const {
  std::vector<uint64_t> seqs;
  control.lists = queue_.scan([&](const MessageInfo& info) { return seqs.push_back(info.seq), seqs.size() <= listed_max; }).has_value();
  control.lists &= seqs.size() <= listed_max;
  if (!control.lists) return;
  for (uint64_t seq : seqs) {
    auto found = queue_.read(seq);
    if (!found || !*found) continue;
    if (auto hand_out = hand_out_of((*found)->second)) control.hand_outs.push_back(*hand_out);
  }
}

void Enlistment::beat() {
  const int64_t now = monotonic_ms();
  if (left_ || now < next_beat_ms_) return;
  next_beat_ms_ = now + beat_every_ms_;
  // While nobody reads them one is enough.
  if (last_beat_seq_ != 0) {
    auto last = control_.queue.read(last_beat_seq_);
    if (last && *last) return;
  }
  ControlMessage control = about_me(Kind::heartbeat);
  list_held(control);
  control.failed = failed_;
  auto sent = send(control);
  if (!sent) {
    event(Level::warn, "heartbeat-not-sent", {{"master", endpoint_address_}, {"reason", sent.error().text}});
    next_beat_ms_ = now + beat_again_ms;
    return;
  }
  failed_ = 0;
  last_beat_seq_ = sent->puts[0].seq;
}

bool Enlistment::apply(const Message& message) {
  auto lease = parse_lease(message);
  if (!lease) return false;
  beat_every_ms_ = std::max(*lease / 3, beat_min_ms);
  next_beat_ms_ = std::min(next_beat_ms_, monotonic_ms() + beat_every_ms_);
  return true;
}

std::optional<HandOut> Enlistment::hand_out_of(const Message& message) { return parse_hand_out(message.headers.get(worker_header::hand_out)); }

void Enlistment::give_back(Transaction& transaction, const std::vector<HandOut>& hand_outs, std::vector<Took> times) {
  if (hand_outs.empty()) return;
  ControlMessage control = about_me(Kind::returned);
  control.hand_outs = hand_outs;
  control.done = times.size();
  if (!input_) control.times = std::move(times);
  control.failed = std::exchange(failed_, 0);
  put(transaction, to_message(control));
}

}  // namespace gw::distributor
