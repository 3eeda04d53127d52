#include "send_loop.hpp"

#include <algorithm>

#include "channel_protocol.hpp"
#include "units.hpp"
#include "wire_codec.hpp"

namespace gw {
namespace {

/// `Date: Sat, 21 Nov 2026 11:29:32 GMT`, made once a second. Only the loop's thread calls it.
const std::string& date_line() {
  static std::string line;
  static int64_t made_for_s = 0;
  const int64_t now_s = now_ms() / 1000;
  if (now_s != made_for_s) line = "Date: " + format_http_date(now_s * 1000);
  made_for_s = now_s;
  return line;
}

}  // namespace

void RateLimit::started(uint64_t bytes, int64_t now_ms) {
  if (rate_ == 0) return;
  const double takes_ms = static_cast<double>(bytes) * 1000.0 / static_cast<double>(rate_);
  free_at_ms_ = std::max(free_at_ms_, now_ms) + static_cast<int64_t>(std::min(takes_ms, 1e15));
}

void SendLoop::configure(unsigned max_transfers, uint64_t rate_bytes) {
  {
    std::lock_guard guard(mutex_);
    new_max_transfers_ = max_transfers;
    new_rate_ = rate_bytes;
  }
  wake();
}

void SendLoop::submit(std::vector<TransferPtr>&& transfers) {
  {
    std::lock_guard guard(mutex_);
    if (inbox_.empty())
      inbox_ = std::move(transfers);
    else
      std::move(transfers.begin(), transfers.end(), std::back_inserter(inbox_));
  }
  wake();
}

void SendLoop::recall(size_t site) {
  {
    std::lock_guard guard(mutex_);
    recalls_.push_back(site);
  }
  wake();
}

void SendLoop::take_inbox() {
  std::vector<TransferPtr> arrived;
  std::vector<size_t> recalls;
  {
    std::lock_guard guard(mutex_);
    arrived.swap(inbox_);
    recalls.swap(recalls_);
    max_transfers_ = new_max_transfers_;
    rate_.set(new_rate_);
  }
  for (TransferPtr& transfer : arrived) {
    Lane& lane = lanes_[transfer->site];
    lane.rate.set(transfer->target->rate_bytes);
    lane.waiting.push_back(std::move(transfer));
    ++waiting_;
  }
  for (size_t site : recalls) give_up_waiting(lanes_[site]);
  if (stopping_)
    for (auto& [site, lane] : lanes_) give_up_waiting(lane);
}

void SendLoop::give_up_waiting(Lane& lane) {
  waiting_ -= lane.waiting.size();
  for (TransferPtr& transfer : lane.waiting) {
    transfer->sent = false;
    back_.push_back(std::move(transfer));
  }
  lane.waiting.clear();
}

void SendLoop::start(Lane& lane, TransferPtr transfer, int64_t now) {
  ++lane.in_flight;
  start_call(lane, std::move(transfer), now);
}

/// The next call of transfers that have had an answer to the last one. They keep their places.
void SendLoop::go_on() {
  const int64_t now = monotonic_ms();
  std::vector<TransferPtr> transfers;
  transfers.swap(going_on_);
  for (TransferPtr& transfer : transfers) {
    Lane& lane = lanes_[transfer->site];
    start_call(lane, std::move(transfer), now);
  }
}

void SendLoop::start_call(Lane& lane, TransferPtr transfer, int64_t now) {
  const uint64_t bytes = transfer->body().size();
  const uint64_t site_rate = transfer->target->rate_bytes;
  const uint64_t rate = rate_.rate() && site_rate ? std::min(rate_.rate(), site_rate) : std::max(rate_.rate(), site_rate);
  rate_.started(bytes, now);
  lane.rate.started(bytes, now);
  transfer->sent = true;
  transfer->started_ms = now;
  Transfer* user = transfer.release();  // comes back in finished()
  if (user->target->carrier == Target::Carrier::program)
    start_program(user, rate);
  else
    start_request(user, rate);
}

void SendLoop::start_request(Transfer* transfer, uint64_t rate) {
  HttpRequest request;
  request.url = &transfer->target->url;
  request.link = transfer->target->link;
  // A message with properties may have to be sent again in the same attempt.
  request.head = transfer->calls.size() == 1 ? std::move(transfer->call().head) : transfer->call().head;
  request.head += date_line();
  request.head += '\0';
  request.body = &transfer->body();
  request.lower_case_names = transfer->target->lower_case_names;
  if (transfer->call().envelope) transfer->call().envelope->rewind();
  request.upload = transfer->call().envelope.get();
  request.connect_timeout_ms = transfer->connect_timeout_ms;
  request.answer_timeout_ms = transfer->answer_timeout_ms;
  request.bytes_per_s_max = rate;
  client_->start(std::move(request), transfer);
}

void SendLoop::start_program(Transfer* transfer, uint64_t rate) {
  ChannelRequest request;
  request.program = transfer->target->program;
  request.type = transfer->target->type;
  request.address = transfer->target->url;
  request.body = &transfer->body();
  Headers fields = transfer->call().fields;
  fields.entries().push_back({"Date", format_http_date(now_ms())});
  request.head = format_channel_head(fields, request.body->size());
  request.connect_timeout_ms = transfer->connect_timeout_ms;
  request.answer_timeout_ms = transfer->answer_timeout_ms;
  request.bytes_per_s_max = rate;
  programs_.start(std::move(request), transfer);
}

/// Starts one request of this lane if its limits allow it.
bool SendLoop::start_from(Lane& lane, int64_t now) {
  if (lane.waiting.empty() || in_flight() >= max_transfers_) return false;
  if (!lane.rate.may_start(now) || !rate_.may_start(now)) return false;
  if (lane.in_flight >= lane.waiting.front()->target->concurrency) return false;
  TransferPtr transfer = std::move(lane.waiting.front());
  lane.waiting.pop_front();
  --waiting_;
  start(lane, std::move(transfer), now);
  return true;
}

/// Every lane in turn, one request each, until none can start more.
void SendLoop::start_waiting() {
  if (waiting_ == 0) return;
  const int64_t now = monotonic_ms();
  bool any = true;
  while (any && waiting_ > 0) {
    any = false;
    auto first = lanes_.lower_bound(first_lane_);
    for (auto lane = first; lane != lanes_.end(); ++lane) any |= start_from(lane->second, now);
    for (auto lane = lanes_.begin(); lane != first; ++lane) any |= start_from(lane->second, now);
  }
  first_lane_ = lanes_.empty() ? 0 : (first_lane_ + 1) % (lanes_.rbegin()->first + 1);
}

void SendLoop::finished(Transfer* raw, HttpAnswer&& answer, bool sent) {
  TransferPtr transfer(raw);
  if (sent && transfer->goes_on(answer)) {
    if (!stopping_) return going_on_.push_back(std::move(transfer));
    sent = false;  // the rest another time
  }
  transfer->answer = std::move(answer);
  transfer->sent = sent;
  transfer->finished_ms = monotonic_ms();
  --lanes_[transfer->site].in_flight;
  back_.push_back(std::move(transfer));
}

/// While a rate limit holds something back, wake when it is over.
int64_t SendLoop::wait_ms(int64_t timeout_ms) const {
  if (waiting_ == 0) return timeout_ms;
  const int64_t now = monotonic_ms();
  int64_t wait = timeout_ms;
  auto look = [&](const RateLimit& limit) {
    if (limit.free_at_ms() > now) wait = std::min(wait, limit.free_at_ms() - now);
  };
  look(rate_);
  for (const auto& [site, lane] : lanes_)
    if (!lane.waiting.empty()) look(lane.rate);
  return wait;
}

void SendLoop::round(int64_t timeout_ms) {
  take_inbox();
  go_on();
  if (!stopping_) start_waiting();
  const int64_t wait = back_.empty() ? wait_ms(timeout_ms) : 0;
  auto done = [this](void* request, HttpAnswer&& answer) { finished(static_cast<Transfer*>(request), std::move(answer), true); };
  client_->poll(wait, done);
  programs_.poll(done);
  if (back_.empty()) return;
  give_back_(std::move(back_));
  back_.clear();
}

void SendLoop::abandon() {
  for (TransferPtr& transfer : going_on_) {
    --lanes_[transfer->site].in_flight;
    transfer->sent = false;
    back_.push_back(std::move(transfer));
  }
  going_on_.clear();
  auto done = [this](void* request, HttpAnswer&& answer) { finished(static_cast<Transfer*>(request), std::move(answer), false); };
  client_->abandon(done);
  programs_.abandon(done);
}

}  // namespace gw
