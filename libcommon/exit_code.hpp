// The exit codes of every tool, and so the classes of every error: what a caller can do about it.
// One table (sysexits(3) numbers); the man pages' EXIT STATUS sections are checked against it.
#pragma once

namespace gw {

enum class ExitCode : int {
  ok = 0,             ///< done, all there
  no = 1,             ///< the answer is no: nothing there, a limit exceeded, something skipped, some failed
  usage = 64,         ///< unknown option, subcommand, site; missing selection
  bad_data = 65,      ///< bad message or data
  no_input = 66,      ///< no such queue, message, file
  unavailable = 69,   ///< refused by the other side; will not arrive without a person
  bug = 70,           ///< an assertion of ours failed
  system = 71,        ///< system error; foreign or newer format; in use by another kernel
  cannot_create = 73, ///< cannot create
  io_error = 74,      ///< I/O error, stdout too; a commit in doubt
  not_now = 75,       ///< full, held, locked, timed out, still on the way: try again later
  protocol = 76,      ///< the other side broke the protocol
  no_permission = 77, ///< permission; not a private file
  config = 78,        ///< configuration (file:line: what, expected what)
};

}  // namespace gw
