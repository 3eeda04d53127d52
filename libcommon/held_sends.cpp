#include "held_sends.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <map>

#include "databus.hpp"
#include "diag.hpp"
#include "gw_assert.hpp"
#include "hash.hpp"
#include "put_notes.hpp"

namespace gw {

namespace {

constexpr std::string_view first_line = "gw-outbox 1";
constexpr std::string_view record_suffix = ".send", body_suffix = ".body", blob_suffix = ".blob";
constexpr size_t headers_file_bytes_max = 4 * headers_bytes_max;  // the text form of control bytes is longer

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::string_view(value) : std::string_view();
}

Result<std::string> read_file(const std::string& path, size_t bytes_max) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return errno_error("open", path, errno);
  std::string text;
  char buffer[65536];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", path, errno);
    if (n == 0) return text;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > bytes_max) return Error{ExitCode::bad_data, 0, "'" + path + "' is too large"};
  }
}

// --- holding --------------------------------------------------------------------------------------------------------------

// Sorted by name is sorted by time: of one boot, as the directory does not outlive the worker.
std::string new_stem() {
  static uint64_t count = 0;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  char text[64];
  std::snprintf(text, sizeof text, "%010lld.%09ld-%d-%llu", static_cast<long long>(now.tv_sec), now.tv_nsec, ::getpid(),
                static_cast<unsigned long long>(++count));
  return text;
}

class Holder {
 public:
  explicit Holder(std::string outbox) : outbox_(std::move(outbox)), stem_(new_stem()) {}
  Result<void> add(const Transaction::Put& put);
  Result<void> finish();
  ~Holder();

 private:
  Result<std::string> body_line(const Body& body);
  Result<void> hold_blobs(const Headers& headers);
  Error gone() const {
    return Error{ExitCode::no_input, ENOENT, "hold a message in '" + outbox_ + "' (GW_OUTBOX): the handler that it belongs to has ended"};
  }

  std::string outbox_, stem_, records_;
  std::vector<std::string> files_;  // bodies, until the records have their name
  std::map<const BodyFile*, std::string> body_lines_;
};

Holder::~Holder() {
  for (const std::string& path : files_) ::unlink(path.c_str());
}

Result<std::string> Holder::body_line(const Body& body) {
  if (!body.is_file()) return "body " + std::to_string(body.size());
  const BodyFile& file = *body.file();
  if (auto known = body_lines_.find(&file); known != body_lines_.end()) return known->second;
  const std::string name = stem_ + "." + std::to_string(files_.size()) + std::string(body_suffix), path = outbox_ + "/" + name;
  if (::link(file.path.c_str(), path.c_str()) != 0) {
    if (errno == ENOENT) return gone();
    return errno_error("create", path, errno);
  }
  files_.push_back(path);
  std::string line = "body-file " + name + " " + std::to_string(file.bytes) + " " + std::to_string(file.crc);
  body_lines_[&file] = line;
  return line;
}

/// A link of its own keeps a blob until the messages have theirs.
Result<void> Holder::hold_blobs(const Headers& headers) {
  for (const Attachment& attachment : attachments_of(headers, outbox_ + "/../../..")) {
    std::string name = attachment.key + std::string(blob_suffix);
    std::replace(name.begin(), name.end(), '/', '.');
    const std::string path = outbox_ + "/" + name;
    if (::link(attachment.path.c_str(), path.c_str()) == 0 || errno == EEXIST) continue;
    if (errno != ENOENT) return errno_error("create", path, errno);
    if (::access(outbox_.c_str(), F_OK) != 0) return gone();
  }
  return {};
}

Result<void> Holder::add(const Transaction::Put& put) {
  GW_TRY(hold_blobs(put.message.headers));
  GW_TRY_ASSIGN(std::string body, body_line(put.message.body));
  records_.append(first_line).append("\nqueue ").append(put.queue.name()) += '\n';
  if (put.options.due_at_ms != 0) records_ += "due " + std::to_string(put.options.due_at_ms) + "\n";
  if (put.options.expires_at_ms != 0) records_ += "expires " + std::to_string(put.options.expires_at_ms) + "\n";
  if (const auto& key = put.options.dedup) {
    std::string_view digest(reinterpret_cast<const char*>(key->body_sha256.data()), key->body_sha256.size());
    records_ += "key " + key->store + " " + key->scope + " " + hex(digest) + " " + std::to_string(key->first_sent_ms) + " " + key->id + "\n";
  }
  records_ += body + "\n\n" + headers_to_text(put.message.headers) + "\n";
  if (!put.message.body.is_file()) records_ += put.message.body.bytes();
  return {};
}

