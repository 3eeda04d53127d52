// Who gives messages to handlers: one process for each message, or one process for many.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <vector>

#include "attempt_table.hpp"
#include "handler.hpp"
#include "settler.hpp"

namespace gw::distributor {

/// What a runner did with a message that it was given.
enum class Started {
  yes,
  not_now,   ///< no room (processes, descriptors, disk): the claim was given back; again later
  settled,   ///< nobody can handle this one: it went to the settler
};

class Runner {
 public:
  virtual ~Runner() = default;
  virtual size_t in_flight() const = 0;
  /// Is there a process? After finish() it goes when it has ended.
  virtual bool running() const { return in_flight() > 0; }
  /// May it be given messages now? When not, next_deadline_ms() says when to ask again.
  virtual bool ready() const { return true; }
  /// config: the command cannot be executed; the claim was given back with no attempt used.
  virtual Result<Started> start(Claim&& claim, Settler& settler) = 0;
  virtual void add_poll(std::vector<pollfd>& items) const = 0;
  /// When step() must be called at the latest (monotonic); INT64_MAX: no need.
  virtual int64_t next_deadline_ms() const = 0;
  /// Gives what ended to the settler. Never blocks on a handler. io_error: output could not be written, or the command cannot be executed.
  virtual Result<void> step(Settler& settler) = 0;
  /// No more messages will come.
  virtual void finish() {}
  /// Kills what still runs; step() then gives it back.
  virtual void kill() = 0;
};

/// `give_up`: asked while a reader of our own output does not read.
std::unique_ptr<Runner> make_process_runner(const HandlerSettings& settings, ScratchDir& scratch, AttemptTable& attempts,
                                            std::function<bool()> give_up);
/// `binary`: frames instead of lines.
std::unique_ptr<Runner> make_stream_runner(const HandlerSettings& settings, AttemptTable& attempts, Root& root, bool binary);

}  // namespace gw::distributor
