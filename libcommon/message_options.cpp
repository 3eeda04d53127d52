#include "message_options.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <set>
#include <span>

#include "attached_files.hpp"
#include "diag.hpp"
#include "directory_files.hpp"
#include "hash.hpp"
#include "held_sends.hpp"
#include "json.hpp"
#include "terminal.hpp"
#include "trace_context.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr size_t read_bytes = 64 * 1024;
constexpr uint64_t batch_max = 4096;                ///< messages of one batch
constexpr uint64_t batch_bytes_max = 16ull << 20;   ///< bodies in memory before a batch is stored early
constexpr int64_t batch_wait_ms = 10;
constexpr int idle_ms = 1000;
constexpr int refused_ms = 1000;  ///< --follow: between two tries to store what was refused for now
constexpr std::string_view sent_directory = ".sent";

Error usage_error(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What the options say about every message of a source.
struct Plan {
  Headers headers;                       ///< of --header, in that order
  std::optional<int64_t> ttl_ms, delay_ms, at_ms;
  int64_t unique_for_ms = unique_for_ms_default;
};

Result<int64_t> duration_option(const char* name, const std::string& text) {
  auto ms = parse_duration_ms(text);
  if (!ms) return usage_error(std::string(name) + ": '" + text + "' is not a duration, as in 30s or 1h30m");
  return *ms;
}

Result<void> plan_headers(const MessageOptions& options, Plan& plan) {
  for (const std::string& text : options.headers) {
    size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) return usage_error("--header: '" + text + "' is not NAME=VALUE");
    std::string_view name = std::string_view(text).substr(0, equals), value = std::string_view(text).substr(equals + 1);
    if (name.size() > UINT16_MAX || !utf8_ok(text)) return usage_error("--header: the name is too long, or it is not UTF-8");
    if (name == header::message_id && !message_id_ok(value)) return usage_error("--header: '" + std::string(value) + "' is not a message id");
    plan.headers.set(name, value);
  }
  return {};
}

Result<Plan> make_plan(const MessageOptions& options) {
  Plan plan;
  GW_TRY(plan_headers(options, plan));
  if (!options.ttl.empty()) {
    GW_TRY_ASSIGN(plan.ttl_ms, duration_option("--ttl", options.ttl));
  }
  if (!options.delay.empty()) {
    GW_TRY_ASSIGN(plan.delay_ms, duration_option("--delay", options.delay));
  }
  if (!options.unique_for.empty()) {
    GW_TRY_ASSIGN(plan.unique_for_ms, duration_option("--unique-for", options.unique_for));
  }
  if (!options.at.empty()) {
    plan.at_ms = parse_time_ms(options.at, now_ms());
    if (!plan.at_ms) return usage_error("--at: '" + options.at + "' is not a time, as in 2026-11-21T22:00:00Z or 22:00");
  }
  return plan;
}

Result<void> check_options(const MessageOptions& o) {
  if (o.lines && o.nul) return usage_error("--lines and -0 exclude each other");
  if (!o.id.empty() && o.unique) return usage_error("--id and --unique exclude each other");
  if (!o.delay.empty() && !o.at.empty()) return usage_error("--delay and --at exclude each other");
  if (!o.from_dir.empty() && (o.lines || o.nul || !o.file.empty())) return usage_error("--from-dir excludes FILE, --lines and -0");
  if (!o.from_dir.empty() && !o.id.empty()) return usage_error("--from-dir excludes --id: the order of files is not their identity");
  if (!o.from_dir.empty() && inside_handler())
    return usage_error("--from-dir inside of a handler: files would be put away as sent before they are (GW_OUTBOX= in front of the command: at once)");
  if (o.follow && o.from_dir.empty()) return usage_error("--follow needs --from-dir");
  if (!o.id.empty() && !message_id_ok(o.id)) return usage_error("--id: '" + o.id + "' is not a message id: expected 1 to 255 bytes of UTF-8 without control bytes");
  if (o.batch < 1 || o.batch > batch_max) return usage_error("--batch: expected 1 to " + std::to_string(batch_max));
  if (!o.unique_for.empty() && o.id.empty() && !o.unique) return usage_error("--unique-for needs --id or --unique");
  return {};
}

