#include "run.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config_watch.hpp"
#include "diag.hpp"
#include "hand_over.hpp"
#include "open_target.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

constexpr unsigned concurrency_max = 1000;
constexpr int64_t lease_min_ms = 500, lease_max_ms = 24 * 3'600'000;
constexpr int64_t look_at_lock_ms = 500;  // where the death of the active one cannot be awaited
constexpr int64_t maintain_every_ms = 5000;

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

Result<HandOverSettings> make_settings(const RunOptions& options, const CommonOptions& common) {
  HandOverSettings settings;
  if (options.endpoint.empty()) return usage("--endpoint is required");
  settings.endpoint = options.endpoint;
  for (const std::string& name : {options.endpoint, control_queue(options.endpoint)}) GW_TRY(check_queue_name(name));
  GW_TRY(parse_address(options.error_queue));
  if (options.error_queue == options.endpoint) return usage("the queue '" + options.endpoint + "' cannot be its own error queue");
  if (options.concurrency) settings.concurrency = *options.concurrency;
  if (settings.concurrency == 0 || settings.concurrency > concurrency_max) return usage("--concurrency: expected 1 to " + std::to_string(concurrency_max));
  if (!options.lease.empty()) {
    auto lease = parse_duration_ms(options.lease);
    if (!lease || *lease < lease_min_ms || *lease > lease_max_ms) return usage("'" + options.lease + "' is not a value of --lease: expected a duration from 500ms to 1d");
    settings.lease_ms = *lease;
  }
  settings.verbose = common.verbose;
  return settings;
}

class Process {
 public:
  Process(Root& root, HandOverSettings settings, const CommonOptions& common, ConfigWatch config)
      : root_(root), settings_(std::move(settings)), common_(common), config_(std::move(config)) {}
  Result<ExitCode> run(const std::string& error_queue);

 private:
  Result<bool> become_active();
  Result<void> wait_for_death(int pid);
  Result<void> distribute(HandOver& hand_over);
  void maintain();
  bool stopping() {
    config_.look_again(Signals::take_reload());
    return Signals::stop_requested();
  }

  Root& root_;
  HandOverSettings settings_;
  const CommonOptions& common_;
  ConfigWatch config_;
  UniqueFd lock_;
  bool was_standby_ = false;
  int64_t maintained_at_ms_ = monotonic_ms();
};

// Its end is an event where its process can be seen; elsewhere (another pid namespace) the lock is looked at now and then.
Result<void> Process::wait_for_death(int pid) {
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  pollfd items[] = {{Signals::wake_fd(), POLLIN, 0}, {process.get(), POLLIN, 0}};
  ::poll(items, process ? 2 : 1, look_at_lock_ms);
  return {};
}

// False: asked to stop while standing by.
Result<bool> Process::become_active() {
  std::optional<UniqueFd> place;
  for (;;) {
    int active_pid = 0;
    GW_TRY_ASSIGN(auto lock, root_.try_singleton(distributor_lock(settings_.endpoint), &active_pid));
    if (lock) {
      lock_ = *std::move(lock);
      return true;
    }
    if (!was_standby_) {
      was_standby_ = true;
      for (int number = 1; number <= standbys_max && !place; ++number) {
        GW_TRY_ASSIGN(place, root_.try_singleton(standby_lock(settings_.endpoint, number), nullptr));
      }
      event(Level::info, "distributor-standby", {{"endpoint", settings_.endpoint}, {"active_pid", active_pid}});
      GW_TRY(print_ready("ready standby"));
    }
    if (stopping()) return false;
    GW_TRY(wait_for_death(active_pid));
  }
}

void Process::maintain() {
  if (monotonic_ms() < maintained_at_ms_ + maintain_every_ms) return;
  maintained_at_ms_ = monotonic_ms();
  if (auto done = root_.maintain(); !done) event(Level::warn, "maintenance-failed", {{"reason", done.error().text}});
}

Result<void> Process::distribute(HandOver& hand_over) {
  while (!stopping()) {
    const uint32_t seen = root_.bell();
    GW_TRY_ASSIGN(const bool worked, hand_over.turn());
    GW_TRY_ASSIGN(const bool looked, hand_over.look_around());
    hand_over.report();
    maintain();
    if (!worked && !looked) root_.wait(seen, hand_over.wait_ms());
  }
  return {};
}

Result<ExitCode> Process::run(const std::string& error_queue) {
  GW_TRY_ASSIGN(Ledger ledger, Ledger::open(root_, settings_.endpoint, true));
  Destinations destinations(root_, common_.config, common_.config_given);
  GW_TRY_ASSIGN(Destination errors, open_target(root_, destinations, error_queue));
  GW_TRY_ASSIGN(const bool active, become_active());
  if (!active) return ExitCode::ok;
  GW_TRY_ASSIGN(DistributorReporter reporter, DistributorReporter::open(root_, settings_.endpoint));
  HandOver hand_over(root_, settings_, std::move(ledger), std::move(errors), std::move(reporter), std::move(destinations));
  GW_TRY(hand_over.begin());
  hand_over.report();
  event(Level::info, was_standby_ ? "distributor-took-over" : "distributor-started",
        {{"endpoint", settings_.endpoint}, {"concurrency", settings_.concurrency}, {"lease_ms", settings_.lease_ms}});
  if (!was_standby_) GW_TRY(print_ready("ready active"));
  GW_TRY(distribute(hand_over));
  event(Level::info, "distributor-stopped", {{"endpoint", settings_.endpoint}});
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> run_distributor(const RunOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(HandOverSettings settings, make_settings(options, common));
  ConfigWatch config(common.config, common.config_given);
  GW_TRY(config.read());
  GW_TRY_ASSIGN(std::unique_ptr<Root> root, open_root(common, true));
  Signals::on_signal([&root] { root->ring(); });
  struct ForgetRoot {
    ~ForgetRoot() { Signals::on_signal({}); }
  } forget;
  Signals::install();
  return Process(*root, std::move(settings), common, std::move(config)).run(options.error_queue);
}

}  // namespace gw::distributor
