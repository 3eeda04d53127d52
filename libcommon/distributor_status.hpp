// What a running distributor says of itself and its workers, for all tools: <root>/distributor/ENDPOINT, written after each step and
// whole at every moment. It is a report, nothing depends on it: what must not be lost is in queues.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "queue.hpp"
#include "result.hpp"

namespace gw {

struct WorkerReport {
  std::string worker;  ///< QUEUE@MACHINE
  std::string state;   ///< ready, draining, drained, dead
  std::string session;
  unsigned capacity = 0, tokens = 0, in_flight = 0;
  int64_t since_ms = 0;
  uint64_t done = 0, failed = 0;
  bool here = false;   ///< its queue is of this root
};

struct DistributorReport {
  std::string endpoint;
  std::vector<WorkerReport> workers;  ///< sorted by name
  /// Of ready workers: the others have no tokens.
  unsigned capacity() const, tokens() const, in_flight() const;
  /// tokens = capacity - in flight for each ready worker, no tokens elsewhere.
  bool balanced() const;
};

/// The singleton of the active distributor of an endpoint, and of those that wait for it (1 to standbys_max).
std::string distributor_lock(std::string_view endpoint);
std::string standby_lock(std::string_view endpoint, int number);
inline constexpr int standbys_max = 16;
/// The singleton of the worker with a master that takes from a queue.
std::string worker_lock(std::string_view queue);

/// Writes the report of one endpoint.
class DistributorReporter {
 public:
  static Result<DistributorReporter> open(Root& root, const std::string& endpoint);
  /// Cheap if nothing has changed.
  Result<void> write(const DistributorReport& report);

 private:
  UniqueFd file_;
  std::string path_, last_;
  bool written_ = false;
};

/// The last report. nullopt: there is none that can be read.
Result<std::optional<DistributorReport>> read_distributor_report(const Root& root, const std::string& endpoint);

/// Endpoints of the root that have, or had, a distributor; sorted.
Result<std::vector<std::string>> distributor_endpoints(const Root& root);

}  // namespace gw