Result<UniqueFd> open_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return errno_error("open", path, errno);
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return errno_error("stat", path, errno);
  if (S_ISDIR(status.st_mode)) return Error{ExitCode::no_input, EISDIR, "'" + path + "' is a directory; --from-dir sends the files in one"};
  return fd;
}

Result<size_t> read_some(int fd, char* buffer, size_t size, const std::string& name) {
  for (;;) {
    ssize_t n = ::read(fd, buffer, size);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno != EINTR) return errno_error("read", name, errno);
  }
}

bool readable_within(int fd, int ms) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, ms) != 0;
}

// A body while it is read, with the digests that its message will need.
class Collector {
 public:
  /// Without a root the bytes are counted only.
  Collector(Root* root, const MessageOptions& options, bool digest) {
    if (root) writer_.emplace(root->body_writer());
    if (digest || options.unique) body_digest_.emplace(Digest::Kind::sha256);
    if (options.unique) {
      id_digest_.emplace(Digest::Kind::sha256);
      id_digest_->update(options.type);
      id_digest_->update(std::string_view("\0", 1));
    }
  }
  Result<void> write(std::string_view bytes) {
    if (body_digest_) body_digest_->update(bytes);
    if (id_digest_) id_digest_->update(bytes);
    size_ += bytes.size();
    return writer_ ? writer_->write(bytes) : Result<void>();
  }
  Result<void> finish(Draft& into) {
    if (body_digest_) {
      std::string digest = body_digest_->finish();
      std::memcpy(into.body_sha256.data(), digest.data(), into.body_sha256.size());
      into.key_id = true;
    }
    if (id_digest_) into.message.headers.set(header::message_id, hex(id_digest_->finish()));
    if (!writer_) return {};
    GW_TRY_ASSIGN(into.message.body, std::move(*writer_).finish());
    return {};
  }
  uint64_t size() const { return size_; }

 private:
  std::optional<BodyWriter> writer_;
  uint64_t size_ = 0;
  std::optional<Digest> body_digest_, id_digest_;
};

}  // namespace

struct MessageSource::Impl {
  MessageOptions options;
  CommonOptions common;
  Plan plan;
  Headers preset;
  AttachedFiles attached;
  UniqueFd input, directory, sent;
  std::string input_name;
  std::string endpoint, machine;
  Root* root = nullptr;
  const StoreBatch* store = nullptr;
  std::function<Result<void>()> idle, reload;
  bool print_ids = true, keep = false;
  std::unique_ptr<Progress> progress;  ///< of a stream

  /// What is printed of a draft, kept because the store may move the message away.
  struct Told {
    std::string id;
    uint64_t body_bytes = 0;
    int64_t expires_at_ms = 0;
  };

  std::vector<Draft> pending;
  std::vector<FileIdentity> pending_files;  ///< --from-dir: parallel to pending
  uint64_t pending_bytes = 0;
  int64_t pending_since = 0;
  uint64_t numbered = 0, stored = 0, existed = 0;
  bool some_skipped = false;
  std::set<std::string> told_unreadable;  ///< --follow: names
  std::vector<std::string> kept;

  bool stream() const { return options.lines || options.nul || !options.from_dir.empty(); }

  Draft draft();
  Result<void> add(Draft&& made, Collector&& body);
  Result<void> flush();
  bool tells() const { return keep || (print_ids && (!stream() || options.ids)); }
  std::vector<Told> to_tell(const std::vector<Draft>& batch) const;
  void report(Draft& one, const Told& told, PutOutcome outcome, std::optional<Error>& first_error);
  void print(const Draft& one, const Told& told, bool was_there);
  Result<Draft> read_single(Collector& body);
  Result<void> run_single();
  Result<void> run_stream();
  Result<bool> take_chunk(std::string_view chunk, char end, std::optional<Collector>& current);
  Result<void> run_directory();
  Result<void> follow_directory(int watch);
  Result<void> wait_for_files(int watch, int most_ms);
  Result<void> send_directory();
  Result<void> add_file(const std::string& name);
  Result<void> file_sent(const Draft& one, const FileIdentity& file);
  Collector collector() { return Collector(root, options, !options.id.empty() || !options.from_dir.empty()); }
};

