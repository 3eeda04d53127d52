#include "forward_program.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "program.hpp"

extern char** environ;

namespace gw {
namespace {

constexpr size_t pending_bytes_max = 32 * 1024;

Result<std::string> program_path() {
  GW_TRY_ASSIGN(std::string dir, libexec_directory());
  return dir + "/gw-forward";
}

Error cannot_start(const std::string& path, int error_number) {
  Error error = errno_error("execute", path, error_number);
  error.code = ExitCode::system;
  error.text += "; it belongs to the installation";
  return error;
}

}  // namespace

Error become_forwarder(char** argv) {
  auto path = program_path();
  if (!path) return path.error();
  ::execv(path->c_str(), argv);
  return cannot_start(*path, errno);
}

Result<OwnForwarder> OwnForwarder::start(const std::vector<std::string>& arguments) {
  GW_TRY_ASSIGN(std::string path, program_path());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error("make", "a pipe", errno);
  UniqueFd list_end(ends[0]);
  OwnForwarder forwarder;
  forwarder.list_ = UniqueFd(ends[1]);

  std::vector<std::string> words{"gw-send", "forward", "--listed"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, list_end.get(), STDIN_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  const int failed = ::posix_spawn(&forwarder.pid_, path.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0) {
    forwarder.pid_ = 0;
    return cannot_start(path, failed);
  }
  return forwarder;
}

void OwnForwarder::flush() {
  for (size_t at = 0; at < pending_.size() && list_;) {
    const ssize_t n = ::write(list_.get(), pending_.data() + at, pending_.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) list_.reset();
    if (n > 0) at += static_cast<size_t>(n);
  }
  pending_.clear();
}

void OwnForwarder::add(const std::string& site, uint64_t seq, int64_t due_at_ms) {
  pending_ += site + " " + std::to_string(seq) + " " + std::to_string(due_at_ms) + "\n";
  if (pending_.size() >= pending_bytes_max) flush();
}

void OwnForwarder::all_added() {
  pending_ += "end\n";
  flush();
}

bool OwnForwarder::ended() {
  if (pid_ == 0) return true;
  if (::waitpid(pid_, nullptr, WNOHANG) == 0) return false;
  pid_ = 0;
  return true;
}

OwnForwarder::~OwnForwarder() {
  list_.reset();  // it notices, gives back what it has, and ends
  while (pid_ != 0 && ::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace gw