// Nothing is synced: it all counts only when the worker commits it.
Result<void> Holder::finish() {
  const std::string hidden = outbox_ + "/." + stem_, path = outbox_ + "/" + stem_ + std::string(record_suffix);
  UniqueFd fd(::open(hidden.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd && errno == ENOENT) return gone();
  if (!fd) return errno_error("create", hidden, errno);
  for (std::string_view rest = records_; !rest.empty();) {
    ssize_t n = ::write(fd.get(), rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      Error error = errno_error("write", hidden, errno);
      ::unlink(hidden.c_str());
      return error;
    }
    rest.remove_prefix(static_cast<size_t>(n));
  }
  if (::rename(hidden.c_str(), path.c_str()) != 0) {
    if (errno == ENOENT) return gone();
    return errno_error("rename", hidden, errno);
  }
  files_.clear();
  return {};
}

// ROOT/outbox/WORKER/ATTEMPT
bool belongs_to(const std::string& outbox, const std::string& root) {
  struct stat above{}, own{};
  return ::stat((outbox + "/../../..").c_str(), &above) == 0 && ::stat(root.c_str(), &own) == 0 && above.st_dev == own.st_dev &&
         above.st_ino == own.st_ino;
}

// --- taking ---------------------------------------------------------------------------------------------------------------

Error malformed(const std::string& path, const std::string& what) {
  return Error{ExitCode::bad_data, 0, "'" + path + "' is not what a handler's outbox holds: " + what};
}

/// Reads the records of one file.
class RecordReader {
 public:
  RecordReader(std::string outbox, std::string path, std::string text) : outbox_(std::move(outbox)), path_(std::move(path)), text_(std::move(text)) {}
  bool at_end() const { return at_ == text_.size(); }
  Result<HeldSend> next();

 private:
  Result<std::string> line() {
    size_t end = text_.find('\n', at_);
    if (end == std::string::npos) return malformed(path_, "a line without an end");
    std::string found = text_.substr(at_, end - at_);
    at_ = end + 1;
    return found;
  }
  template <class N>
  Result<N> number(std::string_view text) {
    N value = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return malformed(path_, "'" + std::string(text) + "' is not a number");
    return value;
  }
  Result<void> read_field(HeldSend& into, const std::string& line);
  Result<void> read_key(HeldSend& into, std::string_view rest);
  Result<void> open_body(HeldSend& into, std::string_view rest);

  std::string outbox_, path_, text_;
  size_t at_ = 0;
  std::optional<size_t> inline_bytes_;
  std::map<std::string, std::shared_ptr<BodyFile>> bodies_;
};

std::string_view word(std::string_view& rest) {
  size_t end = std::min(rest.find(' '), rest.size());
  std::string_view found = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return found;
}

Result<void> RecordReader::read_key(HeldSend& into, std::string_view rest) {
  DedupKey key;
  key.store = word(rest);
  key.scope = word(rest);
  std::string_view digits = word(rest);
  if (digits.size() != 2 * key.body_sha256.size()) return malformed(path_, "a key without a digest");
  for (size_t i = 0; i < key.body_sha256.size(); ++i) {
    auto [end, error] = std::from_chars(digits.data() + 2 * i, digits.data() + 2 * i + 2, key.body_sha256[i], 16);
    if (error != std::errc() || end != digits.data() + 2 * i + 2) return malformed(path_, "a key without a digest");
  }
  GW_TRY_ASSIGN(key.first_sent_ms, number<int64_t>(word(rest)));
  key.id = rest;
  if (!message_id_ok(key.id)) return malformed(path_, "a key without an id");
  into.options.dedup = std::move(key);
  return {};
}

Result<void> RecordReader::open_body(HeldSend& into, std::string_view rest) {
  const std::string name(word(rest));
  GW_TRY_ASSIGN(uint64_t bytes, number<uint64_t>(word(rest)));
  GW_TRY_ASSIGN(uint32_t crc, number<uint32_t>(word(rest)));
  std::shared_ptr<BodyFile>& file = bodies_[name];
  if (!file) {
    if (name.find('/') != std::string::npos || !name.ends_with(body_suffix)) return malformed(path_, "'" + name + "' is not the name of a body");
    auto opened = std::make_shared<BodyFile>();
    opened->path = outbox_ + "/" + name;
    opened->fd = UniqueFd(::open(opened->path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat status{};
    if (!opened->fd || ::fstat(opened->fd.get(), &status) != 0) return errno_error("open", opened->path, errno);
    if (!S_ISREG(status.st_mode) || static_cast<uint64_t>(status.st_size) != bytes) return malformed(path_, "'" + name + "' has another size");
    opened->bytes = bytes;
    opened->crc = crc;
    file = std::move(opened);
  }
  into.message.body = Body(file);
  return {};
}

Result<void> RecordReader::read_field(HeldSend& into, const std::string& text) {
  std::string_view rest = text;
  const std::string_view name = word(rest);
  if (name == "queue") {
    into.queue = rest;
  } else if (name == "due") {
    GW_TRY_ASSIGN(into.options.due_at_ms, number<int64_t>(rest));
  } else if (name == "expires") {
    GW_TRY_ASSIGN(into.options.expires_at_ms, number<int64_t>(rest));
  } else if (name == "key") {
    return read_key(into, rest);
  } else if (name == "body") {
    GW_TRY_ASSIGN(inline_bytes_, number<size_t>(rest));
  } else if (name == "body-file") {
    return open_body(into, rest);
  } else {
    return malformed(path_, "unknown line '" + text + "'");
  }
  return {};
}

Result<HeldSend> RecordReader::next() {
  HeldSend send;
  inline_bytes_.reset();
  GW_TRY_ASSIGN(std::string text, line());
  if (text != first_line) return malformed(path_, "expected '" + std::string(first_line) + "', found '" + text.substr(0, 40) + "'");
  for (;;) {
    GW_TRY_ASSIGN(text, line());
    if (text.empty()) break;
    GW_TRY(read_field(send, text));
  }
  if (!queue_name_ok(send.queue)) return malformed(path_, "no queue");
  const size_t begin = at_;
  do {
    GW_TRY_ASSIGN(text, line());
  } while (!text.empty());
  GW_TRY_ASSIGN(send.message.headers, headers_from_text(std::string_view(text_).substr(begin, at_ - 1 - begin)));
  if (!inline_bytes_) {
    if (!send.message.body.is_file()) return malformed(path_, "no body");
    return send;
  }
  if (*inline_bytes_ > text_.size() - at_) return malformed(path_, "the body is cut off");
  send.message.body = Body(text_.substr(at_, *inline_bytes_));
  at_ += *inline_bytes_;
  return send;
}

Result<std::vector<std::string>> record_names(const std::string& directory) {
  DIR* listing = ::opendir(directory.c_str());
  if (!listing) return errno_error("open", directory, errno);
  std::vector<std::string> names;
  while (dirent* entry = ::readdir(listing)) {
    std::string_view name = entry->d_name;
    if (name.ends_with(record_suffix) && name[0] != '.') names.emplace_back(name);
  }
  ::closedir(listing);
  std::sort(names.begin(), names.end());
  return names;
}

// The same id with the same body is one message; with another body neither is sent.
Result<void> drop_repeated(std::vector<HeldSend>& sends) {
  std::map<std::pair<std::string, std::string>, std::array<unsigned char, 32>> known;
  std::vector<HeldSend> kept;
  for (HeldSend& send : sends) {
    if (const auto& key = send.options.dedup) {
      auto [at, is_new] = known.emplace(std::make_pair(key->store + " " + key->scope, key->id), key->body_sha256);
      if (!is_new && at->second != key->body_sha256)
        return Error{ExitCode::bad_data, 0, "the handler sent two messages with the id '" + key->id + "' and different bodies to '" + send.queue + "'"};
      if (!is_new) continue;
    }
    kept.push_back(std::move(send));
  }
  sends = std::move(kept);
  return {};
}

}  // namespace

void release_held_blobs(const std::string& outbox) {
  DIR* listing = ::opendir(outbox.c_str());
  if (!listing) return;
  while (dirent* entry = ::readdir(listing)) {
    std::string key = entry->d_name;
    const size_t slash = key.find('.');
    if (!key.ends_with(blob_suffix) || slash == std::string::npos) continue;
    key.resize(key.size() - blob_suffix.size());
    key[slash] = '/';
    if (!blob_key_ok(key) || ::unlinkat(::dirfd(listing), entry->d_name, 0) != 0) continue;
    if (auto gone = release_blob(outbox + "/../../..", key); !gone) event(Level::warn, "blob-not-removed", {{"reason", gone.error().text}});
  }
  ::closedir(listing);
}

bool inside_handler() { return !environment("GW_OUTBOX").empty(); }

Result<Headers> read_headers_file(const std::string& path) {
  GW_TRY_ASSIGN(std::string text, read_file(path, headers_file_bytes_max));
  return headers_from_text(text);
}

std::optional<Headers> incoming_headers() {
  const std::string path(environment("GW_HEADERS_FILE"));
  if (path.empty()) return std::nullopt;
  auto headers = read_headers_file(path);
  if (!headers) return std::nullopt;
  return *std::move(headers);
}

Headers related_headers(const Headers& incoming) {
  Headers related;
  const std::string_view id = incoming.get(header::message_id), correlation = incoming.get(header::correlation_id),
                         conversation = incoming.get(header::conversation_id);
  if (!id.empty()) related.set(header::related_to, id);
  if (!correlation.empty() || !id.empty()) related.set(header::correlation_id, correlation.empty() ? id : correlation);
  if (!conversation.empty()) related.set(header::conversation_id, conversation);
  return related;
}

Headers unrelated_headers() {
  Headers headers;
  const std::string id = new_message_id();
  headers.set(header::message_id, id);
  headers.set(header::correlation_id, id);
  headers.set(header::conversation_id, new_message_id());
  return headers;
}

std::vector<Result<CommitResult>> commit_or_hold(Root& root, std::vector<Transaction>&& transactions) {
  const std::string outbox(environment("GW_OUTBOX"));
  struct stat status{};
  if (outbox.empty() || (::stat(outbox.c_str(), &status) == 0 && !belongs_to(outbox, root.path()))) {
    // What a handler sends at once goes on account of its message, too.
    const std::string_view parent = environment("GW_MESSAGE_ID");
    return commit_noted(root, std::move(transactions), parent.empty() ? PutNotes::Which::gateway : PutNotes::Which::all, parent);
  }
  Holder holder(outbox);
  Result<void> held;
  std::vector<Result<CommitResult>> results;
  for (Transaction& transaction : transactions) {
    CommitResult result;
    for (Transaction::Put& put : transaction.puts()) {
      if (held) held = holder.add(put);
      result.puts.push_back({PutOutcome::stored, put.queue.name(), 0});
    }
    results.emplace_back(std::move(result));
  }
  if (held) held = holder.finish();
  if (!held)
    for (auto& result : results) result = held.error();
  return results;
}

Result<std::vector<HeldSend>> take_held_sends(const std::string& outbox) {
  std::vector<HeldSend> sends;
  // Nothing in it, and from now on nothing can be.
  if (::rmdir(outbox.c_str()) == 0) return sends;
  const std::string sealed = outbox + std::string(outbox_sealed_suffix);
  if (::rename(outbox.c_str(), sealed.c_str()) != 0) return errno_error("rename", outbox, errno);
  GW_TRY_ASSIGN(auto names, record_names(sealed));
  for (const std::string& name : names) {
    const std::string path = sealed + "/" + name;
    GW_TRY_ASSIGN(std::string text, read_file(path, SIZE_MAX));
    for (RecordReader reader(sealed, path, std::move(text)); !reader.at_end();) {
      GW_TRY_ASSIGN(HeldSend send, reader.next());
      sends.push_back(std::move(send));
    }
  }
  GW_TRY(drop_repeated(sends));
  return sends;
}

}  // namespace gw