Draft MessageSource::Impl::draft() {
  Draft made;
  Headers& headers = made.message.headers;
  constexpr size_t usual_headers = 14;  // small enough for the quick part of malloc
  headers.entries().reserve(usual_headers);
  int64_t now = now_us();
  headers.set(header::message_id, options.id.empty() ? new_message_id() : stream() ? options.id + "-" + std::to_string(++numbered) : options.id);
  headers.set(header::correlation_id, "");  // its place; the value follows the id
  headers.set(header::conversation_id, new_message_id());
  headers.set(header::message_intent, "Send");
  headers.set(header::time_sent, format_nsb_time(now));
  headers.set(header::originating_machine, machine);
  if (!endpoint.empty()) headers.set(header::originating_endpoint, endpoint);
  if (!options.content_type.empty()) headers.set(header::content_type, options.content_type);
  if (!options.type.empty()) headers.set(header::enclosed_message_types, options.type);
  if (plan.ttl_ms) headers.set(header::time_to_be_received, format_timespan(*plan.ttl_ms));
  continue_trace(headers);
  attached.add_headers(headers);
  if (plan.delay_ms) made.due_at_ms = now / 1000 + *plan.delay_ms;
  if (plan.at_ms) made.due_at_ms = *plan.at_ms;
  made.unique_for_ms = plan.unique_for_ms;
  for (const auto& [name, value] : preset.entries()) headers.set(name, value);
  return made;
}

Result<void> MessageSource::Impl::add(Draft&& made, Collector&& body) {
  GW_TRY(body.finish(made));
  Headers& headers = made.message.headers;
  for (const auto& [name, value] : plan.headers.entries()) headers.set(name, value);
  if (headers.get(header::correlation_id).empty() && !plan.headers.find(header::correlation_id)) headers.set(header::correlation_id, made.message.id());
  if (!message_id_ok(made.message.id())) return Error{ExitCode::usage, 0, "'" + made.message.id() + "' is not a message id"};
  if (pending.empty()) pending_since = monotonic_ms();
  pending_bytes += made.message.body.is_file() ? 0 : made.message.body.size();
  pending.push_back(std::move(made));
  return {};
}

std::vector<MessageSource::Impl::Told> MessageSource::Impl::to_tell(const std::vector<Draft>& batch) const {
  std::vector<Told> told(batch.size());
  for (size_t i = 0; i < batch.size(); ++i) {
    const Message& message = batch[i].message;
    if (tells() || batch[i].key_id) told[i].id = message.id();
    if (common.json && tells()) told[i].expires_at_ms = expires_at_ms(message.headers);
    told[i].body_bytes = message.body.size();
  }
  return told;
}

void MessageSource::Impl::print(const Draft& one, const Told& told, bool was_there) {
  if (keep) kept.push_back(told.id);
  if (!print_ids || !tells()) return;
  if (!common.json) return out(told.id + "\n");
  JsonObject object;
  object.add("id", told.id);
  if (!one.sites.empty()) object.add("sites", one.sites).add("queues", one.queues);
  if (!one.endpoint.empty()) object.add("endpoint", one.endpoint);
  if (!one.address.empty()) object.add("address", one.address);
  if (one.addresses) object.add("addresses", *one.addresses);
  if (one.sites.empty() && one.endpoint.empty() && one.queues.size() == 1) object.add("queue", one.queues[0]);
  if (one.seq != 0) object.add("seq", one.seq);
  object.add("body_bytes", told.body_bytes).add_time("stored_at", now_ms());
  object.add_time("expires_at", told.expires_at_ms).add_time("due_at", one.due_at_ms).add("existed", was_there);
  out(object.str() + "\n");
}

void MessageSource::Impl::report(Draft& one, const Told& told, PutOutcome outcome, std::optional<Error>& first_error) {
  std::optional<Error> error = std::move(one.error);
  if (!error && outcome == PutOutcome::too_old)
    error = Error{ExitCode::bad_data, 0, "the id '" + told.id + "' is too old to be told apart from earlier ones"};
  if (!error && outcome == PutOutcome::conflict)
    error = Error{ExitCode::bad_data, 0, "a message with the id '" + told.id + "' and another body is there already"};
  if (error) {
    if (!first_error) first_error = std::move(error);
    return;
  }
  ++(outcome == PutOutcome::stored ? stored : existed);
  if (progress) progress->add(1);
  print(one, told, outcome == PutOutcome::duplicate);
}

