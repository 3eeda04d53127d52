#include "tool.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "config.hpp"
#include "diag.hpp"
#include "gw_assert.hpp"
#include "options_common.hpp"
#include "secrets.hpp"

namespace gw {

namespace {

// --- stdout ---------------------------------------------------------------------------------------------------------------

constexpr size_t stdout_buffer_bytes = 64 * 1024;

struct Stdout {
  std::mutex mutex;
  std::string buffer;
  int error = 0;  ///< errno of the first write that failed; nothing is written after it

  void flush() {
    std::string_view left = buffer;
    while (!left.empty() && error == 0) {
      ssize_t n = ::write(STDOUT_FILENO, left.data(), left.size());
      if (n >= 0) {
        left.remove_prefix(static_cast<size_t>(n));
      } else if (errno == EAGAIN) {
        pollfd wait{STDOUT_FILENO, POLLOUT, 0};
        ::poll(&wait, 1, -1);
      } else if (errno != EINTR) {
        error = errno;
      }
    }
    buffer.clear();
  }
};

// Never destroyed: threads may still write while the process ends.
Stdout& standard_output() {
  static auto* instance = new Stdout;
  return *instance;
}

// --- where things are -----------------------------------------------------------------------------------------------------

constexpr const char* system_root = "/var/spool/gatepost";
constexpr const char* system_config = "/etc/gatepost/config.xml";

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

std::string home_directory() {
  std::string home = environment("HOME");
  if (!home.empty()) return home;
  const passwd* user = ::getpwuid(::geteuid());
  return user && user->pw_dir ? user->pw_dir : "/";
}

// Children and events get the same path whatever directory they run in.
std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  char here[PATH_MAX];
  return ::getcwd(here, sizeof here) ? std::string(here) + "/" + path : path;
}

bool can_use_system_root() {
  if (::access(system_root, F_OK) == 0) return ::access(system_root, W_OK | X_OK) == 0;
  return ::access("/var/spool", W_OK | X_OK) == 0;
}

std::string resolve_root(const std::string& given) {
  if (!given.empty()) return absolute(given);
  std::string from_environment = environment("GW_ROOT");
  if (!from_environment.empty()) return absolute(from_environment);
  return can_use_system_root() ? system_root : home_directory() + "/.local/state/gatepost";
}

std::string resolve_config(const std::string& given, const std::string& root) {
  if (!given.empty()) return absolute(given);
  std::string from_environment = environment("GW_CONFIG");
  if (!from_environment.empty()) return absolute(from_environment);
  return root == system_root ? system_config : home_directory() + "/.config/gatepost/config.xml";
}

bool wants_color(const std::string& choice, int fd) {
  if (choice != "auto") return choice == "always";
  const std::string terminal = environment("TERM");
  return ::isatty(fd) && environment("NO_COLOR").empty() && !terminal.empty() && terminal != "dumb";
}

CommonOptions resolve(const CommandLine& line) {
  CommonOptions common;
  common.root = resolve_root(line.root);
  common.config = resolve_config(line.config, common.root);
  common.config_given = !line.config.empty() || !environment("GW_CONFIG").empty();
  common.check_config = line.check_config;
  common.json = line.json;
  common.quiet = line.quiet;
  common.verbose = line.verbose;
  common.dry_run = line.dry_run;
  common.color = wants_color(line.color, STDOUT_FILENO);
  common.color_stderr = wants_color(line.color, STDERR_FILENO);
  return common;
}

// --- the frame of main() --------------------------------------------------------------------------------------------------

// A closed standard descriptor would be given to the next file that is opened, and results or events written into it.
// What is opened here instead refuses what the closed one would have refused.
void occupy_standard_fds() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    [[maybe_unused]] int opened = ::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
  }
}

// A handler that does nothing and not SIG_IGN: programs that we start get the default back.
void fail_writes_instead_of_dying() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGPIPE, &action, nullptr);
  ::sigaction(SIGXFSZ, &action, nullptr);
}

int as_int(ExitCode code) { return static_cast<int>(code); }

