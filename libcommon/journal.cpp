#include "journal.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "diag.hpp"
#include "json.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr std::string_view directory_name = "journal", file_suffix = ".jsonl";
constexpr int64_t day_ms = 24ll * 3600 * 1000;
constexpr int64_t look_every_ms = 1000;
constexpr size_t buffer_bytes_max = 1 << 20;
constexpr std::array<std::string_view, 11> words = {"stored", "delivered", "refused", "deferred", "failed", "returned",
                                                    "moved",  "purged",    "expired", "duplicate", "handled"};

/// A file of the journal, by its name: the day, and for a part that was set aside its number.
struct FileName {
  std::string day;
  uint64_t part = UINT64_MAX;  // the one that is being written is the last
  std::string text;
  bool operator<(const FileName& other) const { return day != other.day ? day < other.day : part < other.part; }
};

bool is_day(std::string_view text) {
  static constexpr std::string_view shape = "0000-00-00";
  if (text.size() != shape.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] == '-' ? text[i] != '-' : text[i] < '0' || text[i] > '9') return false;
  return true;
}

std::optional<FileName> parse_name(std::string_view text) {
  FileName name;
  name.text = text;
  if (!text.ends_with(file_suffix)) return std::nullopt;
  text.remove_suffix(file_suffix.size());
  name.day = text.substr(0, 10);
  if (!is_day(name.day)) return std::nullopt;
  text.remove_prefix(10);
  if (text.empty()) return name;
  if (text.front() != '.') return std::nullopt;
  text.remove_prefix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), name.part);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return name;
}

/// Sorted by age, the oldest first.
std::vector<FileName> list_files(int directory) {
  std::vector<FileName> files;
  int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* stream = copy >= 0 ? ::fdopendir(copy) : nullptr;
  if (!stream) {
    if (copy >= 0) ::close(copy);
    return files;
  }
  while (const dirent* entry = ::readdir(stream))
    if (auto name = parse_name(entry->d_name)) files.push_back(*std::move(name));
  ::closedir(stream);
  std::sort(files.begin(), files.end());
  return files;
}

std::string day_text(int64_t day) { return format_rfc3339(day * day_ms).substr(0, 10); }

void append_text(std::string& line, std::string_view key, std::string_view value) {
  if (value.empty()) return;
  line.append(",\"").append(key).append("\":");
  append_json_quoted(line, value);
}

template <class N>
void append_number(std::string& line, std::string_view key, N value) {
  if (value == 0) return;
  char digits[24];
  auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
  line.append(",\"").append(key).append("\":").append(digits, static_cast<size_t>(end - digits));
}

std::string_view cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return text.substr(0, limit);
}

}  // namespace

std::string_view to_string(Happened happened) { return words[static_cast<size_t>(happened)]; }

std::optional<Happened> parse_happened(std::string_view word) {
  const auto* found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) return std::nullopt;
  return static_cast<Happened>(found - words.begin());
}

// --- writing ----------------------------------------------------------------------------------------------------------------

Journal::Journal(Place place) : place_(std::move(place)) {
  prefix_ = ",\"machine\":" + json_quote(place_.machine) + ",\"event\":\"";
  suffix_ = ",\"pid\":" + std::to_string(::getpid()) + "}\n";
}

Journal::~Journal() { write(); }

void Journal::add(const JournalLine& line) {
  std::lock_guard guard(mutex_);
  if (const int64_t now = now_ms(); now != time_ms_) {
    time_ms_ = now;
    time_ = format_rfc3339(now);
  }
  buffer_.append("{\"at\":\"").append(time_).append("\"").append(prefix_).append(to_string(line.event)) += '"';
  append_text(buffer_, "id", line.id);
  append_text(buffer_, "queue", line.queue);
  append_text(buffer_, "to", line.to);
  append_number(buffer_, "seq", line.seq);
  append_text(buffer_, "site", line.site);
  append_text(buffer_, "worker", line.worker);
  append_number(buffer_, "attempt", line.attempt);
  append_number(buffer_, "status", line.status);
  append_text(buffer_, "reason", cut(line.reason, journal_reason_bytes_max));
  if (line.next_try_ms != 0) append_text(buffer_, "next_try_at", format_rfc3339(line.next_try_ms));
  append_text(buffer_, "parent_id", line.parent_id);
  append_text(buffer_, "traceparent", line.traceparent);
  buffer_ += suffix_;
  any_.store(true, std::memory_order_relaxed);
  if (buffer_.size() > buffer_bytes_max) write_locked();
}

