// The half of the forwarder that owns the outboxes: claims what is due, and turns what the send loop brings back into
// outcomes, retries and failures. All storage work is done here, on one thread, so that requests go on meanwhile.
//
// Each site has its own outbox, claims, circuit and schedule. What came back together is committed together: first the
// outcomes, then the acks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "address.hpp"
#include "body_digest.hpp"
#include "config_watch.hpp"
#include "forward_options.hpp"
#include "link.hpp"
#include "outcome_store.hpp"
#include "policy_runner.hpp"
#include "queue.hpp"
#include "send_loop.hpp"
#include "transfer.hpp"

namespace gw {

/// What a forwarder is to do.
struct ForwardJob {
  enum class Mode { daemon, once, drain, listed };
  Mode mode = Mode::daemon;
  std::string config_path;
  bool config_must_exist = false;
  ForwardOptions options;
};

/// A message named by gw-send: its outbox's site and number.
struct ListedMessage {
  std::string site;
  uint64_t seq = 0;
  int64_t due_at_ms = 0;
};

class Dispatcher {
 public:
  Dispatcher(Root& root, ForwardJob job);
  ~Dispatcher();

  /// Reads the configuration, takes the locks of a forwarder, makes the queues it owns. not_now: another one runs (its pid is in the text).
  Result<void> prepare();
  /// Starts the thread.
  void start(SendLoop& send_loop);

  // From any thread:
  void give_back(std::vector<TransferPtr>&& transfers);
  void list(std::vector<ListedMessage>&& messages);
  void no_more_listed();
  void reload();
  /// Claims nothing more; ends when everything is back.
  void stop();
  /// The storage is broken: whatever is in flight does not matter any more.
  bool failed() const { return failed_.load(); }
  bool ended() const { return ended_.load(std::memory_order_acquire); }

  /// After the end: the exit code, or why it failed.
  Result<ExitCode> result();

 private:
  struct Site;
  struct Settlement;
  struct SettledMessage;
  struct GatewayQueue;
  struct RoutedMessage;
  using SitePtr = std::unique_ptr<Site>;

  // configuration (dispatcher_sites.cpp)
  Result<Config> read_config();
  Result<void> configure(const Config& config);
  void configure_site(const SiteConfig& config, LinkPtr link);
  Result<void> configure_unlisted(const SiteConfig& site);
  std::vector<std::string> watched_files() const;
  void reread_links();
  Result<std::vector<const SiteConfig*>> choose(const Config& config) const;
  void reload_now();
  void reload_if_changed();
  Result<void> take_singletons();
  Result<void> open_outboxes();
  void find_outboxes_again();
  Result<void> open_error_queues();
  Result<Destination> find_error_queue(const Address& address);
  Result<std::pair<Destination, Destination>> find_error_queues(const std::string& name);
  Result<void> make_gateway_queue();
  Result<void> open_store();
  void look_for_other_forwarders();
  void read_published();
  void list_what_is_due();
  Result<void> remember_sites();

  // queues E.gateway (dispatcher_gateway.cpp)
  Result<void> find_gateway_queues();
  Result<void> adopt_unlisted(const std::string& key);
  void route_gateway_messages();
  bool route_from(GatewayQueue& from);
  void note_routed(const GatewayQueue& from, const RoutedMessage& told, const CommitResult& result);
  Result<Transaction> route_one(GatewayQueue& from, Claim&& claim, RoutedMessage& told);
  Result<Queue> outbox_for(const SiteConfig& site);
  void set_aside(GatewayQueue& from, uint64_t seq);
  bool gateway_queues_done();

  // the thread (dispatcher.cpp)
  void run();
  void watch();
  std::vector<TransferPtr> wait_for_work();
  int64_t idle_ms() const;
  bool tick();
  void look_at_clocks();
  void look_at_window(Site& site);
  void notice_bells();
  void take_listed();
  void probe_where_asked();
  bool finished();
  bool outbox_empty(Site& site);
  void conclude();
  void fail(Error error);

