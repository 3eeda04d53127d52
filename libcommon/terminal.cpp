#include "terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "units.hpp"

namespace gw {

namespace {

constexpr int64_t first_after_ms = 500, redraw_ms = 100;

void write_stderr(std::string_view text) {
  // A terminal that went away is no reason to stop the work.
  [[maybe_unused]] ssize_t ignored = ::write(2, text.data(), text.size());
}

}  // namespace

bool is_terminal(int fd) { return ::isatty(fd) == 1; }

size_t terminal_columns(int fd) {
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return 0;
  return size.ws_col;
}

Progress::Progress(std::string what, uint64_t total, Show show)
    : what_(std::move(what)), total_(total), active_(show == Show::if_terminal && is_terminal(2)), started_ms_(monotonic_ms()) {
  next_ms_ = started_ms_ + first_after_ms;
}

void Progress::add(uint64_t done) {
  done_ += done;
  if (!active_) return;
  int64_t now = monotonic_ms();
  if (now >= next_ms_) draw(now);
}

void Progress::draw(int64_t now) {
  next_ms_ = now + redraw_ms;
  std::string line = what_ + " " + std::to_string(done_);
  if (total_ > 0) line += " of " + std::to_string(total_) + " (" + std::to_string(100 * std::min(done_, total_) / total_) + "%)";
  int64_t elapsed = std::max<int64_t>(now - started_ms_, 1);
  line += ", " + std::to_string(done_ * 1000 / static_cast<uint64_t>(elapsed)) + "/s";
  if (size_t columns = terminal_columns(2); columns > 0 && line.size() >= columns) line.resize(columns - 1);
  write_stderr("\r" + line + "\x1b[K");
  drawn_ = true;
}

void Progress::erase() {
  if (drawn_) write_stderr("\r\x1b[K");
  drawn_ = false;
}

}  // namespace gw