void Journal::write() {
  if (!any_.load(std::memory_order_relaxed)) return;
  std::lock_guard guard(mutex_);
  write_locked();
}

void Journal::write_locked() {
  if (buffer_.empty()) return;
  if (ready(now_ms())) {
    ssize_t n;
    do n = ::write(file_.get(), buffer_.data(), buffer_.size());
    while (n < 0 && errno == EINTR);
    if (n != static_cast<ssize_t>(buffer_.size())) {
      complain("write", n < 0 ? errno : ENOSPC);
      // Whoever writes next begins a line of its own. Should even that not fit, the reader finds the beginning of his.
      if (n > 0 && ::write(file_.get(), "\n", 1) != 1) usable_ = false;
    }
  }
  buffer_.clear();
  any_.store(false, std::memory_order_relaxed);
}

std::string Journal::shown(const std::string& name) const { return place_.root_path + "/" + std::string(directory_name) + (name.empty() ? "" : "/" + name); }

void Journal::complain(const char* what, int error) {
  if (std::exchange(complained_, true)) return;
  event(Level::warn, "journal-incomplete", {{"reason", errno_error(what, shown(name_), error).text}});
}

/// Is there a file to write to? Looks around once a second: another process may have set the file aside, somebody may have removed it.
bool Journal::ready(int64_t now) {
  const int64_t day = now / day_ms, tick = monotonic_ms();
  if (day == day_ && looked_ms_ != 0 && tick - looked_ms_ < look_every_ms) return usable_;
  looked_ms_ = tick;
  usable_ = false;
  if (place_.has_room && !place_.has_room()) {
    complain("write", ENOSPC);
    return false;
  }
  if (day != day_) file_ = UniqueFd();
  day_ = day;
  // Twice: the one that is there may be full.
  for (int round = 0; round < 2 && !usable_; ++round) {
    if (!file_ && !open_file(day)) return false;
    look_at_file();
    usable_ = static_cast<bool>(file_);
  }
  return usable_;
}

