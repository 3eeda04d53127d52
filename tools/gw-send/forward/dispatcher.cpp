#include "dispatcher.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "diag.hpp"
#include "dispatcher_site.hpp"
#include "outbox.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t tick_ms = 1000;
constexpr int64_t maintain_ms = 10'000;
constexpr std::chrono::microseconds gather_step{500};
constexpr int gather_steps = 4;

}  // namespace

Dispatcher::Dispatcher(Root& root, ForwardJob job)
    : root_(root), job_(std::move(job)), config_file_(job_.config_path, job_.config_must_exist) {}

Dispatcher::~Dispatcher() {
  stop();
  if (thread_.joinable()) thread_.join();
  policy_.reset();  // its threads give back
}

void Dispatcher::start(SendLoop& send_loop) {
  send_loop_ = &send_loop;
  send_loop_->configure(settings_->max_transfers, settings_->rate_bytes);
  digester_ = std::make_unique<BodyDigester>([this](TransferPtr&& transfer, const std::vector<BodySums>& sums, std::string error) {
    std::vector<TransferPtr> one;
    if (error.empty()) {
      for (size_t i = 0; i < sums.size(); ++i) set_sums(*transfer, transfer->calls[i], sums[i]);
      one.push_back(std::move(transfer));
      send_loop_->submit(std::move(one));
      return;
    }
    transfer->verdict = Transfer::Verdict::unreadable;
    transfer->answer.error = std::move(error);
    one.push_back(std::move(transfer));
    give_back(std::move(one));
  });
  policy_ = std::make_unique<PolicyRunner>([this](TransferPtr&& transfer) {
    std::vector<TransferPtr> one;
    one.push_back(std::move(transfer));
    give_back(std::move(one));
  });
  watcher_ = std::thread([this] { watch(); });
  thread_ = std::thread([this] { run(); });
}

void Dispatcher::give_back(std::vector<TransferPtr>&& transfers) {
  std::lock_guard guard(mutex_);
  if (back_.empty())
    back_ = std::move(transfers);
  else
    std::move(transfers.begin(), transfers.end(), std::back_inserter(back_));
  wake_.notify_all();
}

void Dispatcher::list(std::vector<ListedMessage>&& messages) {
  std::lock_guard guard(mutex_);
  std::move(messages.begin(), messages.end(), std::back_inserter(listed_));
  wake_.notify_all();
}

void Dispatcher::no_more_listed() {
  std::lock_guard guard(mutex_);
  listed_end_ = true;
  wake_.notify_all();
}

void Dispatcher::reload() {
  std::lock_guard guard(mutex_);
  reload_ = true;
  wake_.notify_all();
}

void Dispatcher::stop() {
  if (policy_) policy_->stop();
  std::lock_guard guard(mutex_);
  stop_ = true;
  wake_.notify_all();
}

/// Waits for changes in the root on behalf of the dispatcher, which has other things to wait for too.
void Dispatcher::watch() {
  while (!end_watch_.load()) {
    const uint32_t seen = root_.bell();
    {
      std::lock_guard guard(mutex_);
      bell_rang_ = true;
      wake_.notify_all();
    }
    root_.wait(seen, tick_ms);
  }
}

void Dispatcher::run() {
  while (!finished()) {
    settle(wait_for_work());
    if (!tick()) continue;
    route_gateway_messages();
    claim_more();
    settle(std::exchange(own_back_, {}));
  }
  conclude();
  end_watch_.store(true);
  root_.ring();
  watcher_.join();
  digester_.reset();
  ended_.store(true, std::memory_order_release);
  send_loop_->wake();
}

