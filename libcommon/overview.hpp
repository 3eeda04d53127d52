// A look at a whole root: queues with their rates and ages, sites, workers, failures. For people who watch it on a terminal or a page.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config.hpp"
#include "config_watch.hpp"
#include "distributor_status.hpp"
#include "failure_groups.hpp"
#include "json.hpp"
#include "queue.hpp"
#include "site_status.hpp"

namespace gw {

/// One point of a queue's history.
struct QueueSample {
  double messages = 0;   ///< in whatever state
  double oldest_s = 0;   ///< 0: none is ready
  double puts_per_s = 0, acks_per_s = 0;  ///< since the point before
};

struct QueueView {
  QueueStatus status;
  std::optional<double> puts_per_s, acks_per_s;  ///< of the last seconds; absent: looked at only once
  std::deque<QueueSample> history;               ///< the newest last
  uint64_t waiting() const { return status.ready + status.claimed + status.deferred; }
  /// Age of the oldest ready message; 0: none is ready.
  int64_t oldest_ms(int64_t now_ms) const;
};

/// Messages of one queue that failed in the same way.
struct FailureView {
  std::string queue;
  FailureGroup group;
};

/// A worker of a distributor, or all workers of a queue that have none.
struct WorkerView {
  std::string endpoint;  ///< or the queue
  WorkerReport report;
  bool plain = false;    ///< without a distributor: nobody counts tokens, and there is no session
};

/// A queue with more failed messages than are looked at.
struct FailuresLeftOut {
  std::string queue;
  uint64_t looked_at = 0;
};

struct Overview {
  int64_t at_ms = 0;
  std::string root, machine;
  uint64_t free_bytes = 0;
  std::vector<QueueView> queues;
  std::vector<Forwarder> forwarders;
  std::vector<SiteStatus> sites;
  std::vector<WorkerView> workers;
  std::vector<FailureView> failures;
  std::vector<FailuresLeftOut> left_out;
  std::vector<std::string> unreadable;  ///< queues that are left out, and why
  std::string config_error;  ///< why the sites are those of an older configuration
  const QueueView* find(std::string_view queue) const;
};

/// Looks again and again, and remembers what rates and histories need. One thread at a time.
class Observer {
 public:
  struct Pace {
    int64_t sample_every_ms = 1000;  ///< between two points of a history
    size_t samples = 60;
  };
  Observer(Root& root, std::string config_path, bool config_must_exist, Pace pace);
  /// Fails if the root cannot be read; with a configuration that is bad at the first look.
  Result<Overview> look();

 private:
  struct Counters {
    int64_t at_ms = 0;  // monotonic
    uint64_t puts = 0, acks = 0;
  };
  struct Remembered {
    std::deque<Counters> counters;
    std::deque<QueueSample> history;
    bool seen = false;
  };
  struct Failures {
    uint64_t puts = 0, acks = 0;
    int64_t look_again_ms = 0;
    std::vector<FailureView> groups;
    uint64_t left_out_after = 0;
    bool seen = false;
  };
  Result<void> read_config(Overview& overview);
  Result<void> look_at_queues(Overview& overview);
  void remember(QueueView& view, int64_t mono_ms);
  Result<void> look_at_failures(Overview& overview);
  Result<void> group_failures(const Queue& queue, Failures& failures);

  Root& root_;
  ConfigWatch config_file_;
  std::optional<Config> config_;
  std::string config_error_;
  Pace pace_;
  std::map<std::string, Remembered, std::less<>> queues_;
  std::map<std::string, Failures, std::less<>> failures_;
};

/// Is it one of those in which a distributor keeps what it knows of its workers? What is there waits for nothing, and gets old.
bool is_ledger(std::string_view queue);
/// Adds the failed attempts after which a message left the queue, which the queue itself does not know.
void add_final_failures(const std::string& root_path, QueueStatus& status);
/// A queue as `queue-inspect list --json` prints it.
JsonObject queue_json(const QueueStatus& status, const std::string& machine, int64_t now_ms);
/// takes-off, puts-off, corrupt=N, journal and the reason of a hold; "" if there is nothing to say.
std::string queue_flags(const QueueStatus& status);

}  // namespace gw
