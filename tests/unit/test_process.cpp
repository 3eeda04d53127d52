#include <doctest/doctest.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "process.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;

namespace {

// Runs `/bin/sh -c script` to its end; returns what it wrote to stdout.
struct Finished {
  ChildEnd end;
  std::string text;
};

Finished run_shell(const std::string& script, std::vector<std::string> environment = {"PATH=/usr/bin:/bin"}) {
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
  UniqueFd in(::open("/dev/null", O_RDONLY | O_CLOEXEC)), out(fds[1]), read_end(fds[0]);
  auto child = Child::start({"/bin/sh", {"sh", "-c", script}, std::move(environment), in.get(), out.get(), out.get()});
  REQUIRE_MESSAGE(child, child.error().text);
  out.reset();
  Finished finished;
  char block[4096];
  for (ssize_t n; (n = ::read(read_end.get(), block, sizeof block)) > 0;) finished.text.append(block, static_cast<size_t>(n));
  pollfd item{child->exit_fd(), POLLIN, 0};
  REQUIRE(::poll(&item, 1, 20'000) == 1);
  CHECK(child->ended());
  auto end = child->reap();
  REQUIRE(end);
  CHECK_FALSE(child->reap());
  finished.end = *end;
  return finished;
}

struct Directory : Scratch {
  std::string file(const std::string& name, const std::string& text, mode_t mode) const {
    const std::string where = write(name, text);
    ::chmod(where.c_str(), mode);
    return where;
  }
};

ExitCode start_code(const std::string& program, std::string* text = nullptr) {
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  auto child = Child::start({program, {program}, {}, null.get(), null.get(), null.get()});
  if (child) return ExitCode::ok;
  if (text) *text = child.error().text;
  return child.error().code;
}

}  // namespace

TEST_CASE("process: output, exit status and signals of a child") {
  Finished one = run_shell("echo hello; exit 3");
  CHECK(one.text == "hello\n");
  CHECK(one.end.exit_status == 3);
  CHECK(one.end.signal == 0);
  CHECK(run_shell("kill -TERM $$").end.signal == SIGTERM);
  CHECK(signal_name(SIGKILL) == "SIGKILL");
  CHECK(signal_name(SIGRTMAX) == "SIG" + std::to_string(SIGRTMAX));
}

TEST_CASE("process: the environment is the one given, and nothing else") {
  CHECK(run_shell("exec env", {"A=1", "B=x y"}).text.find("A=1\nB=x y\n") != std::string::npos);
  CHECK(run_shell("echo $HOME").text == "\n");
}

TEST_CASE("process: descriptors 0 to 2 only, signals as usual, a group of its own") {
  int inherited = ::open("/dev/null", O_RDONLY);                           // without CLOEXEC
  CHECK(run_shell("ls /proc/self/fd | tr '\\n' ' '").text == "0 1 2 3 ");  // 3: ls's own directory
  ::close(inherited);
  void (*before)(int) = ::signal(SIGPIPE, SIG_IGN);
  sigset_t block, old;
  sigemptyset(&block);
  sigaddset(&block, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &block, &old);
  std::string state = run_shell("grep -E '^Sig(Blk|Ign)' /proc/self/status").text;
  INFO(state);
  CHECK(state.find("SigBlk:\t0000000000000000") != std::string::npos);
  // The one that this test ignores; an environment may ignore others.
  size_t ignored = state.find("SigIgn:\t");
  REQUIRE(ignored != std::string::npos);
  CHECK((std::stoull(state.substr(ignored + 8, 16), nullptr, 16) & (1ull << (SIGPIPE - 1))) == 0);
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, &old, &now);
  CHECK(sigismember(&now, SIGUSR1) == 1);
  ::signal(SIGPIPE, before);
  CHECK(run_shell("test $(ps -o pgid= -p $$) = $$ && echo own").text == "own\n");
}

TEST_CASE("process: descriptors 0 to 2 may be each other's") {
  int saved[3];
  for (int i = 0; i < 3; ++i) saved[i] = ::fcntl(i, F_DUPFD_CLOEXEC, 10);
  int fds[2];
  REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
  ::dup2(fds[1], 0);  // the pipe is 0 here and shall be 1 there; 2 here shall be 0 there
  auto child = Child::start({"/bin/sh", {"sh", "-c", "echo out; echo err >&2"}, {}, 2, 0, 0});
  for (int i = 0; i < 3; ++i) {
    ::dup2(saved[i], i);
    ::close(saved[i]);
  }
  ::close(fds[1]);
  REQUIRE(child);
  std::string text;
  char block[64];
  for (ssize_t n; (n = ::read(fds[0], block, sizeof block)) > 0;) text.append(block, static_cast<size_t>(n));
  ::close(fds[0]);
  CHECK(text == "out\nerr\n");
}

TEST_CASE("process: what cannot be executed says why") {
  Directory dir;
  std::string text;
  CHECK(start_code(dir.path + "/absent", &text) == ExitCode::config);
  CHECK(text.find("No such file or directory") != std::string::npos);
  CHECK(start_code(dir.file("plain", "#!/bin/sh\n", 0600)) == ExitCode::config);
  CHECK(start_code(dir.path) == ExitCode::config);
  CHECK(start_code(dir.file("no-interpreter", "#!/no/such/shell\n", 0700), &text) == ExitCode::config);
  CHECK(text.find("interpreter") != std::string::npos);
  CHECK(start_code(dir.file("no-format", "echo hello\n", 0700), &text) == ExitCode::config);
  CHECK(text.find("#!") != std::string::npos);
  CHECK(start_code(dir.file("good", "#!/bin/sh\n", 0700)) == ExitCode::ok);
}

TEST_CASE("process: a program is found in PATH or by its path") {
  Directory dir;
  std::string good = dir.file("tool", "#!/bin/sh\n", 0700);
  dir.file("plain", "x", 0600);
  std::string before = std::getenv("PATH");
  ::setenv("PATH", (dir.path + ":/bin").c_str(), 1);
  auto found = find_program("tool");
  auto shell = find_program("sh");
  auto plain = find_program("plain");
  auto absent = find_program("absent-tool");
  ::setenv("PATH", before.c_str(), 1);
  REQUIRE(found);
  CHECK(*found == good);
  REQUIRE(shell);
  CHECK(*shell == "/bin/sh");
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == ExitCode::config);
  if (::geteuid() != 0) CHECK_FALSE(plain);
  CHECK(find_program(good));
  CHECK_FALSE(find_program(dir.path));
  CHECK_FALSE(find_program(""));
}

