// One message, one run of a handler: its environment, its files, its output, its time limit and how it ended. CLI.md calls this
// the handler's contract; what follows from the outcome (ack, retry, error queue) is the worker's business.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "held_sends.hpp"
#include "open_attachments.hpp"
#include "process.hpp"
#include "queue.hpp"
#include "result.hpp"

struct pollfd;

namespace gw {

/// A private directory for the files of handlers, in `parent`, by default TMPDIR. Its owner holds a lock on it, so directories of dead
/// owners are known for sure; create() removes those. One thread.
class ScratchDir {
 public:
  static Result<std::unique_ptr<ScratchDir>> create(const std::string& parent = "");
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }
  /// Writes a whole file of mode 0600. not_now if the file system is full.
  Result<void> write(const std::string& name, std::string_view bytes);
  /// A file, or a directory with all that is in it.
  void remove(const std::string& name);
  /// Makes a directory of mode 0700, empty. Its path.
  Result<std::string> make_directory(const std::string& name);
  /// A file without a name, for reading and writing.
  Result<UniqueFd> temporary();

 private:
  ScratchDir(std::string path, UniqueFd dir) : path_(std::move(path)), dir_(std::move(dir)) {}
  static void sweep(const std::string& parent);
  Result<void> make_again();
  std::string path_;
  UniqueFd dir_;
};

/// What a handler wrote to one stream: in memory, beyond a limit in a temporary file.
class Output {
 public:
  static constexpr size_t tail_bytes_max = 4096;
  explicit Output(ScratchDir& scratch) : scratch_(scratch) {}
  void append(std::string_view bytes);
  /// Writes all of it, in pieces that a pipe takes at once. While the reader does not read, `give_up` is asked five times a second.
  /// io_error: the reader is gone, the disk is full, or it gave up.
  Result<void> write_to(int fd, const std::function<bool()>& give_up) const;
  /// The last 4 KiB.
  const std::string& tail() const { return tail_; }
  bool empty() const { return memory_.empty() && spilled_ == 0; }
  uint64_t size() const { return spilled_ + memory_.size(); }
  bool ends_line() const { return tail_.empty() || tail_.back() == '\n'; }

 private:
  ScratchDir& scratch_;
  std::string memory_, tail_;
  UniqueFd spill_;
  uint64_t spilled_ = 0;  // bytes in spill_, before those in memory_
};

/// What all runs of a worker have in common.
struct HandlerSettings {
  std::string program;                 ///< see find_program
  std::vector<std::string> arguments;  ///< argv[0] included
  std::string queue, endpoint, root;   ///< GW_QUEUE, GW_ENDPOINT, GW_ROOT
  std::string config;                  ///< GW_CONFIG; empty: not set
  std::string config_path;             ///< where the configuration is, or would be
  std::vector<std::string> more_environment;  ///< NAME=value, beside those
  int64_t timeout_ms = 0;              ///< 0: none
  bool body_as_argument = false;       ///< {} in an argument is the body
  ScratchDir* outboxes = nullptr;      ///< where each run gets its GW_OUTBOX; none: what a handler sends is sent at once
};

struct HandlerOutcome {
  ChildEnd end;
  bool timed_out = false;
  bool stopped = false;    ///< killed because the worker stops: no attempt
  int64_t timeout_ms = 0;  ///< the limit it exceeded
  std::string tail;        ///< the last 4 KiB of its stderr
  bool ok() const { return !timed_out && !stopped && end.signal == 0 && end.exit_status == 0; }
};

/// `exit 3`, `signal 9 (SIGKILL)`, `timed out after 1s`.
std::string describe_end(const HandlerOutcome& outcome);
/// With the tail of stderr behind a colon: the reason of a failed attempt.
std::string failure_reason(const HandlerOutcome& outcome);
/// With the last line of stderr behind a colon: the same for an event.
std::string failure_summary(const HandlerOutcome& outcome);

/// 64 hexadecimal digits that name a message of a queue for ever: SHA-256 of queue (the endpoint's, whichever worker has it), NUL and id. A message without id gets a key from its
/// number.
std::string message_key(const std::string& queue, const std::string& id, uint64_t seq);
/// This process's environment with the GW_ variables of one message; without GW_OUTBOX if `outbox` is empty. Values that cannot stand in an environment (NUL, over 64 KiB) are left
/// out.
std::vector<std::string> handler_environment(const HandlerSettings& settings, const MessageInfo& info, const Message& message,
                                             const std::string& headers_file, const std::string& body_file,
                                             const std::string& outbox = "", const std::string& attachments = "");

/// The environment of a handler that gets many messages: nothing of any of them.
std::vector<std::string> stream_environment(const HandlerSettings& settings);

/// A running handler. All calls from the thread that started it.
class HandlerRun {
 public:
  static constexpr int64_t kill_after_term_ms = 10'000;

  /// config: the command cannot be executed. bad_data: the message's body or an attachment cannot be read, or the body cannot be an
  /// argument. Anything else: there is no room for it now
  /// (processes, descriptors, disk).
  static Result<std::unique_ptr<HandlerRun>> start(const HandlerSettings& settings, ScratchDir& scratch, const MessageInfo& info,
                                                   const Message& message);
  ~HandlerRun();

  /// Appends what poll() must look at.
  void add_poll(std::vector<pollfd>& items) const;
  /// When step() must be called at the latest (monotonic milliseconds); INT64_MAX: no limit.
  int64_t next_deadline_ms() const;
  /// Reads what there is, keeps the time limit; true when the handler has ended. Never blocks.
  bool step();
  /// Kills its process group; it ends as `stopped`.
  void stop();

  const HandlerOutcome& outcome() const { return outcome_; }
  /// The directory with what it has sent (held_sends); empty: none.
  const std::string& outbox() const { return outbox_; }
  const Output& standard_output() const { return out_; }
  const Output& standard_error() const { return err_; }
  /// Wall clock milliseconds.
  int64_t started_at_ms() const { return started_at_ms_; }

 private:
  HandlerRun(Child child, ScratchDir& scratch) : child_(std::move(child)), scratch_(scratch), out_(scratch), err_(scratch) {}
  void read_output();
  void keep_time(int64_t now);

  Child child_;
  ScratchDir& scratch_;
  std::vector<std::string> files_;
  std::string outbox_, outbox_name_;
  ScratchDir* outboxes_ = nullptr;
  std::optional<OpenAttachments> attachments_;
  UniqueFd out_pipe_, err_pipe_;
  Output out_, err_;
  HandlerOutcome outcome_;
  int64_t started_at_ms_ = 0, term_at_ms_ = INT64_MAX, kill_at_ms_ = INT64_MAX;
};

}  // namespace gw
