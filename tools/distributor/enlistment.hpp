// A worker's side of a distributor: it registers, gives its tokens back as messages are settled, and shows that it is alive.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "address.hpp"
#include "queue.hpp"
#include "worker_messages.hpp"

namespace gw::distributor {

struct EnlistmentSettings {
  Address master;     ///< the endpoint and its machine; no machine: this one
  std::string queue;  ///< the worker takes from it
  unsigned capacity = 1;
};

class Enlistment {
 public:
  /// Takes the lock of the queue: not_now if another live worker has it. Tells nobody yet.
  static Result<std::unique_ptr<Enlistment>> open(Root& root, Queue queue, EnlistmentSettings settings, Destinations& destinations);

  /// A new session begins: from here on messages come.
  Result<void> announce();
  /// It ends: no more messages come.
  void leave();
  /// Shows that the worker is alive, when it is time to. Call in the main loop, so that a worker that hangs is silent.
  void beat();
  /// When beat() has to be called (monotonic).
  int64_t next_beat_ms() const { return next_beat_ms_; }
  /// Would apply() take it?
  static bool is_for_worker(const Message& message) { return parse_lease(message).has_value(); }
  /// A message to the worker itself, not to its handler? Then it is only to be acknowledged.
  bool apply(const Message& message);

  /// What a message in the worker's queue is out on. nullopt: nobody handed it out, nothing comes back for it.
  static std::optional<HandOut> hand_out_of(const Message& message);
  /// Adds to a transaction that these hand-outs are settled in it. At most one control message.
  /// `times`: how long those took that were handled; a master of this root has counted them already and is not told.
  void give_back(Transaction& transaction, const std::vector<HandOut>& hand_outs, std::vector<Took> times);
  /// Adds a message to it that goes into the endpoint's queue.
  void put_to_endpoint(Transaction& transaction, Message message, PutOptions options) const;
  /// A failed attempt; told with what comes back next.
  void attempt_failed() { ++failed_; }

  const std::string& endpoint() const { return settings_.master.queue; }
  /// `E@machine`, for FailedQ and return addresses.
  const std::string& endpoint_address() const { return endpoint_address_; }
  const std::string& worker() const { return worker_; }
  const std::string& session() const { return session_; }
  /// The endpoint's queue. nullopt: on another machine.
  const std::optional<Queue>& input() const { return input_; }

 private:
  Enlistment(Root& root, Queue queue, EnlistmentSettings settings) : root_(root), queue_(std::move(queue)), settings_(std::move(settings)) {}
  ControlMessage about_me(ControlMessage::Kind kind) const;
  void put(Transaction& transaction, Message&& message) const;
  Result<CommitResult> send(const ControlMessage& control);
  void list_held(ControlMessage& control) const;

  Root& root_;
  Queue queue_;
  Destination control_, endpoint_;
  std::optional<Queue> input_;
  EnlistmentSettings settings_;
  UniqueFd lock_;
  std::string worker_, session_, endpoint_address_;
  int64_t beat_every_ms_ = 10'000, next_beat_ms_ = 0;
  uint64_t last_beat_seq_ = 0;  // in the control queue
  uint64_t failed_ = 0;
  bool left_ = false;
};

}  // namespace gw::distributor