  // claiming (dispatcher_claim.cpp)
  void claim_more();
  size_t wanted(const Site& site, int64_t now) const;
  void claim_from(Site& site, size_t wanted, int64_t now_ms);
  std::vector<Claim> claim_next(Site& site, size_t wanted, int64_t now_ms);
  std::vector<Claim> claim_listed(Site& site, size_t wanted, int64_t now_ms);
  void dispatch(Site& site, Claim claim);
  bool waits_for_earlier(Site& site, Claim& claim);
  Result<void> make_calls(Transfer& transfer);
  static void set_sums(const Transfer& transfer, Call& call, const BodySums& sums);
  const std::string& originating_site_of(const Message& message) const;
  void give_up_old(Site& site, int64_t now_ms);

  // settling (dispatcher_settle.cpp)
  void settle(std::vector<TransferPtr>&& transfers);
  void settle_one(TransferPtr transfer, Settlement& into);
  void settle_unsent(TransferPtr transfer);
  void settle_delivered(TransferPtr transfer, Site& site, Settlement& into);
  void settle_failed(TransferPtr transfer, Site& site, Settlement& into);
  Attempt read_attempt(const Transfer& transfer, Site& site);
  void note_failure(Site& site, const Transfer& transfer, const Attempt& attempt, const std::string& reason);
  void ask_policy(TransferPtr transfer, const std::string& reason);
  void settle_final(TransferPtr transfer, Site& site, Settlement& into, OutcomeState state, const std::string& reason, bool gave_up);
  bool have_error_queues();
  void settle_later(TransferPtr transfer, Site& site);
  Message failed_message(const Transfer& transfer, const Site& site, const Outcome& outcome, bool gave_up);
  void note_answer(Site& site, const Transfer& transfer);
  const Destination& errors_of(size_t site) const;
  void commit(Settlement& settlement);
  std::vector<Transaction> transactions_for(Settlement& settlement, std::vector<size_t>& transaction_of);
  void committed(const SettledMessage& after);
  static void tell_failed_attempt(const Site& site, const SettledMessage& after);
  void note(const SettledMessage& after);
  void not_committed(const SettledMessage& after, const Error& error);
  bool record_outcomes(Settlement& settlement);
  std::optional<Outcome> known_outcome(const std::string& id, const std::string& site);

  Root& root_;
  std::unique_ptr<OutcomeStore> store_;  // null: there was no room to make it
  ForwardJob job_;
  ConfigWatch config_file_;
  FilesWatch link_watch_;  // certificates and tokens of sites
  std::shared_ptr<const ForwardSettings> settings_;
  std::string originating_site_;  // of the command line or the configuration; empty: what the listeners of this root have published
  std::map<std::string, std::string> published_sites_;
  int64_t published_stamp_ = 0;
  Destination errors_;       // where failed messages go; no queue: there was no room to make it
  Destination local_errors_;  // the same on this machine, for what was on its way to another one
  std::vector<SitePtr> sites_;
  std::unordered_map<std::string, size_t> site_by_key_;
  std::vector<SiteConfig> configured_sites_;  // also those that are not ours
  std::vector<GatewayQueue> gateway_queues_;
  std::set<std::string> unlisted_seen_;  // outboxes of addresses that need not be looked at again before unlisted_again_ms_
  int64_t unlisted_again_ms_ = 0;
  UniqueFd singleton_;
  SendLoop* send_loop_ = nullptr;
  std::unique_ptr<BodyDigester> digester_;
  std::string policy_program_;  // empty: the schedule decides
  std::unique_ptr<PolicyRunner> policy_;
  std::vector<TransferPtr> batch_;      // prepared, to be submitted together
  std::vector<TransferPtr> own_back_;   // verdicts that need no request
  std::vector<Outcome> late_outcomes_;  // could not be stored: full disk
  size_t out_ = 0;                      // transfers that are not settled yet, all sites
  size_t first_site_ = 0;
  int64_t ticked_ms_ = 0, maintained_ms_ = 0;
  uint64_t failed_total_ = 0;
  bool left_over_ = false;

  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::vector<TransferPtr> back_;
  std::vector<ListedMessage> listed_;
  bool bell_rang_ = true, reload_ = false, stop_ = false, listed_end_ = false;

  std::atomic<bool> ended_{false}, end_watch_{false}, failed_{false};
  Result<ExitCode> result_{ExitCode::ok};
  std::thread thread_, watcher_;
};

}  // namespace gw