Result<void> MessageSource::Impl::flush() {
  if (pending.empty()) return {};
  std::vector<Draft> batch;
  batch.swap(pending);
  pending_bytes = 0;
  const std::vector<FileIdentity> files = std::exchange(pending_files, {});
  const auto told = to_tell(batch);
  GW_TRY(attached.renew());
  GW_TRY_ASSIGN(auto outcomes, (*store)(batch));
  std::optional<Error> first_error;
  for (size_t i = 0; i < batch.size(); ++i) {
    bool refused = batch[i].error.has_value() || (outcomes[i] != PutOutcome::stored && outcomes[i] != PutOutcome::duplicate);
    report(batch[i], told[i], outcomes[i], first_error);
    if (!refused && !options.from_dir.empty()) GW_TRY(file_sent(batch[i], files[i]));
  }
  if (directory && (::fsync(sent.get()) != 0 || ::fsync(directory.get()) != 0)) return errno_error("fsync", options.from_dir, errno);
  if (stream() && print_ids && options.ids) GW_TRY(flush_stdout());
  if (first_error) return *first_error;
  batch.clear();
  pending.swap(batch);  // keeps the room
  return {};
}

Result<Draft> MessageSource::Impl::read_single(Collector& body) {
  Draft made = draft();
  std::string buffer(read_bytes, '\0');
  for (;;) {
    GW_TRY_ASSIGN(size_t n, read_some(input.get(), buffer.data(), buffer.size(), input_name));
    if (n == 0) break;
    GW_TRY(body.write(std::string_view(buffer.data(), n)));
  }
  if (!options.file.empty() && options.file != "-") made.message.headers.set(header::file_name, base_name(options.file));
  return made;
}

Result<void> MessageSource::Impl::run_single() {
  Collector body = collector();
  GW_TRY_ASSIGN(Draft made, read_single(body));
  GW_TRY(add(std::move(made), std::move(body)));
  return flush();
}

// Splits what was read; true if it ended in the middle of a message, which is in `current` then.
Result<bool> MessageSource::Impl::take_chunk(std::string_view chunk, char end, std::optional<Collector>& current) {
  while (!chunk.empty()) {
    size_t at = chunk.find(end);
    if (!current) current.emplace(collector());
    GW_TRY(current->write(chunk.substr(0, at)));
    if (at == std::string_view::npos) return true;
    chunk.remove_prefix(at + 1);
    Collector whole = *std::exchange(current, std::nullopt);
    GW_TRY(add(draft(), std::move(whole)));
    if (pending.size() >= options.batch || pending_bytes >= batch_bytes_max) GW_TRY(flush());
  }
  return false;
}

Result<void> MessageSource::Impl::run_stream() {
  std::string buffer(read_bytes, '\0');
  std::optional<Collector> current;
  const char end = options.lines ? '\n' : '\0';
  const bool quiet = common.quiet || common.json || (print_ids && options.ids && is_terminal(1));
  progress = std::make_unique<Progress>("stored", 0, quiet ? Progress::Show::never : Progress::Show::if_terminal);
  struct stat info {};
  const double input_bytes = ::fstat(input.get(), &info) == 0 && S_ISREG(info.st_mode) ? static_cast<double>(info.st_size) : 0;
  double read_so_far = 0;
  for (;;) {
    if (!pending.empty() && (!readable_within(input.get(), 0) || monotonic_ms() - pending_since >= batch_wait_ms)) GW_TRY(flush());
    while (idle && !readable_within(input.get(), idle_ms)) GW_TRY(idle());
    GW_TRY_ASSIGN(size_t n, read_some(input.get(), buffer.data(), buffer.size(), input_name));
    if (n == 0) break;
    read_so_far += static_cast<double>(n);
    if (input_bytes > 0) progress->set_part(read_so_far / input_bytes);
    GW_TRY(take_chunk(std::string_view(buffer.data(), n), end, current));
  }
  if (current) GW_TRY(add(draft(), std::move(*current)));
  return flush();
}

