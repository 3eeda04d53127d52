// export and import: messages as a tar archive.
//
//   QUEUE/              directory, one for each queue; records GATEPOST.format, GATEPOST.max_bytes, GATEPOST.journal
//   QUEUE/SEQ.blob.N    a blob of the data bus; record GATEPOST.property: what stands behind NServiceBus.DataBus. in the header's name
//   QUEUE/SEQ.body      the body
//   QUEUE/SEQ.headers   the headers as text; records GATEPOST.queue, .seq, .state, .put_at, .due_at, .expires_at, .failures, .body_sha256,
//                       .blob_sha256.N
//
// The headers come second, so that their records can vouch for a body that was streamed.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <map>
#include <unordered_map>
#include <unordered_set>

#include "archive_blobs.hpp"
#include "commands.hpp"
#include "diag.hpp"
#include "hash.hpp"
#include "support.hpp"
#include "tar.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr const char* archive_format = "1";
constexpr size_t chunk_bytes = 256 * 1024;
constexpr size_t batch_messages = 64, held_blobs_max = 256;  // each held blob is an open file
constexpr uint64_t headers_text_bytes_max = 4 * headers_bytes_max;  // every byte may be percent-encoded

std::string_view bytes_of(const Sha256& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

// --- export ---------------------------------------------------------------------------------------------------------------

Result<void> write_stdout(std::string_view bytes) {
  out(bytes);
  return {};
}

Result<void> export_message(TarWriter& tar, const Root& root, const std::string& queue, const Selected& one) {
  const Message& message = *one.message;
  const std::string base = queue + "/" + std::to_string(one.info.seq);
  GW_TRY_ASSIGN(auto blob_records, export_blobs(tar, root.path(), message.headers, base, one.info.put_at_ms, flush_stdout));
  TarMember body{base + ".body", message.body.size(), one.info.put_at_ms, '0', {}};
  Digest digest(Digest::Kind::sha256);
  GW_TRY(tar.begin(body));
  for (uint64_t at = 0; at < body.bytes; at += chunk_bytes) {
    GW_TRY_ASSIGN(std::string chunk, message.body.read_at(at, chunk_bytes));
    digest.update(chunk);
    GW_TRY(tar.data(chunk));
    if (message.body.is_file()) GW_TRY(flush_stdout());
  }
  GW_TRY(tar.end());
  const std::string text = headers_to_text(message.headers);
  TarMember headers{base + ".headers", text.size(), one.info.put_at_ms, '0', {}};
  headers.records = std::move(blob_records);
  headers.records["GATEPOST.queue"] = queue;
  headers.records["GATEPOST.seq"] = std::to_string(one.info.seq);
  headers.records["GATEPOST.state"] = to_string(one.info.state);
  headers.records["GATEPOST.put_at"] = format_rfc3339(one.info.put_at_ms);
  if (one.info.due_at_ms != 0) headers.records["GATEPOST.due_at"] = format_rfc3339(one.info.due_at_ms);
  if (one.info.expires_at_ms != 0) headers.records["GATEPOST.expires_at"] = format_rfc3339(one.info.expires_at_ms);
  headers.records["GATEPOST.failures"] = std::to_string(one.info.failures);
  headers.records["GATEPOST.body_sha256"] = hex(digest.finish());
  GW_TRY(tar.begin(headers));
  GW_TRY(tar.data(text));
  return tar.end();
}

Result<uint64_t> export_queue(TarWriter& tar, const Root& root, Queue& queue, Selection& selection, Progress& progress) {
  GW_TRY_ASSIGN(QueueStatus status, queue.status());
  TarMember directory{queue.name() + "/", 0, now_ms(), '5', {{"GATEPOST.format", archive_format}}};
  if (status.config.max_bytes > 0) directory.records["GATEPOST.max_bytes"] = std::to_string(status.config.max_bytes);
  if (status.config.journal) directory.records["GATEPOST.journal"] = "1";
  GW_TRY(tar.begin(directory));
  GW_TRY(tar.end());
  uint64_t count = 0;
  auto export_each = [&](Selected& one) -> Result<bool> {
    GW_TRY(export_message(tar, root, queue.name(), one));
    ++count;
    progress.add(1);
    return true;
  };
  GW_TRY(selection.visit(queue, Selection::Read::always, export_each));
  return count;
}

}  // namespace

