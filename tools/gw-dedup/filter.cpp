// gw-dedup filter: lines in, new lines out. A key is marked after its line was written: a reader that dies sees it again, none is lost.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <unordered_set>

#include "commands.hpp"
#include "store.hpp"

namespace gw::dedup {

namespace {

constexpr size_t batch_lines = 256;
constexpr size_t line_bytes_max = 64 << 20;

/// Complete lines of stdin as they come: a batch ends when it is full or nothing more waits.
class LineReader {
 public:
  /// Without their LF. Empty: the end. io_error; bad_data: a line without end.
  Result<std::vector<std::string>> next() {
    std::vector<std::string> lines;
    while (lines.size() < batch_lines) {
      size_t end = buffer_.find('\n', at_);
      if (end != std::string::npos) {
        lines.push_back(buffer_.substr(at_, end - at_));
        at_ = end + 1;
        continue;
      }
      if (ended_ || (!lines.empty() && !more_waits())) break;
      GW_TRY(fill());
    }
    if (lines.empty() && ended_ && at_ < buffer_.size()) {
      lines.push_back(buffer_.substr(at_));
      at_ = buffer_.size();
    }
    return lines;
  }

 private:
  static bool more_waits() {
    pollfd wait{STDIN_FILENO, POLLIN, 0};
    return ::poll(&wait, 1, 0) > 0;
  }
  Result<void> fill() {
    buffer_.erase(0, at_);
    at_ = 0;
    if (buffer_.size() > line_bytes_max) return Error{ExitCode::bad_data, 0, "a line of stdin is longer than 64M"};
    char bytes[64 * 1024];
    ssize_t n;
    do n = ::read(STDIN_FILENO, bytes, sizeof bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0) return Error{ExitCode::io_error, errno, "read stdin: " + errno_error("read", "stdin", errno).text};
    if (n == 0) ended_ = true;
    else buffer_.append(bytes, static_cast<size_t>(n));
    return {};
  }
  std::string buffer_;
  size_t at_ = 0;
  bool ended_ = false;
};

/// Writes the new lines of a batch, then marks their keys. `bad`: the number in the batch of a line without a usable key.
Result<void> pass_batch(OpenStore& open, const std::vector<std::string>& lines, unsigned key_field, std::optional<size_t>& bad) {
  std::vector<std::string> fresh;
  std::unordered_set<std::string> here;
  for (size_t i = 0; i < lines.size() && !bad; ++i) {
    std::string key(key_of_line(lines[i], key_field));
    if (!message_id_ok(key)) {
      bad = i;
      break;
    }
    if (here.count(key)) continue;
    GW_TRY_ASSIGN(auto row, open.store->find(open.endpoint, key));
    if (row) continue;
    out(lines[i] + "\n");
    here.insert(key);
    fresh.push_back(std::move(key));
  }
  GW_TRY(flush_stdout());
  if (!fresh.empty()) GW_TRY(open.store->mark(open.endpoint, fresh));
  return {};
}

}  // namespace

std::string_view key_of_line(std::string_view line, unsigned number) {
  if (number == 0) return line;
  const bool tabs = line.find('\t') != std::string_view::npos;
  for (unsigned field = 1;; ++field) {
    if (!tabs) {
      size_t begin = line.find_first_not_of(' ');
      line.remove_prefix(begin == std::string_view::npos ? line.size() : begin);
    }
    size_t end = line.find(tabs ? '\t' : ' ');
    if (field == number) return line.substr(0, end);
    if (end == std::string_view::npos) return {};
    line.remove_prefix(end + 1);
  }
}

Result<ExitCode> filter(const Options& options, const CommonOptions& common) {
  if (::isatty(STDIN_FILENO)) return Error{ExitCode::usage, 0, "stdin is a terminal: give the lines on a pipe or from a file"};
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, true));
  LineReader reader;
  for (uint64_t number = 0;;) {
    GW_TRY_ASSIGN(auto lines, reader.next());
    if (lines.empty()) return ExitCode::ok;
    std::optional<size_t> bad;
    GW_TRY(pass_batch(open, lines, options.key_field, bad));
    if (bad)
      return Error{ExitCode::bad_data, 0, "line " + std::to_string(number + *bad + 1) + " of stdin has no key of 1 to 255 bytes; the lines before it are done"};
    number += lines.size();
  }
}

}  // namespace gw::dedup