int report(const Error& error, const Tool& tool, const Command* command, bool json_events) {
  // A reader that went away (head, less) knows it.
  if (error.code == ExitCode::io_error && error.sys_errno == EPIPE) return as_int(error.code);
  print_error(error.text);
  if (error.code == ExitCode::usage && !json_events) {
    std::string hint = try_help(tool, command) + "\n";
    [[maybe_unused]] auto written = ::write(STDERR_FILENO, hint.data(), hint.size());
  }
  return as_int(error.code);
}

// One line per fault, FILE:LINE first, as compilers do: editors find the place.
Result<ExitCode> check_config(const Tool& tool, const CommonOptions& common) {
  if (tool.check_config) return tool.check_config(common);
  GW_TRY_ASSIGN(const Config config, load_config(common.config, common.config_given, ConfigCheck::files));
  GW_TRY(check_config_files(config));
  return ExitCode::ok;
}

int check_config_and_report(const Tool& tool, const CommonOptions& common, bool json_events) {
  auto result = check_config(tool, common);
  if (result) return as_int(*result);
  const bool by_line = result.error().text.starts_with(common.config + ":");
  if (!by_line || json_events) return report(result.error(), tool, nullptr, json_events);
  std::string text = result.error().text + "\n";
  [[maybe_unused]] auto written = ::write(STDERR_FILENO, text.data(), text.size());
  return as_int(result.error().code);
}

int run(int argc, char** argv, const Tool& tool) {
  const Command* command = nullptr;
  auto line = parse_command_line(argc, argv, tool, &command);
  if (!line) return report(line.error(), tool, command, false);

  const bool json_events = line->log_format == "json";
  diag_setup(tool.name, json_events ? LogFormat::json : LogFormat::text,
             line->quiet ? Level::warn : line->verbose ? Level::debug : Level::info);
  int code = 0;
  if (!line->print.empty()) {
    out(line->print);
  } else {
    const CommonOptions common = resolve(*line);
    if (common.check_config) {
      code = check_config_and_report(tool, common, json_events);
    } else if (!command) {
      code = report(Error{ExitCode::usage, 0, "no command given"}, tool, nullptr, json_events);
    } else {
      auto result = command->run(common);
      code = result ? as_int(*result) : report(result.error(), tool, command, json_events);
    }
  }
  auto flushed = flush_stdout();
  if (flushed) return code;
  // The result did not arrive, whatever else was said; an error of the command itself has been printed already.
  if (code == as_int(ExitCode::io_error)) return code;
  return report(flushed.error(), tool, command, json_events);
}

}  // namespace

int tool_main(int argc, char** argv, const Tool& tool) {
  occupy_standard_fds();
  fail_writes_instead_of_dying();
  diag_setup(tool.name, LogFormat::text, Level::info);
  // End of initialisation. Errors are values; what is thrown is no memory or a bug.
  try {
    return run(argc, argv, tool);
  } catch (const std::bad_alloc&) {
    print_error("out of memory");
    return as_int(ExitCode::system);
  } catch (const std::system_error& refused) {  // a thread that could not be started
    const bool passing = refused.code() == std::errc::resource_unavailable_try_again;
    print_error(std::string("start a thread: ") + refused.what());
    return as_int(passing ? ExitCode::not_now : ExitCode::system);
  } catch (const std::exception& bug) {
    print_error(std::string("bug: unexpected exception: ") + bug.what());
    return as_int(ExitCode::bug);
  } catch (...) {
    print_error("bug: unexpected exception");
    return as_int(ExitCode::bug);
  }
}

void out(std::string_view text) {
  Stdout& output = standard_output();
  std::lock_guard lock(output.mutex);
  if (output.error != 0) return;
  output.buffer += text;
  if (output.buffer.size() >= stdout_buffer_bytes) output.flush();
}

Result<void> flush_stdout() {
  Stdout& output = standard_output();
  std::lock_guard lock(output.mutex);
  output.flush();
  if (output.error == 0) return {};
  Error error = errno_error("write", "standard output", output.error);
  error.code = ExitCode::io_error;
  return error;
}

// --- the root directory ---------------------------------------------------------------------------------------------------

