#include "channel_program.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>

#include "diag.hpp"
#include "units.hpp"

extern char** environ;

namespace gw {
namespace {

constexpr size_t stderr_line_bytes_max = 4096;
constexpr int64_t last_words_ms = 500;

std::string how_it_ended(const ChildEnd& end) {
  return end.signal != 0 ? "signal " + std::to_string(end.signal) + " (" + signal_name(end.signal) + ")"
                         : "exit " + std::to_string(end.exit_status);
}

bool would_block() { return errno == EAGAIN || errno == EINTR; }

Result<std::pair<UniqueFd, UniqueFd>> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make", "a pipe", errno);
  return std::pair(UniqueFd(ends[0]), UniqueFd(ends[1]));
}

}  // namespace

Result<ChannelProgram> ChannelProgram::start(Spec spec) {
  GW_TRY_ASSIGN(auto in, make_pipe());
  GW_TRY_ASSIGN(auto out, make_pipe());
  GW_TRY_ASSIGN(auto err, make_pipe());
  ChildSpec child;
  child.program = spec.program;
  child.arguments = {spec.program, spec.direction, spec.address};
  for (char** variable = environ; *variable; ++variable) child.environment.emplace_back(*variable);
  child.in = in.first.get();
  child.out = out.second.get();
  child.err = err.second.get();
  GW_TRY_ASSIGN(Child started, Child::start(child));
  ChannelProgram program(std::move(spec), std::move(started));
  program.in_ = std::move(in.second);
  program.out_ = std::move(out.first);
  program.err_ = std::move(err.first);
  for (int fd : {program.in_.get(), program.out_.get(), program.err_.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return program;
}

/// Until `fd` is ready. Meanwhile what comes on stderr is told.
ChannelProgram::Io ChannelProgram::wait(int fd, short events, int64_t timeout_ms, int interrupt) {
  const int64_t deadline = timeout_ms < 0 ? INT64_MAX : monotonic_ms() + timeout_ms;
  for (;;) {
    const int64_t left = deadline - (timeout_ms < 0 ? 0 : monotonic_ms());
    pollfd items[3] = {{fd, events, 0}, {err_ ? err_.get() : -1, POLLIN, 0}, {interrupt, POLLIN, 0}};
    const int n = ::poll(items, 3, timeout_ms < 0 ? -1 : static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX)));
    if (n < 0 && errno != EINTR) return Io::closed;
    if (n <= 0) {
      if (timeout_ms >= 0 && monotonic_ms() >= deadline) return Io::timed_out;
      continue;
    }
    if (items[1].revents != 0) read_stderr();
    if (items[2].revents != 0) return Io::interrupted;
    if (items[0].revents != 0) return Io::done;
  }
}

ChannelProgram::Io ChannelProgram::write(std::string_view bytes, int64_t timeout_ms, int interrupt) {
  while (!bytes.empty()) {
    if (!in_) return Io::closed;
    const ssize_t n = ::write(in_.get(), bytes.data(), bytes.size());
    if (n < 0 && !would_block()) return Io::closed;
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
    if (n > 0) continue;
    if (Io waited = wait(in_.get(), POLLOUT, timeout_ms, interrupt); waited != Io::done) return waited;
  }
  return Io::done;
}

ChannelProgram::Io ChannelProgram::read(char* into, size_t room, size_t& got, int64_t timeout_ms, int interrupt) {
  got = 0;
  for (;;) {
    if (Io waited = wait(out_.get(), POLLIN, timeout_ms, interrupt); waited != Io::done) return waited;
    const ssize_t n = ::read(out_.get(), into, room);
    if (n < 0 && would_block()) continue;
    if (n <= 0) return Io::closed;
    got = static_cast<size_t>(n);
    return Io::done;
  }
}

ChannelProgram::Io ChannelProgram::idle(int interrupt) {
  return wait(out_.get(), POLLIN, -1, interrupt) == Io::interrupted ? Io::interrupted : Io::closed;
}

bool ChannelProgram::usable() {
  read_stderr();
  pollfd output{out_.get(), POLLIN, 0};
  return ::poll(&output, 1, 0) == 0 && !child_.ended();
}

void ChannelProgram::read_stderr() {
  char bytes[4096];
  while (err_) {
    const ssize_t n = ::read(err_.get(), bytes, sizeof bytes);
    if (n < 0 && would_block()) return;
    if (n <= 0) {
      if (!err_line_.empty()) tell(err_line_);
      err_line_.clear();
      err_.reset();
      return;
    }
    for (char c : std::string_view(bytes, static_cast<size_t>(n))) {
      if (c != '\n') err_line_ += c;
      if (c != '\n' && err_line_.size() < stderr_line_bytes_max) continue;
      tell(err_line_);
      err_line_.clear();
    }
  }
}

void ChannelProgram::tell(std::string_view line) {
  if (line.empty()) return;
  last_line_ = line;
  event(Level::warn, "channel-says", {{"channel_type", spec_.type}, {"address", spec_.address}, {"pid", child_.pid()}, {"text", line}});
}

void ChannelProgram::finish(int64_t timeout_ms) {
  in_.reset();
  const int64_t deadline = monotonic_ms() + timeout_ms;
  char bytes[4096];
  while (!end_ && !(end_ = child_.reap())) {
    const int64_t left = deadline - monotonic_ms();
    if (left <= 0) break;
    size_t ignored = 0;
    // Its output is read to the end, so that it does not wait for us.
    if (read(bytes, sizeof bytes, ignored, std::min<int64_t>(left, 100), child_.exit_fd()) == Io::closed) ::usleep(1000);
  }
  read_stderr();
}

std::string ChannelProgram::last_words() {
  in_.reset();
  const int64_t deadline = monotonic_ms() + last_words_ms;
  while (!end_ && !(end_ = child_.reap()) && monotonic_ms() < deadline) {
    pollfd items[2] = {{child_.exit_fd(), POLLIN, 0}, {err_ ? err_.get() : -1, POLLIN, 0}};
    ::poll(items, 2, 50);
    read_stderr();
  }
  read_stderr();
  std::string text = "gw-channel-" + spec_.type + " ";
  text += end_ ? "ended with " + how_it_ended(*end_) : std::string("closed its output");
  if (!end_) child_.kill_group(SIGKILL);
  if (!last_line_.empty()) text += ": " + last_line_;
  return text;
}

}  // namespace gw
