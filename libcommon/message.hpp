// A message: headers and a body of bytes. Names and text forms as in NServiceBus (DESIGN.md section 5).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

namespace header {
inline constexpr std::string_view message_id = "NServiceBus.MessageId";
inline constexpr std::string_view correlation_id = "NServiceBus.CorrelationId";
inline constexpr std::string_view conversation_id = "NServiceBus.ConversationId";
inline constexpr std::string_view related_to = "NServiceBus.RelatedTo";
inline constexpr std::string_view message_intent = "NServiceBus.MessageIntent";
inline constexpr std::string_view enclosed_message_types = "NServiceBus.EnclosedMessageTypes";
inline constexpr std::string_view content_type = "NServiceBus.ContentType";
inline constexpr std::string_view time_sent = "NServiceBus.TimeSent";
inline constexpr std::string_view reply_to_address = "NServiceBus.ReplyToAddress";
inline constexpr std::string_view originating_endpoint = "NServiceBus.OriginatingEndpoint";
inline constexpr std::string_view originating_machine = "NServiceBus.OriginatingMachine";
inline constexpr std::string_view originating_site = "NServiceBus.OriginatingSite";
inline constexpr std::string_view legacy_mode = "NServiceBus.Gateway.LegacyMode";
inline constexpr std::string_view destination_sites = "NServiceBus.DestinationSites";
inline constexpr std::string_view time_to_be_received = "NServiceBus.TimeToBeReceived";
inline constexpr std::string_view retries = "NServiceBus.Retries";
inline constexpr std::string_view retries_timestamp = "NServiceBus.Retries.Timestamp";
inline constexpr std::string_view failed_q = "NServiceBus.FailedQ";
inline constexpr std::string_view time_of_failure = "NServiceBus.TimeOfFailure";
inline constexpr std::string_view exception_type = "NServiceBus.ExceptionInfo.ExceptionType";
inline constexpr std::string_view exception_message = "NServiceBus.ExceptionInfo.Message";
inline constexpr std::string_view exception_stack = "NServiceBus.ExceptionInfo.StackTrace";
inline constexpr std::string_view processing_endpoint = "NServiceBus.ProcessingEndpoint";
inline constexpr std::string_view processing_machine = "NServiceBus.ProcessingMachine";
inline constexpr std::string_view file_name = "Gatepost.FileName";
inline constexpr std::string_view data_bus_prefix = "NServiceBus.DataBus.";  ///< of properties; the value is the key of a blob
}  // namespace header

inline constexpr size_t message_id_bytes_max = 255;
inline constexpr size_t headers_bytes_max = 1 << 20;  ///< all header names and values of one message
inline constexpr size_t inline_body_bytes_max = 64 * 1024;  ///< larger bodies are files beside the log

/// Headers in the order in which they were set; names compare without case, and keep the case they came with.
class Headers {
 public:
  struct Entry {
    std::string name, value;
  };
  /// Replaces the value if the name is there, else appends.
  void set(std::string_view name, std::string_view value);
  /// nullptr if absent.
  const std::string* find(std::string_view name) const;
  /// The value or "".
  std::string_view get(std::string_view name) const;
  bool remove(std::string_view name);
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }
  bool operator==(const Headers& other) const;

 private:
  std::vector<Entry> entries_;
};

/// A body that lives in a file. The file stays readable through `fd` as long as this object lives, whatever its name does.
struct BodyFile {
  UniqueFd fd;
  uint64_t bytes = 0;
  std::string path;        ///< absolute; may be gone after the message was acked
  bool unlink_on_close = false;  ///< a spill file that no message owns yet
  bool synced = false;
  uint32_t crc = 0;        ///< CRC32C of the contents
  ~BodyFile();
};

/// Bytes in memory or in a file; copies share the file.
class Body {
 public:
  Body() = default;
  explicit Body(std::string bytes) : bytes_(std::move(bytes)) {}
  explicit Body(std::shared_ptr<BodyFile> file) : file_(std::move(file)) {}

  uint64_t size() const { return file_ ? file_->bytes : bytes_.size(); }
  bool is_file() const { return file_ != nullptr; }
  const std::shared_ptr<BodyFile>& file() const { return file_; }
  /// Only if !is_file().
  const std::string& bytes() const { return bytes_; }
  /// The whole body in memory; fails with bad_data above `limit` bytes.
  Result<std::string> read_all(uint64_t limit = UINT64_MAX) const;
  /// Up to `length` bytes from `offset`; fewer only at the end.
  Result<std::string> read_at(uint64_t offset, size_t length) const;
  /// A new descriptor at offset 0, read-only and seekable (a memfd for bytes).
  Result<UniqueFd> open() const;
  /// Writes all of it to `fd`, with constant memory.
  Result<void> copy_to(int fd) const;

 private:
  std::string bytes_;
  std::shared_ptr<BodyFile> file_;
};

struct Message {
  Headers headers;
  Body body;
  std::string id() const { return std::string(headers.get(header::message_id)); }
};

/// A new random id: lower-case UUID, version 4.
std::string new_message_id();
/// 1 to 255 bytes, valid UTF-8, no control bytes.
bool message_id_ok(std::string_view id);
/// The first enclosed type without its assembly ("Prices.PriceUpdated"), or "".
std::string message_type(const Headers& headers);
/// When a message expires (ms since 1970): TimeSent + TimeToBeReceived; 0: never (absent, unreadable, or the maximum).
int64_t expires_at_ms(const Headers& headers);

/// Text form: `Name: value` lines with LF; control bytes and % in values (and in names also ':' and ' ') percent-encoded.
std::string headers_to_text(const Headers& headers);
/// Inverse. Fails with bad_data naming the line.
Result<Headers> headers_from_text(std::string_view text);

/// Binary form inside a queue's frames (gw-queue(5)): for each header u16 name length, u32 value length (little endian), name, value.
std::string encode_headers(const Headers& headers);
/// Fails with bad_data if `bytes` is not exactly such a sequence.
Result<Headers> decode_headers(std::string_view bytes);

}  // namespace gw