Result<void> MessageSource::Impl::add_file(const std::string& name) {
  const std::string path = options.from_dir + "/" + name;
  UniqueFd fd(::openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd && (errno == ENOENT || errno == ELOOP)) return {};  // gone or replaced meanwhile
  if (!fd && options.follow && errno == EACCES) {
    // The others are not to wait for a person.
    if (told_unreadable.insert(name).second) event(Level::warn, "file-skipped", {{"path", path}, {"reason", "permission denied"}});
    return {};
  }
  if (!fd) return errno_error("open", path, errno);
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return errno_error("stat", path, errno);
  if (being_written(fd.get())) {
    some_skipped = some_skipped || !options.follow;
    event(options.follow ? Level::debug : Level::warn, "file-skipped", {{"path", path}, {"reason", "open for writing"}});
    return {};
  }
  Draft made = draft();
  FileIdentity file = identity_of(status);
  made.message.headers.set(header::message_id, file_message_id(name, file));
  made.message.headers.set(header::file_name, name);
  made.from_path = path;
  Collector body = collector();
  std::string buffer(read_bytes, '\0');
  for (;;) {
    GW_TRY_ASSIGN(size_t n, read_some(fd.get(), buffer.data(), buffer.size(), path));
    if (n == 0) break;
    GW_TRY(body.write(std::string_view(buffer.data(), n)));
  }
  GW_TRY(add(std::move(made), std::move(body)));
  pending_files.push_back(file);
  return {};
}