bool Journal::open_file(int64_t day) {
  name_ = day_text(day) + std::string(file_suffix);
  const mode_t mode = place_.shared ? 0660 : 0600;
  for (int round = 0; round < 2; ++round) {
    if (directory_) {
      file_ = UniqueFd(::openat(directory_.get(), name_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
      if (file_) return true;
      if (errno == ENOENT) file_ = UniqueFd(::openat(directory_.get(), name_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode));
      if (file_) {
        if (place_.shared) ::fchmod(file_.get(), mode);
        clean_up(now_ms());
        return true;
      }
      if (errno != ENOENT) break;  // else the directory was removed
    }
    const std::string path = shown("");
    const mode_t directory_mode = place_.shared ? 02770 : 0700;
    if (::mkdir(path.c_str(), directory_mode) == 0 && place_.shared) ::chmod(path.c_str(), directory_mode);
    directory_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!directory_) break;
  }
  complain("open", errno);
  return false;
}

void Journal::look_at_file() {
  struct stat mine{}, there{};
  const bool same = ::fstat(file_.get(), &mine) == 0 && ::fstatat(directory_.get(), name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
                    mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
  if (same && static_cast<uint64_t>(mine.st_size) < place_.part_bytes_max) return;
  if (same) set_aside();
  file_ = UniqueFd();
}

/// Two processes that do this at once make one part more than needed, which does no harm.
void Journal::set_aside() {
  const std::string day = name_.substr(0, 10);
  uint64_t part = 0;
  for (const FileName& file : list_files(directory_.get()))
    if (file.day == day && file.part != UINT64_MAX) part = std::max(part, file.part);
  const std::string aside = day + "." + std::to_string(part + 1) + std::string(file_suffix);
  ::renameat2(directory_.get(), name_.c_str(), directory_.get(), aside.c_str(), RENAME_NOREPLACE);
}

void Journal::clean_up(int64_t now) {
  std::vector<FileName> files = list_files(directory_.get());
  std::vector<uint64_t> bytes(files.size());
  uint64_t total = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    struct stat status{};
    if (::fstatat(directory_.get(), files[i].text.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) bytes[i] = static_cast<uint64_t>(status.st_size);
    total += bytes[i];
  }
  const bool by_age = !place_.may_purge || place_.may_purge();
  const std::string first_day = day_text((now - journal_keep_ms) / day_ms);
  // Room for the part that begins now.
  const uint64_t kept_max = place_.bytes_max - std::min(place_.bytes_max, place_.part_bytes_max);
  for (size_t i = 0; i + 1 < files.size(); ++i) {
    if (total <= kept_max && !(by_age && files[i].day < first_day)) continue;
    if (::unlinkat(directory_.get(), files[i].text.c_str(), 0) == 0) total -= bytes[i];
  }
}

// --- reading ----------------------------------------------------------------------------------------------------------------

namespace {

/// A file in memory as long as this lives.
class MappedFile {
 public:
  MappedFile(int directory, const std::string& name) {
    UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) return;
    void* at = ::mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd.get(), 0);
    if (at == MAP_FAILED) return;
    ::madvise(at, static_cast<size_t>(status.st_size), MADV_SEQUENTIAL);
    text_ = std::string_view(static_cast<const char*>(at), static_cast<size_t>(status.st_size));
  }
  ~MappedFile() {
    if (!text_.empty()) ::munmap(const_cast<char*>(text_.data()), text_.size());
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::string_view text() const { return text_; }

 private:
  std::string_view text_;
};

UniqueFd open_directory(const std::string& root_path) {
  return UniqueFd(::open((root_path + "/" + std::string(directory_name)).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

std::string_view line_around(std::string_view text, size_t at) {
  const size_t before = text.rfind('\n', at);
  const size_t begin = before == std::string_view::npos ? 0 : before + 1;
  return text.substr(begin, std::min(text.find('\n', at), text.size()) - begin);
}

}  // namespace

std::optional<JournalRecord> parse_journal_line(std::string_view line) {
  // What a full disk has cut short may stand in front of it.
  const size_t begin = line.rfind("{\"at\":\"");
  if (begin == std::string_view::npos) return std::nullopt;
  auto object = JsonValue::parse(line.substr(begin));
  if (!object || !object->is_object()) return std::nullopt;
  JournalRecord record;
  const auto at = parse_time_ms(object->text_of("at"), 0);
  const auto happened = parse_happened(object->text_of("event"));
  if (!at || !happened) return std::nullopt;
  record.at_ms = *at;
  record.event = *happened;
  record.machine = object->text_of("machine");
  record.id = object->text_of("id");
  record.queue = object->text_of("queue");
  record.to = object->text_of("to");
  record.seq = static_cast<uint64_t>(object->integer_of("seq"));
  record.site = object->text_of("site");
  record.worker = object->text_of("worker");
  record.pid = static_cast<int>(object->integer_of("pid"));
  record.attempt = static_cast<unsigned>(object->integer_of("attempt"));
  record.status = static_cast<int>(object->integer_of("status"));
  record.reason = object->text_of("reason");
  if (const std::string next = object->text_of("next_try_at"); !next.empty()) record.next_try_ms = parse_time_ms(next, 0).value_or(0);
  record.parent_id = object->text_of("parent_id");
  record.traceparent = object->text_of("traceparent");
  return record;
}

Result<void> search_journal(const std::string& root_path, const std::string& id, const std::function<void(JournalRecord&&)>& visit) {
  UniqueFd directory = open_directory(root_path);
  if (!directory && errno == ENOENT) return {};
  if (!directory) return errno_error("open", root_path + "/" + std::string(directory_name), errno);
  const std::string needle = json_quote(id);
  for (const FileName& name : list_files(directory.get())) {
    MappedFile file(directory.get(), name.text);
    const std::string_view text = file.text();
    for (size_t at = 0; at < text.size();) {
      const void* found = ::memmem(text.data() + at, text.size() - at, needle.data(), needle.size());
      if (!found) break;
      const auto position = static_cast<size_t>(static_cast<const char*>(found) - text.data());
      const std::string_view line = line_around(text, position);
      at = static_cast<size_t>(line.data() - text.data()) + line.size();
      auto record = parse_journal_line(line);
      if (record && (record->id == id || record->parent_id == id)) visit(*std::move(record));
    }
  }
  return {};
}

std::optional<int64_t> journal_since_ms(const std::string& root_path) {
  UniqueFd directory = open_directory(root_path);
  if (!directory) return std::nullopt;
  for (const FileName& name : list_files(directory.get())) {
    MappedFile file(directory.get(), name.text);
    const std::string_view text = file.text();
    for (size_t at = 0; at < text.size();) {
      const std::string_view line = text.substr(at, text.find('\n', at) - at);
      if (auto record = parse_journal_line(line)) return record->at_ms;
      at += line.size() + 1;
    }
  }
  return std::nullopt;
}

}  // namespace gw
