// What is only for a person who looks at a terminal: its width, and a line of progress on stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gw {

bool is_terminal(int fd);
/// Columns of the terminal, 0 if `fd` is none or does not say.
size_t terminal_columns(int fd);

/// One line on stderr that says how far long work has come. Silent unless stderr is a terminal, and in the first half second.
/// Erased when it ends: do so before anything else is written to stderr.
class Progress {
 public:
  enum class Show { if_terminal, never };
  /// `total` 0: unknown.
  Progress(std::string what, uint64_t total, Show show);
  ~Progress() { erase(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void add(uint64_t done);
  void erase();

 private:
  void draw(int64_t now);

  std::string what_;
  uint64_t total_, done_ = 0;
  bool active_, drawn_ = false;
  int64_t started_ms_, next_ms_;
};

}  // namespace gw
