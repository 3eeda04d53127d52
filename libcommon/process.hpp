// Programs as children: no shell, a process group of their own, descriptors 0 to 2 only, and no life beyond their parent's.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "program.hpp"
#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

struct ChildSpec {
  std::string program;                   ///< a path, see find_program
  std::vector<std::string> arguments;    ///< argv[0] included
  std::vector<std::string> environment;  ///< NAME=value, all of it
  int in = -1, out = -1, err = -1;       ///< become 0, 1 and 2; stay open here
};

/// How a child ended: an exit status or the signal that killed it.
struct ChildEnd {
  int exit_status = 0;
  int signal = 0;  ///< 0: it exited
};

/// A running child in a process group of its own, in this process's directory. It gets SIGKILL when the thread that started it ends,
/// so start children from a thread that lives as long as the process. Destroying it kills the group and waits.
class Child {
 public:
  /// Fails with config if the program cannot be executed (absent, no permission, no interpreter, arguments too long), with not_now
  /// if the system has no room for another process now or the file is being written.
  static Result<Child> start(const ChildSpec& spec);
  Child(Child&&) noexcept;
  Child& operator=(Child&&) noexcept;
  ~Child();

  pid_t pid() const { return pid_; }
  /// Readable (poll) once the child has ended.
  int exit_fd() const { return pidfd_.get(); }
  bool ended() const;
  /// Signals the whole group. Nothing happens once reap() has returned.
  void kill_group(int signal) const;
  /// How it ended; nullopt while it runs. Afterwards the child is gone.
  std::optional<ChildEnd> reap();

 private:
  Child(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  pid_t pid_ = 0;  // 0: reaped or moved from
  UniqueFd pidfd_;
};

/// "SIGKILL"; "SIG64" for those without a name.
std::string signal_name(int signal);

}  // namespace gw
