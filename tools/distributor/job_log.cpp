#include "job_log.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace gw::distributor {

namespace {

std::string escaped(const std::string& text) {
  std::string result;
  for (char c : text) {
    if (c == '\t') result += "\\t";
    else if (c == '\n') result += "\\n";
    else if (c == '\\') result += "\\\\";
    else result += c;
  }
  return result;
}

Result<void> write_line(int fd, std::string line, const std::string& path) {
  line += '\n';
  ssize_t n;
  do n = ::write(fd, line.data(), line.size());
  while (n < 0 && errno == EINTR);
  if (n == static_cast<ssize_t>(line.size())) return {};
  Error error = errno_error("write", path, n < 0 ? errno : ENOSPC);
  error.code = ExitCode::io_error;
  return error;
}

}  // namespace

const char JobLog::header[] = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\tId\tAttempt\tOutcome";

std::string job_line(const JobLine& line) {
  char times[64];
  const int64_t runtime_ms = std::max<int64_t>(line.ended_at_ms - line.started_at_ms, 0);
  std::snprintf(times, sizeof times, "%.3f\t%10.3f", static_cast<double>(line.started_at_ms) / 1000, static_cast<double>(runtime_ms) / 1000);
  std::string text = std::to_string(line.seq) + '\t' + escaped(line.host) + '\t' + times;
  for (uint64_t number : {line.sent_bytes, line.received_bytes}) text += '\t' + std::to_string(number);
  for (int number : {line.exit_status, line.signal}) text += '\t' + std::to_string(number);
  return text + '\t' + escaped(line.command) + '\t' + escaped(line.id) + '\t' + std::to_string(line.attempt) + '\t' + line.outcome;
}

Result<JobLog> JobLog::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!fd) {
    Error error = errno_error("create", path, errno);
    if (error.code == ExitCode::no_input) error.code = ExitCode::cannot_create;  // its directory is not there
    return error;
  }
  // Only one writes the header. Pipes and devices have no lock and no size.
  ::flock(fd.get(), LOCK_EX);
  struct stat status{};
  auto written = ::fstat(fd.get(), &status) == 0 && status.st_size == 0 ? write_line(fd.get(), header, path) : Result<void>();
  ::flock(fd.get(), LOCK_UN);
  if (!written) return std::move(written).error();
  return JobLog(std::move(fd), path);
}

Result<void> JobLog::append(const JobLine& line) { return write_line(fd_.get(), job_line(line), path_); }

std::string shell_words(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) text += ' ';
    bool plain = !word.empty() && word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./=,:+@%{}") == std::string::npos;
    if (plain) {
      text += word;
      continue;
    }
    text += '\'';
    for (char c : word) text += c == '\'' ? "'\\''" : std::string(1, c);
    text += '\'';
  }
  return text;
}

}  // namespace gw::distributor
