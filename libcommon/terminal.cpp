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

std::string progress_text(std::string_view what, uint64_t done, uint64_t total, double part, int64_t elapsed_ms) {
  elapsed_ms = std::max<int64_t>(elapsed_ms, 1);
  std::string line = std::string(what) + " " + std::to_string(done);
  if (total > 0) {
    part = static_cast<double>(std::min(done, total)) / static_cast<double>(total);
    line += " of " + std::to_string(total);
  }
  part = std::min(part, 1.0);
  if (part >= 0) line += " (" + std::to_string(static_cast<int>(part * 100)) + "%)";
  line += ", " + std::to_string(done * 1000 / static_cast<uint64_t>(elapsed_ms)) + "/s";
  if (part > 0 && part < 1) {
    const auto left_s = static_cast<int64_t>(static_cast<double>(elapsed_ms) * (1 - part) / part / 1000);
    line += ", " + human_duration(std::min<int64_t>(left_s, 999 * 24 * 3600) * 1000) + " left";
  }
  return line;
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
  std::string line = progress_text(what_, done_, total_, part_, now - started_ms_);
  if (size_t columns = terminal_columns(2); columns > 0 && line.size() >= columns) line.resize(columns - 1);
  write_stderr("\r" + line + "\x1b[K");
  drawn_ = true;
}

void Progress::erase() {
  if (drawn_) write_stderr("\r\x1b[K");
  drawn_ = false;
}

}  // namespace gw
