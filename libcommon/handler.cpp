#include "handler.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "failure.hpp"
#include "hash.hpp"
#include "state_files.hpp"
#include "trace_context.hpp"
#include "units.hpp"

extern char** environ;

namespace gw {

namespace {

constexpr std::string_view scratch_prefix = "gatepost-handlers.";
constexpr size_t output_memory_bytes_max = 256 * 1024;
constexpr size_t environment_value_bytes_max = 64 * 1024;

// Files of handlers are ours and flat; a directory in there is a handler's own doing.
void remove_tree(int parent, const char* name) {
  if (::unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) return;
  UniqueFd dir(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir) return;
  if (DIR* listing = ::fdopendir(::dup(dir.get()))) {
    while (dirent* entry = ::readdir(listing)) {
      std::string_view child = entry->d_name;
      if (child != "." && child != "..") remove_tree(dir.get(), entry->d_name);
    }
    ::closedir(listing);
  }
  ::unlinkat(parent, name, AT_REMOVEDIR);
}

std::string parent_directory() {
  const char* variable = std::getenv("TMPDIR");
  return variable && variable[0] == '/' ? variable : "/tmp";
}

}  // namespace

// --- ScratchDir -----------------------------------------------------------------------------------------------------------

// Whoever gets the lock of a directory knows that its owner is dead.
void ScratchDir::sweep(const std::string& parent) {
  DIR* listing = ::opendir(parent.c_str());
  if (!listing) return;
  while (dirent* entry = ::readdir(listing)) {
    if (!std::string_view(entry->d_name).starts_with(scratch_prefix)) continue;
    UniqueFd dir(::openat(::dirfd(listing), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    if (!dir || ::fstat(dir.get(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    if (::flock(dir.get(), LOCK_EX | LOCK_NB) == 0) remove_tree(::dirfd(listing), entry->d_name);
  }
  ::closedir(listing);
}

Result<std::unique_ptr<ScratchDir>> ScratchDir::create(const std::string& wanted) {
  const std::string parent = wanted.empty() ? parent_directory() : wanted;
  sweep(parent);
  std::string pattern = parent + "/" + std::string(scratch_prefix) + "XXXXXX";
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string path = pattern;
    if (!::mkdtemp(path.data()))
      return Error{ExitCode::cannot_create, errno, "create a directory in '" + parent + "': " + strerrordesc_np(errno)};
    UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat info {};
    // Between the two calls above a sweeper may have taken it for a dead owner's.
    if (dir && ::flock(dir.get(), LOCK_EX | LOCK_NB) == 0 && ::fstat(dir.get(), &info) == 0 && info.st_nlink > 0)
      return std::unique_ptr<ScratchDir>(new ScratchDir(path, std::move(dir)));
  }
  return Error{ExitCode::cannot_create, 0, "create a directory in '" + parent + "': others remove it at once"};
}

ScratchDir::~ScratchDir() {
  remove_tree(AT_FDCWD, path_.c_str());
}

Result<void> ScratchDir::write(const std::string& name, std::string_view bytes) {
  std::string path = path_ + "/" + name;
  constexpr int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd fd(::openat(dir_.get(), name.c_str(), flags, 0600));
  if (!fd && errno == ENOENT && make_again()) fd = UniqueFd(::openat(dir_.get(), name.c_str(), flags, 0600));
  if (!fd) return errno_error("create", path, errno);
  return write_all(fd.get(), bytes, path);
}

// Somebody tidied up: the same name anew.
Result<void> ScratchDir::make_again() {
  if (::mkdir(path_.c_str(), 0700) != 0) return errno_error("create", path_, errno);
  dir_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!dir_ || ::flock(dir_.get(), LOCK_EX | LOCK_NB) != 0) return errno_error("open", path_, errno);
  return {};
}

Result<std::string> ScratchDir::make_directory(const std::string& name) {
  remove(name);
  int made = ::mkdirat(dir_.get(), name.c_str(), 0700);
  if (made != 0 && errno == ENOENT && make_again()) made = ::mkdirat(dir_.get(), name.c_str(), 0700);
  if (made != 0) return errno_error("create", path_ + "/" + name, errno);
  return path_ + "/" + name;
}

void ScratchDir::remove(const std::string& name) {
  remove_tree(dir_.get(), name.c_str());
}

Result<UniqueFd> ScratchDir::temporary() {
  std::string name = "output-" + std::to_string(now_us());
  UniqueFd fd(::openat(dir_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return errno_error("create", path_ + "/" + name, errno);
  ::unlinkat(dir_.get(), name.c_str(), 0);
  return fd;
}

// --- Output ---------------------------------------------------------------------------------------------------------------

void Output::append(std::string_view bytes) {
  if (bytes.size() >= tail_bytes_max) {
    tail_ = bytes.substr(bytes.size() - tail_bytes_max);
  } else {
    tail_.append(bytes);
    if (tail_.size() > tail_bytes_max) tail_.erase(0, tail_.size() - tail_bytes_max);
  }
  memory_.append(bytes);
  if (memory_.size() <= output_memory_bytes_max) return;
  if (!spill_) {
    auto file = scratch_.temporary();
    if (!file) return;  // memory it is, then
    spill_ = *std::move(file);
  }
  if (!write_all(spill_.get(), memory_, "")) {
    // What went in half is cut off again; it is all still in memory.
    if (::ftruncate(spill_.get(), static_cast<off_t>(spilled_)) == 0) ::lseek(spill_.get(), 0, SEEK_END);
    return;
  }
  spilled_ += memory_.size();
  memory_.clear();
}

namespace {

// Pieces of a page: a pipe that poll() calls writable takes one without blocking.
Result<void> write_patiently(int fd, std::string_view bytes, const std::function<bool()>& give_up) {
  constexpr size_t piece = 4096;
  constexpr int look_again_ms = 200;
  while (!bytes.empty()) {
    pollfd item{fd, POLLOUT, 0};
    if (::poll(&item, 1, look_again_ms) <= 0) {
      if (give_up()) return Error{ExitCode::io_error, 0, "write output of a handler: nobody reads it"};
      continue;
    }
    ssize_t n = ::write(fd, bytes.data(), std::min(bytes.size(), piece));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return Error{ExitCode::io_error, errno, "write output of a handler: " + std::string(strerrordesc_np(errno))};
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

}  // namespace

Result<void> Output::write_to(int fd, const std::function<bool()>& give_up) const {
  char block[65536];
  for (uint64_t at = 0; at < spilled_;) {
    ssize_t n = ::pread(spill_.get(), block, std::min<uint64_t>(sizeof block, spilled_ - at), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return Error{ExitCode::io_error, n < 0 ? errno : EIO,
                   "read back output of a handler: " + std::string(strerrordesc_np(n < 0 ? errno : EIO))};
    GW_TRY(write_patiently(fd, std::string_view(block, static_cast<size_t>(n)), give_up));
    at += static_cast<uint64_t>(n);
  }
  return write_patiently(fd, memory_, give_up);
}

// --- outcome --------------------------------------------------------------------------------------------------------------

std::string describe_end(const HandlerOutcome& outcome) {
  if (outcome.timed_out) return "timed out after " + human_duration(outcome.timeout_ms);
  if (outcome.end.signal != 0) return "signal " + std::to_string(outcome.end.signal) + " (" + signal_name(outcome.end.signal) + ")";
  return "exit " + std::to_string(outcome.end.exit_status);
}

namespace {

std::string_view without_line_end(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

}  // namespace

std::string failure_reason(const HandlerOutcome& outcome) {
  std::string_view tail = without_line_end(outcome.tail);
  return describe_end(outcome) + (tail.empty() ? "" : ": " + std::string(tail));
}

std::string failure_summary(const HandlerOutcome& outcome) {
  std::string_view tail = without_line_end(outcome.tail);
  std::string_view line = tail.substr(tail.rfind('\n') + 1);
  return describe_end(outcome) + (line.empty() ? "" : ": " + std::string(line));
}

// --- environment ----------------------------------------------------------------------------------------------------------

std::string message_key(const std::string& queue, const std::string& id, uint64_t seq) {
  Sha256 digest = sha256(queue + '\0' + (id.empty() ? ":" + std::to_string(seq) : id));
  return hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

namespace {

using Variables = std::vector<std::pair<const char*, std::string>>;

// This process's environment, with `own` in place of variables of the same names; those that may not be empty are left out then.
std::vector<std::string> environment_with(const HandlerSettings& settings, const Variables& own) {
  std::vector<std::string> list;
  for (char** variable = environ; *variable; ++variable) {
    std::string_view name(*variable, std::strcspn(*variable, "="));
    if (std::none_of(own.begin(), own.end(), [&](const auto& o) { return name == o.first; })) list.emplace_back(*variable);
  }
  for (const auto& [name, value] : own) {
    const bool optional = std::string_view(name) == "GW_CONFIG" || std::string_view(name) == "GW_OUTBOX" || std::string_view(name) == "GW_ATTACHMENTS" ||
                          std::string_view(name).starts_with("TRACE");
    if (value.empty() && optional) continue;
    if (value.find('\0') != std::string::npos || value.size() > environment_value_bytes_max) continue;
    list.push_back(std::string(name) + "=" + value);
  }
  for (const std::string& more : settings.more_environment) {
    const std::string_view name(more.data(), more.find('=') + 1);
    std::erase_if(list, [&](const std::string& one) { return one.starts_with(name); });
    list.push_back(more);
  }
  return list;
}

}  // namespace

std::vector<std::string> stream_environment(const HandlerSettings& settings) {
  // The message's variables of an outer handler must not be taken for this one's.
  static const char* const of_messages[] = {"GW_MESSAGE_ID", "GW_MESSAGE_KEY", "GW_MESSAGE_TYPE", "GW_MESSAGE_TYPES", "GW_CONTENT_TYPE", "GW_ATTEMPT",
                                            "GW_FILE_NAME", "GW_HEADERS_FILE", "GW_BODY_FILE", "GW_ATTACHMENTS", "TRACEPARENT", "TRACESTATE"};
  std::vector<std::string> list = environment_with(
      settings, {{"GW_QUEUE", settings.queue}, {"GW_ENDPOINT", settings.endpoint}, {"GW_OUTBOX", ""}, {"GW_ROOT", settings.root}, {"GW_CONFIG", settings.config}});
  for (const char* name : of_messages) std::erase_if(list, [&](const std::string& one) { return one.starts_with(std::string(name) + "="); });
  return list;
}

std::vector<std::string> handler_environment(const HandlerSettings& settings, const MessageInfo& info, const Message& message,
                                             const std::string& headers_file, const std::string& body_file, const std::string& outbox,
                                             const std::string& attachments) {
  const std::string id = message.id();
  return environment_with(settings, {
      {"GW_MESSAGE_ID", id},
      {"GW_MESSAGE_KEY", message_key(settings.endpoint, id, info.seq)},
      {"GW_MESSAGE_TYPE", message_type(message.headers)},
      {"GW_MESSAGE_TYPES", std::string(message.headers.get(header::enclosed_message_types))},
      {"GW_CONTENT_TYPE", std::string(message.headers.get(header::content_type))},
      {"GW_ATTEMPT", std::to_string(info.failures + 1)},
      {"GW_QUEUE", settings.queue},
      {"GW_ENDPOINT", settings.endpoint},
      {"GW_FILE_NAME", std::string(message.headers.get(header::file_name))},
      {"GW_HEADERS_FILE", headers_file},
      {"GW_BODY_FILE", body_file},
      {"GW_OUTBOX", outbox},
      {"GW_ATTACHMENTS", attachments},
      {"GW_ROOT", settings.root},
      {"GW_CONFIG", settings.config},
      {"TRACEPARENT", child_traceparent(message.headers.get(header::traceparent))},
      {"TRACESTATE", std::string(message.headers.get(header::tracestate))},
  });
}

// --- HandlerRun -----------------------------------------------------------------------------------------------------------

namespace {

struct Pipe {
  UniqueFd in, out;
};

Result<Pipe> open_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return Error{ExitCode::not_now, errno, "create a pipe: " + std::string(strerrordesc_np(errno))};
  // Only our end: the handler's must block.
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// What execve() takes as one argument, its NUL included.
constexpr size_t argument_bytes_max = 128 * 1024;

Result<std::vector<std::string>> arguments_for(const HandlerSettings& settings, const Message& message) {
  std::vector<std::string> arguments = settings.arguments;
  if (!settings.body_as_argument) return arguments;
  auto unfit = [](const std::string& why) { return Error{ExitCode::bad_data, 0, "the body cannot be an argument (--arg): " + why}; };
  if (message.body.size() >= argument_bytes_max)
    return unfit("it has " + std::to_string(message.body.size()) + " bytes, at most " + std::to_string(argument_bytes_max) + " with the NUL at its end");
  GW_TRY_ASSIGN(std::string body, message.body.read_all());
  if (body.find('\0') != std::string::npos) return unfit("it has a NUL byte");
  for (size_t i = 1; i < arguments.size(); ++i) {
    std::string& argument = arguments[i];
    for (size_t at = argument.find("{}"); at != std::string::npos; at = argument.find("{}", at + body.size())) argument.replace(at, 2, body);
    if (argument.size() >= argument_bytes_max) return unfit("the argument has " + std::to_string(argument.size()) + " bytes");
  }
  return arguments;
}

}  // namespace

Result<std::unique_ptr<HandlerRun>> HandlerRun::start(const HandlerSettings& settings, ScratchDir& scratch, const MessageInfo& info,
                                                      const Message& message) {
  const std::string stem = std::to_string(info.seq) + "-" + std::to_string(info.failures + 1);
  GW_TRY_ASSIGN(std::vector<std::string> arguments, arguments_for(settings, message));
  const std::string headers_name = stem + ".headers", body_name = stem + ".body";
  Headers room;
  GW_TRY(scratch.write(headers_name, headers_to_text(without_mark(message.headers, room))));
  std::vector<std::string> files{headers_name};
  UniqueFd in;
  std::string body_path;
  if (message.body.is_file()) {
    body_path = message.body.file()->path;
    auto body = message.body.open();
    if (!body)
      return Error{body.error().code == ExitCode::not_now ? ExitCode::not_now : ExitCode::bad_data, body.error().sys_errno,
                   body.error().text};
    in = *std::move(body);
  } else {
    body_path = scratch.path() + "/" + body_name;
    files.push_back(body_name);
    GW_TRY(scratch.write(body_name, message.body.bytes()));
    in = UniqueFd(::open(body_path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!in) return errno_error("open", body_path, errno);
  }
  std::optional<OpenAttachments> attachments;
  if (auto of_message = attachments_of(message.headers, settings.root); !of_message.empty()) {
    GW_TRY_ASSIGN(auto opened, OpenAttachments::create(settings.root, of_message));
    attachments.emplace(std::move(opened));
  }
  GW_TRY_ASSIGN(Pipe out, open_pipe());
  GW_TRY_ASSIGN(Pipe err, open_pipe());
  std::string outbox;
  if (settings.outboxes) {
    GW_TRY_ASSIGN(outbox, settings.outboxes->make_directory(stem));
  }
  ChildSpec spec{
      settings.program, std::move(arguments),
      handler_environment(settings, info, message, scratch.path() + "/" + headers_name, body_path, outbox, attachments ? attachments->path() : ""),
      in.get(),         out.out.get(),      err.out.get()};
  auto child = Child::start(spec);
  if (!child) {
    for (const std::string& name : files) scratch.remove(name);
    if (settings.outboxes) settings.outboxes->remove(stem);
    // All arguments and the environment together are limited, too.
    if (settings.body_as_argument && child.error().sys_errno == E2BIG) child.error().code = ExitCode::bad_data;
    return std::move(child).error();
  }
  std::unique_ptr<HandlerRun> run(new HandlerRun(*std::move(child), scratch));
  run->files_ = std::move(files);
  run->outbox_ = std::move(outbox);
  run->outbox_name_ = stem;
  run->outboxes_ = settings.outboxes;
  if (attachments) run->attachments_.emplace(*std::move(attachments));
  run->out_pipe_ = std::move(out.in);
  run->err_pipe_ = std::move(err.in);
  run->started_at_ms_ = now_ms();
  run->outcome_.timeout_ms = settings.timeout_ms;
  if (settings.timeout_ms > 0) run->term_at_ms_ = monotonic_ms() + settings.timeout_ms;
  return run;
}

HandlerRun::~HandlerRun() {
  for (const std::string& name : files_) scratch_.remove(name);
  if (!outboxes_) return;
  release_held_blobs(outboxes_->path() + "/" + outbox_name_);
  release_held_blobs(outboxes_->path() + "/" + outbox_name_ + std::string(outbox_sealed_suffix));
  outboxes_->remove(outbox_name_);
  outboxes_->remove(outbox_name_ + std::string(outbox_sealed_suffix));
}

void HandlerRun::add_poll(std::vector<pollfd>& items) const {
  items.push_back({child_.exit_fd(), POLLIN, 0});
  if (out_pipe_) items.push_back({out_pipe_.get(), POLLIN, 0});
  if (err_pipe_) items.push_back({err_pipe_.get(), POLLIN, 0});
}

int64_t HandlerRun::next_deadline_ms() const {
  return std::min(term_at_ms_, kill_at_ms_);
}

namespace {

// Up to a pipe's worth, so that a process that was left behind and writes for ever cannot keep us.
void read_pipe(UniqueFd& pipe, Output& into) {
  constexpr size_t at_once = 1 << 20;
  char block[65536];
  for (size_t got = 0; pipe && got < at_once;) {
    ssize_t n = ::read(pipe.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return pipe.reset();
    into.append(std::string_view(block, static_cast<size_t>(n)));
    got += static_cast<size_t>(n);
  }
}

}  // namespace

void HandlerRun::read_output() {
  read_pipe(out_pipe_, out_);
  read_pipe(err_pipe_, err_);
}

void HandlerRun::keep_time(int64_t now) {
  if (now >= kill_at_ms_) {
    child_.kill_group(SIGKILL);
    kill_at_ms_ = INT64_MAX;
  } else if (now >= term_at_ms_) {
    outcome_.timed_out = true;
    child_.kill_group(SIGTERM);
    term_at_ms_ = INT64_MAX;
    kill_at_ms_ = now + kill_after_term_ms;
  }
}

bool HandlerRun::step() {
  bool ended = child_.ended();  // first, so that what it wrote before its end is read below
  read_output();
  if (!ended) {
    keep_time(monotonic_ms());
    return false;
  }
  // The rest of a group that we ended must not go on. Its number is ours until the leader is reaped.
  if (outcome_.timed_out || outcome_.stopped) child_.kill_group(SIGKILL);
  if (auto end = child_.reap()) outcome_.end = *end;
  outcome_.tail = err_.tail();
  return true;
}

void HandlerRun::stop() {
  outcome_.stopped = true;
  child_.kill_group(SIGKILL);
}

}  // namespace gw