Result<ExitCode> export_queues(const Options& options, const CommonOptions& common) {
  if (options.queue.empty() && (!options.selection.words.empty() || !options.selection.where.empty() || !options.selection.group.empty() || options.selection.max))
    return Error{ExitCode::usage, 0, "QUEUE is missing: a selection is for the messages of one queue"};
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  if (is_terminal(1)) return Error{ExitCode::usage, 0, "stdout is a terminal: send the archive to a file or a pipe"};
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  std::vector<std::string> names = {options.queue};
  if (options.queue.empty()) {
    GW_TRY_ASSIGN(names, root->list_queues());
  }
  TarWriter tar(write_stdout);
  uint64_t count = 0;
  ExitCode code = ExitCode::ok;
  {
    Progress progress("exported", 0, common.quiet ? Progress::Show::never : Progress::Show::if_terminal);
    for (const std::string& name : names) {
      GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, name));
      GW_TRY_ASSIGN(uint64_t exported, export_queue(tar, *root, queue, selection, progress));
      count += exported;
      if (ExitCode one = report_missing(selection, name, exported > 0); one != ExitCode::ok) code = one;
    }
  }
  GW_TRY(tar.finish());
  GW_TRY(flush_stdout());
  event(Level::info, "exported", {{"queues", names.size()}, {"messages", count}});
  return code;
}

// --- import ---------------------------------------------------------------------------------------------------------------

