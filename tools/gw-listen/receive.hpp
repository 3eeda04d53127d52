// From a request to an answer: which channel, what kind of call, body to disk, commit, and only then 200.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "admission.hpp"
#include "channel.hpp"
#include "committer.hpp"
#include "data_bus.hpp"
#include "endpoint_queue.hpp"
#include "hash.hpp"
#include "http.hpp"
#include "instance_notes.hpp"
#include "legacy.hpp"
#include "queue.hpp"
#include "store_thread.hpp"

namespace gw::listen {

struct WebQuery;
class MachineDoor;

/// What the pipeline needs of its surroundings.
struct ReceiverContext {
  std::string endpoint;  ///< empty: messages of other machines only
  const EndpointQueue* queue = nullptr;  ///< null without an endpoint
  std::function<BodyWriter()> body_writer;
  std::function<uint64_t()> free_bytes;
  std::function<RootClock()> clock;
  uint64_t min_free_bytes = 0;
  Committer* committer = nullptr;
  StoreThread* afterwards = nullptr;  ///< what follows from a commit and is not quick
  DataBus* data_bus = nullptr;
  HeldMessages* held = nullptr;
  InstanceNotes* instances = nullptr;
  Journal* journal = nullptr;  ///< null: nothing is noted
  MachineDoor* machine = nullptr;  ///< for messages of other machines; null: none come in
  std::function<bool()> stopping;
};

/// Messages since the start, by what was answered.
struct ReceivedCounts {
  std::atomic<uint64_t> delivered{0}, duplicate{0}, refused{0};
};

class Receiver {
 public:
  explicit Receiver(ReceiverContext context) : context_(std::move(context)) {}

  /// Before the first request, and again when limits have changed: the addresses stay.
  void set_channels(std::vector<Channel> channels);
  /// Serves one request. Any thread; needs little stack.
  void handle(Exchange& exchange) const;
  /// Serves one call of another channel than HTTP, whose headers come as they are. Nothing is sent: the answer is returned.
  Answer handle_call(Exchange& exchange, const Channel& channel, Headers&& wire) const;
  const ReceivedCounts& counts() const { return counts_; }

 private:
  struct Received {
    Body body;
    Sha256 sha256{};
    std::string md5;  // base64; only if asked for
  };
  struct Incoming;
  struct Stored;
  using Write = std::function<Result<void>(std::string_view)>;
  Answer route(Exchange& exchange, std::string& id) const;
  Answer serve(Exchange& exchange, const Channel& channel, std::string& id) const;
  Answer receive(Exchange& http, const Channel& channel, const Caller& caller, const WebQuery& query, std::string& id) const;
  Answer receive_envelope(Exchange& exchange, const Channel& channel, const Caller& caller, std::string& id) const;
  Answer receive_call(Exchange& exchange, const Channel& channel, const Caller& caller, Headers&& wire, std::string_view date, std::string& id) const;
  Answer receive_from_machine(Exchange& exchange, const Channel& channel, const Caller& caller, Headers&& wire, const WireCall& call, std::string_view date) const;
  Answer receive_property(const Incoming& in, const Headers& headers) const;
  Answer receive_message(const Incoming& in, Headers&& headers) const;
  Answer receive_ack(const Incoming& in) const;
  Answer answer_probe(Exchange& exchange, const Channel& channel, const BodyPlan& plan) const;
  std::optional<Answer> copy_body(const Incoming& in, uint64_t file_above, const Write& write) const;
  std::variant<Received, Answer> read_body(const Incoming& in) const;
  /// nullopt: all properties are there and the headers point to them.
  std::optional<Answer> fill_in(const Incoming& in, Headers& headers, const Sha256& body_sha256, HeldProperties& properties) const;
  Answer known_message(const Incoming& in, const DedupRow& row, const Sha256& body_sha256) const;
  Answer store(const Incoming& in, Headers&& headers, Received&& received) const;
  Answer stored(const Stored& what, Result<CommitResult>&& committed) const;
  void answer_late(LateAnswer& answer, Stored&& what, Transaction&& transaction) const;
  PutOptions put_options(const Incoming& in, const Headers& headers, const Sha256& body_sha256) const;
  const std::string& name() const;
  Answer release(const std::string& id, bool known) const;
  void note(Happened happened, const std::string& id, int status, const std::string& reason) const;
  Answer status_page() const;

  void refused(const RequestHead& head, const Answer& answer, const std::string& id) const;

  ReceiverContext context_;
  mutable ReceivedCounts counts_;
  std::atomic<const std::vector<Channel>*> channels_{nullptr};
  std::vector<std::unique_ptr<const std::vector<Channel>>> all_channels_;  // requests may still look at an old one
};

}  // namespace gw::listen