/// How long nothing happens unless something comes in.
int64_t Dispatcher::idle_ms() const {
  const int64_t now = monotonic_ms();
  int64_t wait = tick_ms;
  auto at = [&](int64_t when) {
    if (when > now) wait = std::min(wait, when - now);
  };
  for (const SitePtr& site : sites_) {
    if (!site->usable()) continue;
    at(site->paused_until_ms);
    at(site->circuit.open() ? std::min(site->window_open ? site->circuit.probe_at_ms() : INT64_MAX, site->give_up_check_ms) : 0);
    at(site->listed.first_due_ms());
    if (!site->look) at(site->next_due_ms);
  }
  for (const GatewayQueue& from : gateway_queues_) at(std::max(from.paused_until_ms, from.look ? 0 : from.next_due_ms));
  return wait;
}

std::vector<TransferPtr> Dispatcher::wait_for_work() {
  const int64_t wait = idle_ms();
  std::unique_lock lock(mutex_);
  auto something = [this] { return !back_.empty() || !listed_.empty() || bell_rang_ || reload_ || stop_ || listed_end_; };
  // Once told to end, only what comes back is of interest.
  auto wanted_now = [&] { return stop_ ? !back_.empty() : something() && (!listed_end_ || !back_.empty() || bell_rang_ || reload_); };
  wake_.wait_for(lock, std::chrono::milliseconds(wait), wanted_now);
  // What comes back together is made durable together. The send loop has work for longer than this.
  for (int waited = 0; waited < gather_steps && !stop_ && !back_.empty() && back_.size() < out_ / 4; ++waited) {
    lock.unlock();
    std::this_thread::sleep_for(gather_step);
    lock.lock();
  }
  return std::exchange(back_, {});
}

/// False: told to stop.
bool Dispatcher::tick() {
  bool rang = false, read_again = false, stopping = false;
  {
    std::lock_guard guard(mutex_);
    rang = std::exchange(bell_rang_, false);
    read_again = std::exchange(reload_, false);
    stopping = stop_;
  }
  if (stopping) return false;
  if (read_again) reload_now();
  take_listed();
  if (rang) notice_bells();
  const int64_t now = monotonic_ms();
  if (now - ticked_ms_ < tick_ms) return true;
  ticked_ms_ = now;
  if (job_.mode != ForwardJob::Mode::listed) reload_if_changed();
  reread_links();
  look_at_clocks();
  look_for_other_forwarders();
  read_published();
  find_outboxes_again();
  if (auto opened = open_outboxes(); !opened) fail(opened.error());
  auto found = make_gateway_queue();
  if (found) found = find_gateway_queues();
  if (!found) event(Level::error, "queues-unreadable", {{"reason", found.error().text}});
  if (!late_outcomes_.empty()) settle({});
  if (now - maintained_ms_ < maintain_ms) return true;
  maintained_ms_ = now;
  if (auto done = root_.maintain(); !done) event(Level::warn, "maintenance-failed", {{"reason", done.error().text}});
  return true;
}

/// Windows open and close, and a clock that was set moves what is due.
void Dispatcher::look_at_clocks() {
  root_.clock();
  const int64_t wall = now_ms();
  for (SitePtr& site : sites_) {
    if (!site->queue) continue;
    if (!site->look && site->queue.next_due_ms() <= wall) site->look = true;
    look_at_window(*site);
  }
  for (GatewayQueue& from : gateway_queues_)
    if (!from.look && from.queue.next_due_ms() <= wall) from.look = true;
}

void Dispatcher::look_at_window(Site& site) {
  const bool was_open = site.window_open;
  site.window_open = !site.target || window_open(site.target->window, now_ms());
  // What was claimed and not begun stays here until the next one.
  if (was_open && !site.window_open && site.out > 0 && send_loop_) send_loop_->recall(site.number);
}

void Dispatcher::notice_bells() {
  bool open_circuit = false;
  for (SitePtr& site : sites_) {
    if (!site->queue) continue;
    if (site->queue.bell() != site->bell) site->look = true;
    open_circuit |= site->circuit.open();
  }
  for (GatewayQueue& from : gateway_queues_) from.look |= from.queue.bell() != from.bell;
  if (open_circuit) probe_where_asked();
}

