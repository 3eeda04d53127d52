// A terminal as a picture that changes: the alternate screen, of which only lines that differ are written. Nothing is read from it.
#pragma once

#include <termios.h>

#include <string>
#include <vector>

#include "result.hpp"

namespace gw::inspect {

struct ScreenSize {
  size_t columns = 80, rows = 24;
};

/// What has to be written to turn `before` into `after` on a screen; each line is one row, shown as it is.
std::string screen_changes(const std::vector<std::string>& before, const std::vector<std::string>& after);

/// One for the process, on standard output. Its destructor gives the terminal back as it was.
class Screen {
 public:
  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  ScreenSize size() const;
  /// Lines beyond the screen's rows are left out. io_error: the terminal is gone.
  Result<void> draw(std::vector<std::string> lines);
  /// Becomes readable when the window has another size or the process was asked to stop (Ctrl-Z).
  int wake_fd() const { return wake_; }
  /// To be called then. Stops the process if that was asked, and returns when it goes on; the next draw() writes all lines.
  Result<void> woken();

 private:
  Result<void> enter();
  void leave();

  std::vector<std::string> shown_;
  termios before_{};
  bool had_modes_ = false, entered_ = false;
  int wake_ = -1;
};

}  // namespace gw::inspect
