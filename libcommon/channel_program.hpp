// Channel programs: executables gw-channel-TYPE that carry messages over channels which are not built in (gw-channel(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "process.hpp"
#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// A running channel program. Used by the thread that started it, which must live as long as it does. What it writes on
/// stderr becomes events, line by line, while one of the functions below waits.
class ChannelProgram {
 public:
  struct Spec {
    std::string program, type, direction, address;  ///< direction: send or receive
  };
  enum class Io { done, closed, timed_out, interrupted };

  /// Fails as Child::start does.
  static Result<ChannelProgram> start(Spec spec);
  ChannelProgram(ChannelProgram&&) = default;
  ChannelProgram& operator=(ChannelProgram&&) = default;
  /// Kills it and what it started, if it still runs.
  ~ChannelProgram() = default;

  /// Writes all of it. `timeout_ms`: without progress. `interrupt`: readable when somebody wants this to end; -1: nobody.
  Io write(std::string_view bytes, int64_t timeout_ms, int interrupt);
  /// Some bytes. timeout_ms < 0: for ever.
  Io read(char* into, size_t room, size_t& got, int64_t timeout_ms, int interrupt);
  /// While nothing is asked of it: `interrupted`, or `closed` when it ended or wrote something.
  Io idle(int interrupt);
  /// Did it end, close its output, or write what nobody asked for?
  bool usable();
  /// Closes its stdin: it is to finish. Waits for its end, at most so long.
  void finish(int64_t timeout_ms);
  /// Why it does not answer any more: how it ended, and its last line on stderr. Waits a moment for the end, then kills it.
  std::string last_words();

 private:
  ChannelProgram(Spec spec, Child child) : spec_(std::move(spec)), child_(std::move(child)) {}
  Io wait(int fd, short events, int64_t timeout_ms, int interrupt);
  void read_stderr();
  void tell(std::string_view line);

  Spec spec_;
  Child child_;
  UniqueFd in_, out_, err_;  // our ends of its descriptors 0 to 2
  std::string err_line_, last_line_;
  std::optional<ChildEnd> end_;
};

}  // namespace gw
