// import: messages of an archive (archive_reader.hpp has its form) into queues; with a whole root also its ids, holds and what else it has.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <sstream>

#include "archive_blobs.hpp"
#include "archive_reader.hpp"
#include "archive_state.hpp"
#include "commands.hpp"
#include "diag.hpp"
#include "hash.hpp"
#include "put_notes.hpp"
#include "support.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

std::string_view bytes_of(const Sha256& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

constexpr size_t batch_messages = 64, held_blobs_max = 256;  // each held blob is an open file

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
  std::string buffer(archive_chunk_bytes, '\0');
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

/// An id in 16 bytes: a queue may hold millions of them.
using IdHash = std::array<unsigned char, 16>;

IdHash hash_of(std::string_view id) {
  IdHash hash;
  const Sha256 digest = sha256(id);
  std::copy_n(digest.begin(), hash.size(), hash.begin());
  return hash;
}

/// Messages that were exported twice because they moved to another queue meanwhile: only the last place counts.
class Moved {
 public:
  void root(int64_t exported_at_ms) { exported_at_ms_ = exported_at_ms; }
  /// The text of +root/gone.
  Result<void> gone(const std::string& text) {
    std::istringstream lines(text);
    std::string queue;
    for (uint64_t from = 0, to = 0; lines >> queue >> from >> to;) gone_[queue][from] = to;
    return lines.eof() ? Result<void>() : Result<void>(bad_member("+root/gone", "not lines of a queue and two numbers"));
  }
  /// Can there be any? Then message() wants to see all of the archive.
  bool possible() const { return exported_at_ms_ != 0 && !gone_.empty(); }
  void message(const ArchivedMessage& one) {
    if (one.put_at_ms >= exported_at_ms_) places_[hash_of(one.headers.get(header::message_id))].push_back({one.queue, one.seq, one.put_at_ms});
  }
  /// Was it put into another queue during the export, and had it left this one?
  bool elsewhere(const ArchivedMessage& one) const {
    if (!possible() || !is_gone(one.queue, one.seq)) return false;
    auto places = places_.find(hash_of(one.headers.get(header::message_id)));
    if (places == places_.end()) return false;
    for (const Place& other : places->second) {
      if ((other.queue == one.queue && other.seq == one.seq) || other.put_at_ms < one.put_at_ms) continue;
      if (other.put_at_ms > one.put_at_ms || !is_gone(other.queue, other.seq)) return true;
    }
    return false;
  }

 private:
  struct Place {
    std::string queue;
    uint64_t seq;
    int64_t put_at_ms;
  };
  bool is_gone(const std::string& queue, uint64_t seq) const {
    auto ranges = gone_.find(queue);
    if (ranges == gone_.end()) return false;
    auto after = ranges->second.upper_bound(seq);
    return after != ranges->second.begin() && std::prev(after)->second >= seq;
  }
  int64_t exported_at_ms_ = 0;
  std::map<std::string, std::map<uint64_t, uint64_t>> gone_;
  std::map<IdHash, std::vector<Place>> places_;  // of those that were put after the export began
};

/// The ids that were in a queue before the import.
class PresentIds {
 public:
  Result<void> read(const Queue& queue) {
    GW_TRY(queue.scan([&](const MessageInfo& info) {
      auto message = queue.read(info.seq);
      if (message && *message) ids_.push_back(hash_of((*message)->second.id()));
      return true;
    }));
    std::sort(ids_.begin(), ids_.end());
    return {};
  }
  bool contains(std::string_view id) const { return !ids_.empty() && std::binary_search(ids_.begin(), ids_.end(), hash_of(id)); }

 private:
  std::vector<IdHash> ids_;
};

class Importer {
 public:
  Importer(Root& root, const Options& options, const CommonOptions& common, TemporaryDirectory directory)
      : root_(root), options_(options), common_(common), state_(std::move(directory)), blobs_(root.path()) {}

  Result<void> run(int fd) {
    GW_TRY(look_through(fd));
    GW_TRY(open_queues());
    for (const auto& [name, queue] : queues_) GW_TRY(present_[name].read(queue));
    // Before the messages: from here on a sender that tries again is told that it has been done.
    if (whole_root()) GW_TRY(state_.restore(root_));
    GW_TRY(hold_queues(false));
    GW_TRY(store_all(fd));
    return hold_queues(true);
  }

  uint64_t stored = 0, existed = 0;
  std::string machine;  ///< that the archive was made on; empty: not known

 private:
  const std::string& target_name(const std::string& queue) const { return options_.queue.empty() ? queue : options_.queue; }

  bool whole_root() const { return options_.queue.empty(); }

  /// Looks at all of it; keeps what is no message.
  Result<void> look_through(int fd) {
    ArchiveReader::Visitor visitor;
    std::string gone;
    bool in_gone = false;
    visitor.on_queue = [this](const std::string& queue, const QueueConfig& config, const ArchivedHold& hold) -> Result<void> {
      configs_[target_name(queue)] = whole_root() ? config : QueueConfig{};
      if (!hold.takes_on || !hold.puts_on) holds_[queue] = hold;
      return {};
    };
    visitor.on_root = [this](const std::string& name, int64_t exported_at_ms) -> Result<void> {
      machine = name;
      moved_.root(exported_at_ms);
      return {};
    };
    visitor.on_state = [&](const std::string& path) -> Result<void> {
      in_gone = path == archive_gone_name;
      return in_gone ? Result<void>() : state_.begin(path);
    };
    visitor.on_state_bytes = [&](std::string_view bytes) -> Result<void> {
      if (in_gone) gone += bytes;
      return in_gone ? Result<void>() : state_.write(bytes);
    };
    visitor.on_state_end = [&] { return in_gone ? moved_.gone(gone) : state_.end(); };
    visitor.on_message = [this](ArchivedMessage&& entry) -> Result<void> {
      configs_.try_emplace(target_name(entry.queue));
      ++total_;
      return {};
    };
    GW_TRY(ArchiveReader::read(fd, visitor));
    if (!whole_root() || !moved_.possible()) return {};
    // What had left its queue is told at the end. Where it went is of interest only then.
    ArchiveReader::Visitor again;
    again.on_message = [this](ArchivedMessage&& entry) -> Result<void> {
      moved_.message(entry);
      return {};
    };
    return ArchiveReader::read(fd, again);
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

  /// Takes before the first message is there, puts behind the last. Of queues that were there before only what --create makes of them.
  Result<void> hold_queues(bool puts_too) {
    if (!whole_root() || !options_.create) return {};
    for (const auto& [name, hold] : holds_) GW_TRY(queues_[name].hold(hold.takes_on, hold.puts_on || !puts_too, hold.reason));
    return {};
  }

  Result<void> store_all(int fd) {
    Progress progress("imported", total_, common_.quiet ? Progress::Show::never : Progress::Show::if_terminal);
    std::optional<BodyWriter> body;
    ArchiveReader::Visitor visitor;
    visitor.on_blob = [&](const std::string& header) { return blobs_.begin(header); };
    visitor.on_blob_bytes = [&](std::string_view bytes) { return blobs_.write(bytes); };
    visitor.on_blob_end = [&] { return blobs_.end(); };
    visitor.on_body = [&] { body.emplace(root_.body_writer()); };
    visitor.on_body_bytes = [&](std::string_view bytes) { return body->write(bytes); };
    visitor.on_message = [&](ArchivedMessage&& entry) -> Result<void> {
      progress.add(1);
      GW_TRY_ASSIGN(Body finished, std::move(*std::exchange(body, std::nullopt)).finish());
      return add(std::move(entry), std::move(finished));
    };
    auto read = ArchiveReader::read(fd, visitor);
    if (!read) return read;
    return flush();
  }

  Result<void> add(ArchivedMessage&& entry, Body&& body) {
    const std::string& name = target_name(entry.queue);
    std::string id(entry.headers.get(header::message_id));
    const bool moved = whole_root() && moved_.elsewhere(entry);
    blobs_.rename(entry.headers);
    if (moved || present_[name].contains(id)) {
      existed += moved ? 0 : 1;
      if (transactions_.empty()) blobs_.release();
      return {};
    }
    PutOptions how;
    how.due_at_ms = entry.due_at_ms;
    how.expires_at_ms = entry.expires_at_ms;
    how.failures = entry.failures;
    // The message's place in its first queue is part of the key: an archive can hold an id twice, and a message that came from
    // there before, and was handled, does not come again.
    std::string key = id + " " + entry.queue + ":" + std::to_string(entry.seq) + " " + entry.put_at;
    how.dedup = DedupKey{std::string(local_dedup_store), "import " + name, hex(bytes_of(sha256(key))), entry.body_sha256, 0};
    Message message{std::move(entry.headers), std::move(body)};
    notes_.push_back(note_put(queues_[name], message));
    transactions_.emplace_back();
    transactions_.back().put(queues_[name], std::move(message), std::move(how));
    members_.push_back(std::move(entry.member));
    if (transactions_.size() >= batch_messages || blobs_.held() >= held_blobs_max) return flush();
    return {};
  }

  Result<void> flush() {
    auto results = root_.commit_all(std::exchange(transactions_, {}));
    auto members = std::exchange(members_, {});
    auto notes = std::exchange(notes_, {});
    blobs_.release();
    for (size_t i = 0; i < results.size(); ++i)
      if (results[i] && results[i]->puts.at(0).outcome == PutOutcome::stored) tell(notes[i], results[i]->puts[0].seq);
    root_.journal().write();
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

  void tell(const PutNote& note, uint64_t seq) {
    JournalLine line = note.line(Happened::stored, seq);
    line.reason = "by 'queue-inspect import'";
    root_.journal().add(line);
  }

  Root& root_;
  const Options& options_;
  const CommonOptions& common_;
  uint64_t total_ = 0;
  std::map<std::string, QueueConfig> configs_;
  std::map<std::string, Queue> queues_;
  std::map<std::string, PresentIds> present_;
  std::map<std::string, ArchivedHold> holds_;
  Moved moved_;
  ArchivedState state_;
  ImportedBlobs blobs_;  // of what is in transactions_
  std::vector<Transaction> transactions_;
  std::vector<std::string> members_;
  std::vector<PutNote> notes_;
};

}  // namespace

Result<ExitCode> import_queues(const Options& options, const CommonOptions& common) {
  if (!options.queue.empty()) GW_TRY(check_queue_name(options.queue));
  if (is_terminal(0)) return Error{ExitCode::usage, 0, "stdin is a terminal: pipe an archive of 'queue-inspect export' in"};
  GW_TRY_ASSIGN(UniqueFd input, seekable_stdin());
  GW_TRY_ASSIGN(auto root, open_root(common, options.create));
  GW_TRY_ASSIGN(TemporaryDirectory directory, TemporaryDirectory::create());
  Importer importer(*root, options, common, std::move(directory));
  auto done = importer.run(input.get());
  if (!done) return std::move(done).error();
  if (!importer.machine.empty() && importer.machine != root->machine())
    event(Level::info, "other-machine", {{"exported_on", importer.machine}, {"this_one", root->machine()},
                                         {"hint", "addresses in the messages name the first; if this machine takes its place, put that name into " + root->path() + "/machine"}});
  event(importer.existed > 0 ? Level::info : Level::debug, "imported", {{"stored", importer.stored}, {"already_there", importer.existed}});
  return ExitCode::ok;
}

}  // namespace gw::inspect