TEST_CASE("process: killing the group reaches grandchildren, and dropping a child ends it") {
  Directory dir;
  std::string pid_file = dir.path + "/pid";
  auto alive = [&] {
    std::ifstream file(pid_file);
    pid_t pid = 0;
    file >> pid;
    return pid > 0 && ::kill(pid, 0) == 0;
  };
  auto wait = [](auto condition) {
    for (int64_t deadline = monotonic_ms() + 20'000; !condition();) {
      REQUIRE(monotonic_ms() < deadline);
      ::usleep(5000);
    }
  };
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  {
    auto child = Child::start({"/bin/sh",
                               {"sh", "-c", "sleep 1000 & echo $! >'" + pid_file + "'; wait"},
                               {"PATH=/usr/bin:/bin"},
                               null.get(),
                               null.get(),
                               null.get()});
    REQUIRE(child);
    wait(alive);
    CHECK_FALSE(child->ended());
    CHECK_FALSE(child->reap());
  }
  // A killed orphan stays a zombie where nobody reaps it.
  wait([&] {
    std::ifstream file(pid_file);
    std::string pid;
    file >> pid;
    std::ifstream stat("/proc/" + pid + "/stat");
    std::string line;
    std::getline(stat, line);
    return line.empty() || line.find(") Z ") != std::string::npos;
  });
}