namespace {

// The superuser must leave no files that the owner cannot read or remove, and follows nobody's links with his own rights.
Result<void> become_owner(const std::string& path) {
  struct stat info {};
  if (::geteuid() != 0 || ::stat(path.c_str(), &info) != 0 || info.st_uid == 0) return {};
  const passwd* user = ::getpwuid(info.st_uid);
  const gid_t group = user ? user->pw_gid : info.st_gid;
  int groups = user ? ::initgroups(user->pw_name, group) : ::setgroups(0, nullptr);
  if (groups != 0 || ::setresgid(group, group, group) != 0 || ::setresuid(info.st_uid, info.st_uid, info.st_uid) != 0)
    return errno_error("become the owner of", path, errno);
  return {};
}

}  // namespace

Result<std::unique_ptr<Root>> open_root(const CommonOptions& options, bool create, uint64_t min_free_bytes, const std::string& machine) {
  GW_TRY(become_owner(options.root));
  RootOptions root_options;
  root_options.create = create;
  root_options.min_free_bytes = min_free_bytes;
  root_options.machine = machine;
  return Root::open(options.root, root_options);
}

// --- signals --------------------------------------------------------------------------------------------------------------

namespace {

std::atomic<bool> stop_flag{false};
std::atomic<bool> reload_flag{false};
std::atomic<int> interrupts{0};
int wake_event = -1;    // readable while a signal is not taken; that to stop never is
int action_event = -1;  // read by the thread that runs the action

// Everything here must be safe in a signal handler.
void handle_signal(int number) {
  const int saved = errno;
  if (number == SIGINT && interrupts.fetch_add(1) > 0) ::_exit(128 + SIGINT);  // the second Ctrl-C: now
  (number == SIGHUP ? reload_flag : stop_flag).store(true);
  const uint64_t one = 1;
  [[maybe_unused]] auto first = ::write(wake_event, &one, sizeof one);
  [[maybe_unused]] auto second = ::write(action_event, &one, sizeof one);
  errno = saved;
}

std::function<void()>& signal_action() {
  static auto* action = new std::function<void()>;
  return *action;
}

std::mutex& signal_action_mutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

void run_action_on_each_signal() {
  for (;;) {
    uint64_t count = 0;
    ssize_t n = ::read(action_event, &count, sizeof count);
    if (n < 0 && errno == EINTR) continue;
    if (n != sizeof count) return;
    std::lock_guard<std::mutex> one(signal_action_mutex());
    if (signal_action()) signal_action()();
  }
}

}  // namespace

void Signals::on_signal(std::function<void()> action) {
  std::lock_guard<std::mutex> one(signal_action_mutex());
  signal_action() = std::move(action);
}

void Signals::install() {
  GW_ASSERT(wake_event < 0);
  wake_event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  action_event = ::eventfd(0, EFD_CLOEXEC);
  GW_ASSERT(wake_event >= 0 && action_event >= 0);
  if (signal_action()) std::thread(run_action_on_each_signal).detach();
  struct sigaction action {};
  action.sa_handler = handle_signal;
  action.sa_flags = SA_RESTART;
  for (int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaction(number, &action, nullptr);
}

bool Signals::stop_requested() { return stop_flag.load(); }
bool Signals::take_reload() {
  if (!reload_flag.exchange(false)) return false;
  eventfd_t count = 0;
  ::eventfd_read(wake_event, &count);
  // A signal that came in between has set its flag before it rang.
  if (stop_flag.load() || reload_flag.load()) ::eventfd_write(wake_event, 1);
  return true;
}
int Signals::wake_fd() { return wake_event; }

// --- ready ----------------------------------------------------------------------------------------------------------------

namespace {

// sd_notify(3) without its library: one datagram.
void notify_service_manager(const char* state) {
  const std::string path = environment("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path.empty() || path.size() >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@')) return;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (fd) ::sendto(fd.get(), state, std::strlen(state), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), size);
}

}  // namespace

Result<void> print_ready(std::string_view line) {
  out(std::string(line) + "\n");
  GW_TRY(flush_stdout());
  notify_service_manager("READY=1");
  return {};
}

}  // namespace gw
