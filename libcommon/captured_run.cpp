#include "captured_run.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "units.hpp"

namespace gw {

Result<CapturedRun> run_captured(ChildSpec spec, int64_t timeout_ms, size_t output_bytes_max) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make a pipe for", spec.program, errno);
  UniqueFd in(ends[0]), out(ends[1]), nothing(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!nothing) return errno_error("open", "/dev/null", errno);
  if (spec.in < 0) spec.in = nothing.get();
  spec.out = out.get();
  spec.err = 2;
  GW_TRY_ASSIGN(Child child, Child::start(spec));
  out.reset();
  CapturedRun run;
  const int64_t deadline = monotonic_ms() + timeout_ms;
  bool open = true;
  while (!child.ended() || open) {
    const int64_t left = deadline - monotonic_ms();
    if (left <= 0) {
      run.timed_out = true;
      child.kill_group(SIGKILL);
      break;
    }
    // A child of its own that keeps the pipe open does not keep us: what was printed until the program's end is the answer.
    if (child.ended()) open = false;
    pollfd items[] = {{in.get(), POLLIN, 0}, {child.exit_fd(), POLLIN, 0}};
    if (open) ::poll(items, 2, static_cast<int>(std::min<int64_t>(left, 1000)));
    for (;;) {
      pollfd readable{in.get(), POLLIN, 0};
      if (::poll(&readable, 1, 0) <= 0) break;
      char buffer[4096];
      const ssize_t n = ::read(in.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        open = false;
        break;
      }
      run.output.append(buffer, std::min(static_cast<size_t>(n), output_bytes_max - std::min(run.output.size(), output_bytes_max)));
    }
    if (!open && !child.ended()) {
      pollfd ended{child.exit_fd(), POLLIN, 0};
      ::poll(&ended, 1, static_cast<int>(std::min<int64_t>(std::max<int64_t>(deadline - monotonic_ms(), 0), 1000)));
    }
  }
  if (auto end = child.reap()) run.end = *end;
  return run;
}

std::string trouble_of(const CapturedRun& run, int64_t timeout_ms) {
  if (run.timed_out) return "longer than " + human_duration(timeout_ms);
  if (run.end.signal != 0) return "signal " + std::to_string(run.end.signal) + " (" + signal_name(run.end.signal) + ")";
  if (run.end.exit_status != 0) return "exit " + std::to_string(run.end.exit_status);
  return "";
}

}  // namespace gw
