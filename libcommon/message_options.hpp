// MSG of CLI.md section 2: what gw-send, queue-inspect put and instance-map send have in common: options, standard headers,
// and the sources of bodies (FILE, stdin, --lines, -0, --from-dir).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "message.hpp"
#include "queue.hpp"
#include "tool.hpp"

namespace gw {

struct MessageOptions {
  std::string type, content_type, id, file, from_dir;
  std::vector<std::string> headers;  ///< NAME=VALUE
  std::vector<std::string> attachments;  ///< KEY=FILE
  std::string ttl, delay, at, unique_for;
  bool unique = false, lines = false, nul = false, follow = false, ids = false;
  uint64_t batch = 64;
  /// none: the command reads FILE itself, with other words.
  enum class Positional { file, none };
};
/// Adds the options and the positional FILE; a command's own positionals come before the call.
void define_message_options(CLI::App& app, MessageOptions& into, MessageOptions::Positional positional = MessageOptions::Positional::file);

inline constexpr int64_t unique_for_ms_default = 7ll * 24 * 3600 * 1000;

/// One message that is ready to be stored. `key_id`: the caller named the id (--id, --unique), or a file did (--from-dir): put
/// it with a DedupKey.
struct Draft {
  Message message;
  int64_t due_at_ms = 0;
  bool key_id = false;
  std::array<unsigned char, 32> body_sha256{};  ///< set if key_id
  int64_t unique_for_ms = unique_for_ms_default;
  std::string from_path;  ///< --from-dir: where it came from

  // What the store knows of it, for --json and for streams of which a part is refused.
  std::optional<Error> error;        ///< this one alone was not stored, though its batch was
  std::vector<std::string> sites;    ///< gw-send: where it goes
  std::vector<std::string> queues;   ///< where it was put
  std::string endpoint;              ///< instance-map: whose instance got it, or who published it; empty: not sent by the map
  std::string address;               ///< with endpoint: the instance
  std::optional<std::vector<std::string>> addresses;  ///< with endpoint: those of the copies of an event
  uint64_t seq = 0;                  ///< its number, if there is one queue
};

/// Called with one batch at a time; stores it durably and returns for each its outcome (any where Draft::error is set). It may
/// move the messages out of the drafts.
/// An error ends the command; what the same call stored before it counts as not told.
using StoreBatch = std::function<Result<std::vector<PutOutcome>>(std::vector<Draft>& drafts)>;

/// Validates the options, opens and reads the source, builds drafts with the standard headers (MessageId, CorrelationId, ConversationId, MessageIntent
/// Send, TimeSent, OriginatingMachine, OriginatingEndpoint if given, ContentType, EnclosedMessageTypes, TimeToBeReceived; --header wins)
/// and gives them to `store` in batches (CLI.md section 2). Opens FILE before the root: `open_files` first, then `run`.
class MessageSource {
 public:
  /// usage: options that contradict each other or cannot be read. no_input: FILE or DIR cannot be opened.
  static Result<MessageSource> open_files(const MessageOptions& options, const CommonOptions& common);
  MessageSource(MessageSource&&) noexcept;
  ~MessageSource();
  /// Headers that every message gets instead of the standard ones of these names; --header wins.
  void preset_headers(Headers headers);
  /// Called about once a second while a stream or directory has nothing new; an error ends the command.
  void on_idle(std::function<Result<void>()> look);
  /// Called on SIGHUP with --follow; an error ends the command. Without it SIGHUP changes nothing.
  void on_reload(std::function<Result<void>()> read_again);
  /// `endpoint`: OriginatingEndpoint, may be empty. Prints ids as CLI.md says unless `print_ids` is false. Returns the exit code.
  /// bad_data: an id is there already with another body.
  Result<ExitCode> run(Root& root, const std::string& endpoint, const StoreBatch& store, bool print_ids = true);
  /// What run() would store of the one message, without a root: the body is read and counted. usage: it is a stream.
  struct Preview {
    Message message;  ///< without its body
    uint64_t body_bytes = 0;
    int64_t due_at_ms = 0;
  };
  Result<Preview> preview(const std::string& machine, const std::string& endpoint);
  /// The ids that run() stored or found stored already; kept only if asked for before run().
  void keep_ids();
  const std::vector<std::string>& ids() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  explicit MessageSource(std::unique_ptr<Impl> impl);
};

}  // namespace gw
