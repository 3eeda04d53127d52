// Which workers without a distributor are at work on a queue, for those who look: <root>/workers/QUEUE.
//
// The file is mapped and has a row for each worker, changed with single stores: no system call for a message. That a worker lives is said
// by a lock of the root, not by its row. Never synced: nothing depends on it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "queue.hpp"
#include "result.hpp"

namespace gw {

/// Workers of one queue that are not listed any more when there are so many.
inline constexpr unsigned present_workers_max = 64;

class WorkerPresence {
 public:
  /// Takes a row until the object or the process ends. not_now: all are taken. Others: it cannot be written.
  static Result<std::unique_ptr<WorkerPresence>> open(Root& root, const std::string& queue, unsigned capacity);
  ~WorkerPresence();
  WorkerPresence(const WorkerPresence&) = delete;
  WorkerPresence& operator=(const WorkerPresence&) = delete;

  /// So much is being worked on, and so many messages were acknowledged and attempts failed since it began.
  void tell(uint64_t in_flight, uint64_t done, uint64_t failed);

 private:
  struct Row;
  friend Result<std::vector<struct PresentWorkers>> present_workers(const Root& root);
  WorkerPresence(UniqueFd lock, Row* rows, unsigned number) : lock_(std::move(lock)), rows_(rows), number_(number) {}
  UniqueFd lock_;
  Row* rows_;
  unsigned number_;
};

/// The live workers of one queue, all together.
struct PresentWorkers {
  std::string queue;
  std::vector<int> pids;
  int64_t since_ms = 0;  ///< when the first of them began
  uint64_t capacity = 0, in_flight = 0, done = 0, failed = 0;
};

/// Of all queues that have one, by name. io_error: a file cannot be read.
Result<std::vector<PresentWorkers>> present_workers(const Root& root);

}  // namespace gw
