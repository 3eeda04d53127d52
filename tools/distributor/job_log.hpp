// --joblog: a line for each attempt, in the columns of GNU parallel and three more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw::distributor {

struct JobLine {
  uint64_t seq = 0;
  std::string host, command, id, outcome;
  int64_t started_at_ms = 0, ended_at_ms = 0;
  uint64_t sent_bytes = 0, received_bytes = 0;
  int exit_status = 0, signal = 0;
  unsigned attempt = 1;
};

/// The line without its end. Tabs, line ends and backslashes in texts become \t, \n and \\.
std::string job_line(const JobLine& line);

/// Several workers may append to one file: each line is one write.
class JobLog {
 public:
  static Result<JobLog> open(const std::string& path);
  /// io_error: the disk is full or broken.
  Result<void> append(const JobLine& line);
  static const char header[];

 private:
  JobLog(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

/// Words as a shell would read them back.
std::string shell_words(const std::vector<std::string>& words);

}  // namespace gw::distributor