namespace {

// The archive twice: once to see that all of it is good, once to store it. A pipe goes into an unnamed file first.
Result<UniqueFd> seekable_stdin() {
  struct stat status{};
  if (::fstat(0, &status) != 0) return errno_error("read", "stdin", errno);
  UniqueFd copy(::fcntl(0, F_DUPFD_CLOEXEC, 3));
  if (!copy) return errno_error("read", "stdin", errno);
  if (S_ISREG(status.st_mode)) return copy;
  const char* wanted = ::getenv("TMPDIR");
  const std::string directory = wanted && *wanted ? wanted : "/var/tmp";
  UniqueFd spool(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!spool) return errno_error("create a file in", directory, errno);
  std::string buffer(chunk_bytes, '\0');
  for (;;) {
    ssize_t n = ::read(copy.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", "stdin", errno);
    if (n == 0) break;
    for (ssize_t done = 0; done < n;) {
      ssize_t put = ::write(spool.get(), buffer.data() + done, static_cast<size_t>(n - done));
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return errno_error("write a file in", directory, errno);
      done += put;
    }
  }
  return spool;
}

struct Entry {
  std::string queue;  ///< as the archive has it
  uint64_t seq = 0;
  std::string put_at;
  int64_t due_at_ms = 0, expires_at_ms = 0;
  Headers headers;
  Sha256 body_sha256{};
  uint64_t body_bytes = 0;
  std::string member;
};

Error bad_member(const std::string& member, const std::string& what) { return Error{ExitCode::bad_data, 0, "member '" + member + "': " + what}; }

// Reads archives of export_queues; what to do with bodies and messages is up to the caller.
class ArchiveReader {
 public:
  struct Visitor {
    std::function<Result<void>(const std::string& queue, const QueueConfig&)> on_queue;
    std::function<Result<void>(const std::string& header)> on_blob;
    std::function<Result<void>(std::string_view)> on_blob_bytes;
    std::function<Result<void>()> on_blob_end;
    std::function<void()> on_body;
    std::function<Result<void>(std::string_view)> on_body_bytes;
    std::function<Result<void>(Entry&&)> on_message;
  };

  static Result<void> read(int fd, const Visitor& visitor) {
    if (::lseek(fd, 0, SEEK_SET) != 0) return errno_error("seek", "stdin", errno);
    ArchiveReader reader(fd, visitor);
    return reader.run();
  }

 private:
  ArchiveReader(int fd, const Visitor& visitor)
      : visitor_(visitor), buffer_(chunk_bytes, '\0'), tar_([this, fd](char* into, size_t size) { return fill(fd, into, size); }) {}

  // The headers of members are small: they are read ahead together.
  Result<size_t> fill(int fd, char* into, size_t size) {
    if (at_ == end_) {
      ssize_t n;
      do n = ::read(fd, buffer_.data(), buffer_.size());
      while (n < 0 && errno == EINTR);
      if (n < 0) return errno_error("read", "stdin", errno);
      at_ = 0;
      end_ = static_cast<size_t>(n);
    }
    size_t n = std::min(size, end_ - at_);
    std::copy_n(buffer_.data() + at_, n, into);
    at_ += n;
    return n;
  }

  Result<void> run() {
    for (;;) {
      GW_TRY_ASSIGN(auto member, tar_.next());
      if (!member) break;
      GW_TRY(one_member(*member));
    }
    if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
    if (!blobs_of_.empty()) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
    return {};
  }

  Result<void> one_member(const TarMember& member) {
    size_t slash = member.name.find('/');
    std::string queue = member.name.substr(0, slash);
    if (slash == std::string::npos || !queue_name_ok(queue)) return bad_member(member.name, "not part of an export of queues");
    std::string_view rest = std::string_view(member.name).substr(slash + 1);
    if (rest.empty() && member.type == '5') return queue_member(member, queue);
    size_t dot = rest.find('.');
    std::string base = member.name.substr(0, slash + 1 + std::min(dot, rest.size()));
    std::string_view kind = dot == std::string_view::npos ? "" : rest.substr(dot);
    if (member.type == '0' && kind == ".blob." + std::to_string(blob_sums_.size() + 1)) return blob_member(member, base);
    if (member.type != '0' || (kind != ".body" && kind != ".headers")) return bad_member(member.name, "not part of an export of queues");
    if (kind == ".body") return body_member(member, base);
    return headers_member(member, base, queue);
  }

  Result<void> queue_member(const TarMember& member, const std::string& queue) {
    auto record = [&](const char* key) { return find(member, key); };
    if (auto format = record("GATEPOST.format"); format && *format != archive_format)
      return Error{ExitCode::system, 0, "member '" + member.name + "': archive format " + *format + ", this version reads " + archive_format};
    QueueConfig config;
    if (auto limit = record("GATEPOST.max_bytes")) config.max_bytes = parse_size(*limit).value_or(0);
    config.journal = record("GATEPOST.journal").has_value();
    return visitor_.on_queue(queue, config);
  }

  /// Hands on what is in the member; returns its SHA-256.
  Result<std::string> contents(const TarMember& member, const std::function<Result<void>(std::string_view)>& on_bytes) {
    Digest digest(Digest::Kind::sha256);
    std::string chunk(chunk_bytes, '\0');
    for (;;) {
      GW_TRY_ASSIGN(size_t n, tar_.read(chunk.data(), chunk.size()));
      if (n == 0) break;
      digest.update(std::string_view(chunk.data(), n));
      auto taken = on_bytes(std::string_view(chunk.data(), n));
      if (!taken) return Error{taken.error().code, taken.error().sys_errno, "member '" + member.name + "': " + taken.error().text};
    }
    return digest.finish();
  }

  Result<void> blob_member(const TarMember& member, const std::string& base) {
    if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
    if (!blobs_of_.empty() && blobs_of_ != base) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
    auto property = find(member, "GATEPOST.property");
    if (!property || property->empty()) return bad_member(member.name, "no name of a property");
    blobs_of_ = base;
    GW_TRY(visitor_.on_blob(std::string(header::data_bus_prefix) + *property));
    GW_TRY_ASSIGN(std::string sum, contents(member, visitor_.on_blob_bytes));
    blob_sums_.push_back(hex(sum));
    return visitor_.on_blob_end();
  }

  Result<void> body_member(const TarMember& member, const std::string& base) {
    if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
    if (!blobs_of_.empty() && blobs_of_ != base) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
    body_of_ = base;
    body_bytes_ = member.bytes;
    visitor_.on_body();
    GW_TRY_ASSIGN(std::string sum, contents(member, visitor_.on_body_bytes));
    std::copy_n(sum.begin(), sum.size(), reinterpret_cast<char*>(digest_.data()));
    return {};
  }

  Result<void> headers_member(const TarMember& member, const std::string& base, const std::string& queue) {
    if (body_of_ != base) return bad_member(member.name, "its body is missing");
    body_of_.clear();
    if (member.bytes > headers_text_bytes_max) return bad_member(member.name, "more than 4 MiB of headers");
    std::string text(static_cast<size_t>(member.bytes), '\0');
    for (size_t have = 0; have < text.size();) {
      GW_TRY_ASSIGN(size_t n, tar_.read(text.data() + have, text.size() - have));
      have += n;
    }
    auto headers = headers_from_text(text);
    if (!headers) return bad_member(member.name, headers.error().text);
    Entry entry;
    entry.queue = queue;
    entry.member = member.name;
    entry.headers = std::move(*headers);
    entry.body_sha256 = digest_;
    entry.body_bytes = body_bytes_;
    if (!message_id_ok(entry.headers.get(header::message_id))) return bad_member(member.name, "no message id");
    auto sum = find(member, "GATEPOST.body_sha256");
    if (!sum || *sum != hex(bytes_of(digest_))) return bad_member(base + ".body", "the body is damaged: its SHA-256 is not the one that was stored");
    for (size_t i = 0; i < blob_sums_.size(); ++i) {
      const std::string number = std::to_string(i + 1);
      auto blob_sum = find(member, ("GATEPOST.blob_sha256." + number).c_str());
      if (!blob_sum || *blob_sum != blob_sums_[i]) return bad_member(base + ".blob." + number, "the blob is damaged: its SHA-256 is not the one that was stored");
    }
    if (find(member, ("GATEPOST.blob_sha256." + std::to_string(blob_sums_.size() + 1)).c_str()))
      return bad_member(member.name, "a blob of this message is missing");
    blobs_of_.clear();
    blob_sums_.clear();
    auto seq = find(member, "GATEPOST.seq").value_or("");
    auto [end, error] = std::from_chars(seq.data(), seq.data() + seq.size(), entry.seq);
    if (error != std::errc() || *end != '\0') return bad_member(member.name, "no message number");
    entry.put_at = find(member, "GATEPOST.put_at").value_or("");
    GW_TRY_ASSIGN(entry.due_at_ms, time_record(member, "GATEPOST.due_at"));
    GW_TRY_ASSIGN(entry.expires_at_ms, time_record(member, "GATEPOST.expires_at"));
    return visitor_.on_message(std::move(entry));
  }

  static Result<int64_t> time_record(const TarMember& member, const char* key) {
    auto text = find(member, key);
    if (!text) return int64_t{0};
    auto ms = parse_time_ms(*text, 0);
    if (!ms) return bad_member(member.name, "'" + *text + "' is not a time");
    return *ms;
  }

  static std::optional<std::string> find(const TarMember& member, const char* key) {
    auto at = member.records.find(key);
    return at == member.records.end() ? std::nullopt : std::optional(at->second);
  }

  const Visitor& visitor_;
  std::string buffer_;
  size_t at_ = 0, end_ = 0;
  TarReader tar_;
  std::string body_of_, blobs_of_;
  std::vector<std::string> blob_sums_;
  uint64_t body_bytes_ = 0;
  Sha256 digest_{};
};

class Importer {
 public:
  Importer(Root& root, const Options& options, const CommonOptions& common) : root_(root), options_(options), common_(common), blobs_(root.path()) {}

  Result<void> run(int fd) {
    GW_TRY(look_through(fd));
    GW_TRY(open_queues());
    GW_TRY(note_present());
    return store_all(fd);
  }

  uint64_t stored = 0, existed = 0;

 private:
  const std::string& target_name(const std::string& queue) const { return options_.queue.empty() ? queue : options_.queue; }

  Result<void> look_through(int fd) {
    ArchiveReader::Visitor visitor;
    visitor.on_queue = [this](const std::string& queue, const QueueConfig& config) -> Result<void> {
      configs_[target_name(queue)] = options_.queue.empty() ? config : QueueConfig{};
      return {};
    };
    visitor.on_blob = [](const std::string&) -> Result<void> { return {}; };
    visitor.on_blob_bytes = [](std::string_view) -> Result<void> { return {}; };
    visitor.on_blob_end = []() -> Result<void> { return {}; };
    visitor.on_body = [] {};
    visitor.on_body_bytes = [](std::string_view) -> Result<void> { return {}; };
    visitor.on_message = [this](Entry&& entry) -> Result<void> {
      const std::string& name = target_name(entry.queue);
      configs_.try_emplace(name);
      ids_[name].emplace(entry.headers.get(header::message_id));
      ++total_;
      return {};
    };
    return ArchiveReader::read(fd, visitor);
  }

  Result<void> open_queues() {
    // All of them are there or can be made before the first is made.
    for (const auto& [name, config] : configs_)
      if (!options_.create)
        if (auto queue = open_queue(root_, name); !queue) {
          Error error = std::move(queue).error();
          if (error.code == ExitCode::no_input) error.text += "; --create makes the queues of an archive";
          return error;
        }
    for (const auto& [name, config] : configs_) {
      auto queue = options_.create ? root_.create_queue(name, config) : root_.queue(name);
      if (!queue) return std::move(queue).error();
      queues_[name] = std::move(*queue);
    }
    return {};
  }

  // Messages that are in the queue still must not come to be there twice.
  Result<void> note_present() {
    for (auto& [name, wanted] : ids_) {
      const Queue& queue = queues_[name];
      auto& present = present_[name];
      GW_TRY(queue.scan([&](const MessageInfo& info) {
        auto message = queue.read(info.seq);
        if (message && *message && wanted.count((*message)->second.id())) present.insert((*message)->second.id());
        return true;
      }));
    }
    ids_.clear();
    return {};
  }

  Result<void> store_all(int fd) {
    Progress progress("imported", total_, common_.quiet ? Progress::Show::never : Progress::Show::if_terminal);
    std::optional<BodyWriter> body;
    ArchiveReader::Visitor visitor;
    visitor.on_queue = [](const std::string&, const QueueConfig&) -> Result<void> { return {}; };
    visitor.on_blob = [&](const std::string& header) { return blobs_.begin(header); };
    visitor.on_blob_bytes = [&](std::string_view bytes) { return blobs_.write(bytes); };
    visitor.on_blob_end = [&] { return blobs_.end(); };
    visitor.on_body = [&] { body.emplace(root_.body_writer()); };
    visitor.on_body_bytes = [&](std::string_view bytes) { return body->write(bytes); };
    visitor.on_message = [&](Entry&& entry) -> Result<void> {
      progress.add(1);
      GW_TRY_ASSIGN(Body finished, std::move(*std::exchange(body, std::nullopt)).finish());
      return add(std::move(entry), std::move(finished));
    };
    auto read = ArchiveReader::read(fd, visitor);
    if (!read) return read;
    return flush();
  }

  Result<void> add(Entry&& entry, Body&& body) {
    const std::string& name = target_name(entry.queue);
    std::string id(entry.headers.get(header::message_id));
    blobs_.rename(entry.headers);
    if (present_[name].count(id)) {
      ++existed;
      if (transactions_.empty()) blobs_.release();
      return {};
    }
    PutOptions how;
    how.due_at_ms = entry.due_at_ms;
    how.expires_at_ms = entry.expires_at_ms;
    // The message's place in its first queue is part of the key: an archive can hold an id twice, and a message that came from
    // there before, and was handled, does not come again.
    std::string key = id + " " + entry.queue + ":" + std::to_string(entry.seq) + " " + entry.put_at;
    how.dedup = DedupKey{std::string(local_dedup_store), "import " + name, hex(bytes_of(sha256(key))), entry.body_sha256, 0};
    transactions_.emplace_back();
    transactions_.back().put(queues_[name], Message{std::move(entry.headers), std::move(body)}, std::move(how));
    members_.push_back(std::move(entry.member));
    if (transactions_.size() >= batch_messages || blobs_.held() >= held_blobs_max) return flush();
    return {};
  }

  Result<void> flush() {
    auto results = root_.commit_all(std::exchange(transactions_, {}));
    auto members = std::exchange(members_, {});
    blobs_.release();
    for (size_t i = 0; i < results.size(); ++i) {
      if (!results[i]) {
        Error error = std::move(results[i]).error();
        error.text = "member '" + members[i] + "': " + error.text + "; " + std::to_string(stored) + " messages were imported, a second import goes on";
        return error;
      }
      PutOutcome outcome = results[i]->puts.at(0).outcome;
      if (outcome == PutOutcome::conflict) return bad_member(members[i], "a message with this id and another body was imported before");
      ++(outcome == PutOutcome::stored ? stored : existed);
    }
    return {};
  }

  Root& root_;
  const Options& options_;
  const CommonOptions& common_;
  uint64_t total_ = 0;
  std::map<std::string, QueueConfig> configs_;
  std::map<std::string, Queue> queues_;
  std::map<std::string, std::unordered_set<std::string>> ids_, present_;
  ImportedBlobs blobs_;  // of what is in transactions_
  std::vector<Transaction> transactions_;
  std::vector<std::string> members_;
};

}  // namespace

Result<ExitCode> import_queues(const Options& options, const CommonOptions& common) {
  if (!options.queue.empty()) GW_TRY(check_queue_name(options.queue));
  if (is_terminal(0)) return Error{ExitCode::usage, 0, "stdin is a terminal: pipe an archive of 'queue-inspect export' in"};
  GW_TRY_ASSIGN(UniqueFd input, seekable_stdin());
  GW_TRY_ASSIGN(auto root, open_root(common, options.create));
  Importer importer(*root, options, common);
  auto done = importer.run(input.get());
  if (!done) return std::move(done).error();
  event(Level::info, "imported", {{"stored", importer.stored}, {"already_there", importer.existed}});
  return ExitCode::ok;
}

}  // namespace gw::inspect