// Moves a stored file out of the way. One that was replaced or written since is a new message and comes back.
Result<void> MessageSource::Impl::file_sent(const Draft& one, const FileIdentity& file) {
  const std::string name = base_name(one.from_path);
  std::string kept_name = name;
  for (int n = 1; ::renameat2(directory.get(), name.c_str(), sent.get(), kept_name.c_str(), RENAME_NOREPLACE) != 0; ++n) {
    if (errno == ENOENT) return {};
    if (errno != EEXIST) return errno_error("rename", one.from_path, errno);
    kept_name = name + "~" + std::to_string(n);
  }
  struct stat status{};
  if (::fstatat(sent.get(), kept_name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && !identity_of(status).same_content_as(file))
    ::renameat2(sent.get(), kept_name.c_str(), directory.get(), name.c_str(), RENAME_NOREPLACE);
  return {};
}

Result<void> MessageSource::Impl::send_directory() {
  pending.clear();  // of a round that failed
  pending_files.clear();
  pending_bytes = 0;
  GW_TRY_ASSIGN(auto names, sendable_files(directory.get(), options.from_dir));
  for (const std::string& name : names) {
    if (options.follow && Signals::stop_requested()) break;
    GW_TRY(add_file(name));
    if (pending.size() >= options.batch || pending_bytes >= batch_bytes_max) GW_TRY(flush());
  }
  return flush();
}

Result<void> MessageSource::Impl::run_directory() {
  if (!options.follow) return send_directory();
  Signals::install();
  UniqueFd watch(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch) return errno_error("watch", options.from_dir, errno);
  const std::string self = "/proc/self/fd/" + std::to_string(directory.get());
  if (::inotify_add_watch(watch.get(), self.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
    return errno_error("watch", options.from_dir, errno);
  GW_TRY(print_ready("ready"));
  return follow_directory(watch.get());
}

// A full disk or a queue on hold ends: the files wait in their directory meanwhile.
Result<void> MessageSource::Impl::follow_directory(int watch) {
  bool refused = false;
  while (!Signals::stop_requested()) {
    auto went = send_directory();
    if (!went && went.error().code != ExitCode::not_now) return went;
    if (!went && !std::exchange(refused, true)) event(Level::warn, "files-wait", {{"path", options.from_dir}, {"reason", went.error().text}});
    if (went && std::exchange(refused, false)) event(Level::info, "files-sent", {{"path", options.from_dir}});
    GW_TRY(wait_for_files(watch, refused ? refused_ms : -1));
  }
  return {};
}

// Returns when files may have come, when told to stop, or after `most_ms` (-1: never).
Result<void> MessageSource::Impl::wait_for_files(int watch, int most_ms) {
  pollfd polls[] = {{watch, POLLIN, 0}, {Signals::wake_fd(), POLLIN, 0}};
  while (::poll(polls, 2, idle ? idle_ms : most_ms) == 0) {
    if (idle) GW_TRY(idle());
    if (most_ms >= 0) break;
  }
  if (Signals::take_reload() && reload) GW_TRY(reload());
  alignas(inotify_event) char events[16384];
  for (ssize_t n; (n = ::read(watch, events, sizeof events)) > 0;)
    for (char* at = events; at < events + n;) {
      auto* one = reinterpret_cast<inotify_event*>(at);
      if (one->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))
        return Error{ExitCode::no_input, 0, "the directory '" + options.from_dir + "' was removed or renamed"};
      at += sizeof(inotify_event) + one->len;
    }
  return {};
}

MessageSource::MessageSource(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MessageSource::MessageSource(MessageSource&&) noexcept = default;
MessageSource::~MessageSource() = default;

Result<MessageSource> MessageSource::open_files(const MessageOptions& options, const CommonOptions& common) {
  GW_TRY(check_options(options));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->common = common;
  GW_TRY_ASSIGN(impl->plan, make_plan(options));
  GW_TRY_ASSIGN(impl->attached, AttachedFiles::open(options.attachments));
  if (!options.from_dir.empty()) {
    impl->directory = UniqueFd(::open(options.from_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!impl->directory && errno == ENOTDIR) return Error{ExitCode::no_input, ENOTDIR, "'" + options.from_dir + "' is no directory"};
    if (!impl->directory) return errno_error("open", options.from_dir, errno);
    if (::mkdirat(impl->directory.get(), sent_directory.data(), 0777) != 0 && errno != EEXIST)
      return errno_error("create", options.from_dir + "/.sent", errno);
    impl->sent = UniqueFd(::openat(impl->directory.get(), sent_directory.data(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!impl->sent) return errno_error("open", options.from_dir + "/.sent", errno);
  } else if (options.file.empty() || options.file == "-") {
    if (options.file.empty() && ::isatty(0)) return usage_error("no body: stdin is a terminal; name a FILE, or pipe the body in");
    impl->input = UniqueFd(::fcntl(0, F_DUPFD_CLOEXEC, 3));
    impl->input_name = "stdin";
    if (!impl->input) return errno_error("read", "stdin", errno);
  } else {
    GW_TRY_ASSIGN(impl->input, open_file(options.file));
    impl->input_name = options.file;
  }
  return MessageSource(std::move(impl));
}

Result<ExitCode> MessageSource::run(Root& root, const std::string& endpoint, const StoreBatch& store, bool print_ids) {
  impl_->root = &root;
  impl_->machine = root.machine();
  impl_->endpoint = endpoint;
  impl_->store = &store;
  impl_->print_ids = print_ids;
  if (const auto incoming = incoming_headers()) {
    const Headers related = related_headers(*incoming);
    for (const auto& [name, value] : related.entries())
      if (!impl_->preset.find(name)) impl_->preset.set(name, value);
  }
  GW_TRY(impl_->attached.store(root, impl_->plan.ttl_ms));
  auto done = !impl_->options.from_dir.empty() ? impl_->run_directory() : impl_->stream() ? impl_->run_stream() : impl_->run_single();
  impl_->attached.release();
  impl_->progress.reset();  // before anything else is written
  if (impl_->stream())
    event(Level::info, "stream-ended", {{"stored", impl_->stored}, {"already_there", impl_->existed}});
  if (!done) return std::move(done).error();
  return impl_->some_skipped ? ExitCode::no : ExitCode::ok;
}

void MessageSource::preset_headers(Headers headers) { impl_->preset = std::move(headers); }
Result<MessageSource::Preview> MessageSource::preview(const std::string& machine, const std::string& endpoint) {
  if (impl_->stream()) return Error{ExitCode::usage, 0, "--dry-run shows one message: no --lines, -0 or --from-dir"};
  impl_->machine = machine;
  impl_->endpoint = endpoint;
  Collector body = impl_->collector();
  GW_TRY_ASSIGN(Draft made, impl_->read_single(body));
  const uint64_t size = body.size();
  GW_TRY(impl_->add(std::move(made), std::move(body)));
  Draft& shown = impl_->pending.back();
  return Preview{std::move(shown.message), size, shown.due_at_ms};
}

void MessageSource::on_idle(std::function<Result<void>()> look) { impl_->idle = std::move(look); }
void MessageSource::on_reload(std::function<Result<void>()> read_again) { impl_->reload = std::move(read_again); }
void MessageSource::keep_ids() { impl_->keep = true; }
const std::vector<std::string>& MessageSource::ids() const { return impl_->kept; }

}  // namespace gw
