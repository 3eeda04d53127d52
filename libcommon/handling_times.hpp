// How long messages waited and were worked on: one small file for each queue, written by all its workers, read by status and metrics.
//
// <root>/times/QUEUE is mapped and changed with single atomic operations: no system call for a message, no lock, and whoever is killed
// leaves at most one message half counted. It is never synced: after a power loss the counts may be smaller or gone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "result.hpp"

namespace gw {

/// Upper bounds of a histogram's buckets, in seconds; one more bucket holds all above.
inline constexpr std::array<double, 20> handling_time_bounds_s = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                                  2.5,   5,      10,    30,   60,    300,  900, 3600, 21600, 86400};

/// Of the last so many handled messages a mean is taken.
inline constexpr size_t handling_times_kept = 100;

struct TimeSummary {
  std::optional<double> mean_s;  ///< of the last handling_times_kept; nullopt: none was handled yet
  /// [i]: messages that took at most handling_time_bounds_s[i]; the last: all. (As Prometheus counts: each includes those before.)
  std::array<uint64_t, handling_time_bounds_s.size() + 1> up_to{};
  double sum_s = 0;
  uint64_t count() const { return up_to.back(); }
};

struct HandlingSummary {
  TimeSummary critical;    ///< from TimeSent to the acknowledgement
  TimeSummary processing;  ///< of the attempt that was good
  uint64_t gave_up = 0;    ///< failed attempts after which the message left for the error queue
  uint64_t sent_back = 0;  ///< and for the queue of its endpoint, to be tried again later
};

class HandlingTimes {
 public:
  /// Makes the file where there is none. io_error and others: it cannot be written.
  static Result<std::unique_ptr<HandlingTimes>> open(const std::string& root_path, const std::string& queue);
  ~HandlingTimes();
  HandlingTimes(const HandlingTimes&) = delete;
  HandlingTimes& operator=(const HandlingTimes&) = delete;

  /// One more message was handled. Negative times (clocks differ) are none. Any thread.
  void handled(double critical_s, double processing_s);
  /// An attempt failed and its message left the queue, so that the queue's own count of failures does not have it.
  void gave_up();
  void sent_back();

 private:
  struct File;
  explicit HandlingTimes(File* file) : file_(file) {}
  friend Result<std::optional<HandlingSummary>> read_handling_times(const std::string& root_path, const std::string& queue);
  File* file_;
};

/// HandlingTimes::gave_up() for those who do not keep one open. What fails is not told: nothing but a count is lost.
void count_given_up(const std::string& root_path, const std::string& queue);

/// nullopt: no worker has ever taken from this queue.
Result<std::optional<HandlingSummary>> read_handling_times(const std::string& root_path, const std::string& queue);

}  // namespace gw
