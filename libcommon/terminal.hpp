// What is only for a person who looks at a terminal: its width, and a line of progress on stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gw {

bool is_terminal(int fd);
/// Columns of the terminal, 0 if `fd` is none or does not say.
size_t terminal_columns(int fd);

/// "moved 1200 of 5000 (24%), 800/s, 5s left". `total` 0: unknown, then `part` of the way done says how far it is (negative: unknown).
std::string progress_text(std::string_view what, uint64_t done, uint64_t total, double part, int64_t elapsed_ms);

/// One line on stderr that says how far long work has come, how fast, and how long it will take. Silent unless stderr is a terminal, and in the first half second.
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
  /// Where `total` is unknown: which part of the way (0 to 1) is done.
  void set_part(double part) { part_ = part; }
  void erase();

 private:
  void draw(int64_t now);

  std::string what_;
  uint64_t total_, done_ = 0;
  double part_ = -1;
  bool active_, drawn_ = false;
  int64_t started_ms_, next_ms_;
};

}  // namespace gw
