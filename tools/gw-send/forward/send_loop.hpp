// The half of the forwarder that talks to sites: one thread, many requests. Each site has a lane of its own, so that
// one that is slow keeps nobody else waiting.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "channel_client.hpp"
#include "http_client.hpp"
#include "transfer.hpp"

namespace gw {

/// Lets bytes pass at a rate: what has been started pushes the next start back.
class RateLimit {
 public:
  void set(uint64_t bytes_per_s) { rate_ = bytes_per_s; }
  bool may_start(int64_t now_ms) const { return rate_ == 0 || now_ms >= free_at_ms_; }
  uint64_t rate() const { return rate_; }
  int64_t free_at_ms() const { return rate_ == 0 ? 0 : free_at_ms_; }
  void started(uint64_t bytes, int64_t now_ms);

 private:
  uint64_t rate_ = 0;
  int64_t free_at_ms_ = 0;
};

class SendLoop {
 public:
  /// Gets transfers back, sent or not. Called from the loop's thread.
  using GiveBack = std::function<void(std::vector<TransferPtr>&&)>;

  SendLoop(std::unique_ptr<HttpClient> client, GiveBack give_back) 
      : client_(std::move(client)), programs_([this] { wake(); }), give_back_(std::move(give_back)) {}

  // From any thread:
  void configure(unsigned max_transfers, uint64_t rate_bytes);
  void submit(std::vector<TransferPtr>&& transfers);
  /// What waits for this site comes back unsent.
  void recall(size_t site);
  void wake() { client_->wake(); }

  // From the loop's own thread:
  /// One round: starts what may start, waits up to `timeout_ms`, gives back what is done.
  void round(int64_t timeout_ms);
  /// From now on nothing is started; what waits comes back unsent.
  void stop_starting() { stopping_ = true; }
  /// Ends what is in flight; it comes back unsent.
  void abandon();

 private:
  struct Lane {
    std::deque<TransferPtr> waiting;
    unsigned in_flight = 0;
    RateLimit rate;
  };

  void take_inbox();
  void give_up_waiting(Lane& lane);
  void start_waiting();
  bool start_from(Lane& lane, int64_t now_ms);
  void start(Lane& lane, TransferPtr transfer, int64_t now_ms);
  void start_request(Transfer* transfer, uint64_t rate);
  void start_program(Transfer* transfer, uint64_t rate);
  size_t in_flight() const { return client_->in_flight() + programs_.in_flight(); }
  void start_call(Lane& lane, TransferPtr transfer, int64_t now_ms);
  void go_on();
  void finished(Transfer* transfer, HttpAnswer&& answer, bool sent);
  int64_t wait_ms(int64_t timeout_ms) const;

  std::unique_ptr<HttpClient> client_;
  ChannelClient programs_;
  GiveBack give_back_;
  std::map<size_t, Lane> lanes_;
  size_t first_lane_ = 0;  // each round starts with another one
  size_t waiting_ = 0;
  std::vector<TransferPtr> back_;
  std::vector<TransferPtr> going_on_;  // in flight, between two calls
  bool stopping_ = false;
  unsigned max_transfers_ = 1;
  RateLimit rate_;

  std::mutex mutex_;  // guards the inbox
  std::vector<TransferPtr> inbox_;
  std::vector<size_t> recalls_;
  unsigned new_max_transfers_ = 1;
  uint64_t new_rate_ = 0;
};

}  // namespace gw