/// `gw-send flush` leaves a note.
void Dispatcher::probe_where_asked() {
  if (!store_) return;
  auto asked = store_->probes_asked();
  if (!asked) return;
  for (const auto& [key, at] : *asked) {
    auto known = site_by_key_.find(key);
    if (known == site_by_key_.end()) continue;
    Site& site = *sites_[known->second];
    // Another time, not a later one: the clock may have been set.
    if (std::exchange(site.probe_asked_ms, at) != at) site.circuit.probe_now(monotonic_ms());
  }
}

void Dispatcher::take_listed() {
  std::vector<ListedMessage> messages;
  {
    std::lock_guard guard(mutex_);
    messages.swap(listed_);
  }
  for (const ListedMessage& message : messages)
    if (auto known = site_by_key_.find(message.site); known != site_by_key_.end())
      sites_[known->second]->listed.add(monotonic_of(message.due_at_ms), message.seq);
}

bool Dispatcher::outbox_empty(Site& site) {
  if (site.look || site.next_due_ms != INT64_MAX) {
    // A lower bound may be older than what it was for.
    if (site.look && site.out == 0 && wanted(site, monotonic_ms()) > 0) return false;
  }
  auto status = site.queue.status();
  return status && status->ready + status->claimed + status->deferred == 0;
}

/// Is everything done that this run was for?
bool Dispatcher::finished() {
  {
    std::lock_guard guard(mutex_);
    if (!back_.empty()) return false;
    if (stop_) return out_ == 0;
    if (job_.mode == ForwardJob::Mode::listed && (!listed_end_ || !listed_.empty())) return false;
  }
  if (out_ != 0 || job_.mode == ForwardJob::Mode::daemon) return false;
  if (ticked_ms_ == 0) return false;  // not begun
  if (job_.mode == ForwardJob::Mode::drain && !gateway_queues_done()) return false;
  for (SitePtr& site : sites_) {
    const bool stuck = !site->usable() || site->held;
    if (job_.mode == ForwardJob::Mode::drain) {
      if (!site->queue) continue;
      if (stuck)
        left_over_ |= !outbox_empty(*site);
      else if (!outbox_empty(*site))
        return false;
      continue;
    }
    // --once: what cannot be tried now is left for the next run.
    const bool closed = stuck || !site->window_open;
    if (job_.mode == ForwardJob::Mode::once && (closed || site->circuit.open())) {
      left_over_ |= !site->listed.empty();
      site->listed.clear();
    }
    if (!site->listed.empty()) return false;
  }
  return true;
}

void Dispatcher::conclude() {
  if (!late_outcomes_.empty()) settle({});
  if (!late_outcomes_.empty()) {
    event(Level::error, "outcomes-lost", {{"count", late_outcomes_.size()}, {"reason", "the disk is full"}});
    left_over_ = true;
  }
  if (!result_ || job_.mode == ForwardJob::Mode::daemon) return;
  bool stopped = false;
  {
    std::lock_guard guard(mutex_);
    stopped = stop_;
  }
  bool deferred = false;
  for (SitePtr& site : sites_) {
    if (!site->queue || job_.mode == ForwardJob::Mode::listed) continue;
    auto status = site->queue.status();
    deferred |= status && status->deferred != 0;
  }
  for (const GatewayQueue& from : gateway_queues_) {
    auto status = from.queue.status();
    deferred |= status && status->ready + status->deferred != 0;
  }
  if (failed_total_ > 0)
    result_ = ExitCode::no;
  else if (deferred || left_over_)
    result_ = ExitCode::not_now;
  if (stopped) result_ = ExitCode::ok;
}

/// Nothing more is stored: what is out comes back by itself when the process ends.
void Dispatcher::fail(Error error) {
  if (result_) result_ = std::move(error);
  failed_.store(true);
  stop();
  if (send_loop_) send_loop_->wake();
}

Result<ExitCode> Dispatcher::result() {
  if (thread_.joinable()) thread_.join();
  return result_;
}

}  // namespace gw
