// From a request to an answer: which channel, what kind of call, body to disk, commit, and only then 200.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "channel.hpp"
#include "committer.hpp"
#include "hash.hpp"
#include "http.hpp"
#include "queue.hpp"

namespace gw::listen {

/// What the pipeline needs of its surroundings.
struct ReceiverContext {
  std::string endpoint;
  Queue queue;
  std::function<BodyWriter()> body_writer;
  std::function<uint64_t()> free_bytes;
  uint64_t min_free_bytes = 0;
  Committer* committer = nullptr;
  std::function<bool()> stopping;
};

class Receiver {
 public:
  explicit Receiver(ReceiverContext context) : context_(std::move(context)) {}

  /// Before the first request, and again when limits have changed: the addresses stay.
  void set_channels(std::vector<Channel> channels);
  /// Serves one request. Any thread; needs little stack.
  void handle(Exchange& exchange) const;

 private:
  struct Received {
    Body body;
    Sha256 sha256{};
    std::string md5;  // base64; only if asked for
  };
  Answer route(Exchange& exchange, std::string& id) const;
  Answer receive(Exchange& exchange, const Channel& channel, const BodyPlan& plan, std::string& id) const;
  std::variant<Received, Answer> read_body(Exchange& exchange, const Channel& channel, const BodyPlan& plan, bool with_md5) const;
  Answer store(Headers&& headers, Received&& received, const WireCall& call, std::string_view date, std::string_view from) const;
  Answer status_page() const;

  ReceiverContext context_;
  std::atomic<const std::vector<Channel>*> channels_{nullptr};
  std::vector<std::unique_ptr<const std::vector<Channel>>> all_channels_;  // requests may still look at an old one
};

}  // namespace gw::listen
