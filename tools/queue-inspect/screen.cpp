#include "screen.hpp"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>

#include "tool.hpp"

namespace gw::inspect {
namespace {

// The alternate screen, no cursor, no wrapping of long lines; and all of it back.
constexpr std::string_view begin_drawing = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J", end_drawing = "\x1b[?7h\x1b[?25h\x1b[?1049l";

int wake_event = -1;
std::atomic<bool> stop_asked{false};

void handle(int number) {
  const int saved = errno;
  if (number == SIGTSTP) stop_asked = true;
  const uint64_t one = 1;
  [[maybe_unused]] auto ignored = ::write(wake_event, &one, sizeof one);
  errno = saved;
}

}  // namespace

std::string screen_changes(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  std::string bytes;
  for (size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    const bool gone = i >= after.size();
    if (i < before.size() && !gone && before[i] == after[i]) continue;
    bytes += "\x1b[" + std::to_string(i + 1) + ";1H" + (gone ? "" : after[i]) + "\x1b[K";
  }
  return bytes;
}

Screen::Screen() {
  wake_ = wake_event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};
  action.sa_handler = handle;
  action.sa_flags = SA_RESTART;
  for (int number : {SIGWINCH, SIGTSTP}) ::sigaction(number, &action, nullptr);
}

Screen::~Screen() { leave(); }

Result<void> Screen::enter() {
  entered_ = true;
  shown_.clear();
  // What is typed would stand in the middle of the picture. Nobody reads it.
  had_modes_ = ::tcgetattr(STDOUT_FILENO, &before_) == 0;
  if (had_modes_) {
    termios quiet = before_;
    quiet.c_lflag &= static_cast<tcflag_t>(~ECHO);
    ::tcsetattr(STDOUT_FILENO, TCSANOW, &quiet);
  }
  out(begin_drawing);
  return flush_stdout();
}

void Screen::leave() {
  if (!entered_) return;
  entered_ = false;
  out(end_drawing);
  [[maybe_unused]] auto ignored = flush_stdout();
  if (!had_modes_) return;
  ::tcflush(STDOUT_FILENO, TCIFLUSH);  // keys that were meant for us are no commands for the shell
  ::tcsetattr(STDOUT_FILENO, TCSANOW, &before_);
}

ScreenSize Screen::size() const {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

Result<void> Screen::draw(std::vector<std::string> lines) {
  if (!entered_) GW_TRY(enter());
  if (const size_t rows = size().rows; lines.size() > rows) lines.resize(rows);
  out(screen_changes(shown_, lines));
  shown_ = std::move(lines);
  return flush_stdout();
}

Result<void> Screen::woken() {
  eventfd_t count = 0;
  ::eventfd_read(wake_, &count);
  leave();
  if (stop_asked.exchange(false)) ::raise(SIGSTOP);
  return enter();
}

}  // namespace gw::inspect
