// Channels whose messages a program brings (gw-channel(7)): for each, as many programs as it may have at once, each with a thread that
// starts it, reads its messages and answers.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "channel.hpp"
#include "receive.hpp"
#include "result.hpp"

namespace gw::listen {

class ProgramChannels {
 public:
  explicit ProgramChannels(const Receiver& receiver);
  /// As stop(0).
  ~ProgramChannels();
  ProgramChannels(const ProgramChannels&) = delete;
  ProgramChannels& operator=(const ProgramChannels&) = delete;

  /// Starts the programs of these channels and lets others end; those that stay get the new limits.
  /// A program that does not start or ends is started again, after 1 s, 2 s, ... 60 s.
  void use(const std::vector<Channel>& channels);
  /// Waits a moment until each channel's first program has said its version. protocol: it is another one.
  Result<void> wait_for_first_words();
  /// Each program gets the end of its input once its message is answered, and has the rest of the time to end.
  void stop(int64_t grace_ms);

 private:
  class Line;
  const Receiver& receiver_;
  std::vector<std::unique_ptr<Line>> lines_, retiring_;
};

}  // namespace gw::listen
