// Messages to sites whose channel is a program (gw-channel(7)): each program carries one message at a time, and is kept for the next.
// Every program has a thread of its own, which starts it, writes and waits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "http_client.hpp"

namespace gw {

/// One message. Everything it points to stays until it is done.
struct ChannelRequest {
  std::string program, type, address;
  std::string head;  ///< as format_channel_head makes it
  const Body* body = nullptr;
  int64_t connect_timeout_ms = 10'000;  ///< for the first line of a program that was just started
  int64_t answer_timeout_ms = 100'000;  ///< without progress, and for the answer
  uint64_t bytes_per_s_max = 0;         ///< 0: no limit
};

/// One thread uses it.
class ChannelClient {
 public:
  using Done = HttpClient::Done;

  /// `wake` is called from other threads when a request is done.
  explicit ChannelClient(std::function<void()> wake);
  /// Programs that wait for a message get the end of their input, and a second to end.
  ~ChannelClient();
  ChannelClient(const ChannelClient&) = delete;
  ChannelClient& operator=(const ChannelClient&) = delete;

  /// Starts a request, with a program of this type and address that is free or with a new one.
  void start(ChannelRequest request, void* user);
  size_t in_flight() const { return in_flight_; }
  /// Reports what is done.
  void poll(const Done& done);
  /// Kills the programs that are at work; their requests are done without an answer.
  void abandon(const Done& done);

 private:
  class Worker;
  using Key = std::pair<std::string, std::string>;  // type and address
  struct Finished {
    Worker* worker;
    void* user;
    HttpAnswer answer;
  };
  void finished(Worker* worker, void* user, HttpAnswer&& answer);
  void end_idle();

  std::function<void()> wake_;
  std::map<Key, std::vector<Worker*>> free_;  // the last one is used first
  std::vector<std::unique_ptr<Worker>> workers_;
  size_t in_flight_ = 0;
  int64_t idle_checked_ms_ = 0;
  std::mutex mutex_;  // guards what follows
  std::vector<Finished> finished_;
};

}  // namespace gw
