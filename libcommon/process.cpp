#include "process.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gw {

namespace {

Error cannot_execute(const std::string& path, int why) {
  std::string hint;
  if (why == ENOEXEC) hint = " (no program and no script that begins with #!)";
  if (why == ENOENT && why_not_executable(path) == 0) hint = " (the interpreter in its first line)";
  return Error{ExitCode::config, why, "execute '" + path + "': " + strerrordesc_np(why) + hint};
}

Error start_error(const std::string& path, int why) {
  for (int passing : {EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY})
    if (why == passing) return Error{ExitCode::not_now, why, "start '" + path + "': " + strerrordesc_np(why)};
  return cannot_execute(path, why);
}

// Everything the child needs, laid out before: between vfork and exec it may only make system calls.
struct Launch {
  const char* program;
  char* const* arguments;
  char* const* environment;
  int fds[3];
  int report;  // the end of a pipe that closes with exec
  pid_t parent;
};

// Runs in the child, on the parent's memory: writes to nothing but its own stack.
[[noreturn]] void become(const Launch& launch) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != launch.parent) ::_exit(127);  // it died before the line above
  // First out of the way of 0 to 2, as they may be among them.
  int moved[3];
  bool ok = true;
  for (int i = 0; i < 3; ++i) ok = (moved[i] = ::fcntl(launch.fds[i], F_DUPFD, 3)) >= 0 && ok;
  int report = ::fcntl(launch.report, F_DUPFD_CLOEXEC, 3);
  for (int i = 0; ok && i < 3; ++i) ok = ::dup2(moved[i], i) >= 0;
  if (ok) {
    ::close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    // The handlers of the parent must not run here, and what it ignores is not the child's business.
    struct sigaction standard {};
    standard.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number)
      if (number != SIGKILL && number != SIGSTOP) ::sigaction(number, &standard, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(launch.program, launch.arguments, launch.environment);
  }
  int why = errno;
  ssize_t ignored = ::write(report, &why, sizeof why);
  static_cast<void>(ignored);
  ::_exit(127);
}

[[gnu::noinline]] pid_t fork_and_become(const Launch& launch) {
  pid_t pid = ::vfork();
  if (pid == 0) become(launch);
  return pid;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> list;
  for (const std::string& word : words) list.push_back(const_cast<char*>(word.c_str()));
  list.push_back(nullptr);
  return list;
}

// The errno of a failed exec; 0 when the pipe closed with a successful one.
int read_report(int fd) {
  int why = 0;
  ssize_t n;
  do n = ::read(fd, &why, sizeof why);
  while (n < 0 && errno == EINTR);
  return n == sizeof why ? why : 0;
}

void wait_for(pid_t pid) {
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

Result<Child> Child::start(const ChildSpec& spec) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return start_error(spec.program, errno);
  UniqueFd report_in(pipe_fds[0]), report_out(pipe_fds[1]);
  std::vector<char*> arguments = pointers(spec.arguments), environment = pointers(spec.environment);
  Launch launch{spec.program.c_str(), arguments.data(), environment.data(), {spec.in, spec.out, spec.err}, report_out.get(), ::getpid()};
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork_and_become(launch);
  int why = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return start_error(spec.program, why);
  report_out.reset();
  why = read_report(report_in.get());
  if (why != 0) {
    wait_for(pid);
    return start_error(spec.program, why);
  }
  // The child is not reaped yet, so its pid cannot be anybody else's.
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // the C library's header forgets C++
  if (!pidfd) {
    why = errno;
    ::kill(-pid, SIGKILL);
    wait_for(pid);
    return start_error(spec.program, why);
  }
  return Child(pid, std::move(pidfd));
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

Child::~Child() {
  if (pid_ == 0) return;
  kill_group(SIGKILL);
  wait_for(pid_);
}

bool Child::ended() const {
  pollfd item{pidfd_.get(), POLLIN, 0};
  return pid_ == 0 || ::poll(&item, 1, 0) > 0;
}

void Child::kill_group(int signal) const {
  if (pid_ != 0) ::kill(-pid_, signal);
}

std::optional<ChildEnd> Child::reap() {
  siginfo_t info{};
  if (pid_ == 0 || ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
    return std::nullopt;
  pid_ = 0;
  if (info.si_code == CLD_EXITED) return ChildEnd{info.si_status, 0};
  return ChildEnd{0, info.si_status};
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name ? "SIG" + std::string(name) : "SIG" + std::to_string(signal);
}

}  // namespace gw
