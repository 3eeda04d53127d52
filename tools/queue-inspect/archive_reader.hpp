// Archives of messages, as export writes them and import reads them.
//
//   QUEUE/              directory, one for each queue; records GATEPOST.format, GATEPOST.max_bytes, GATEPOST.journal, and of a queue that is
//                       held GATEPOST.takes, GATEPOST.puts (off), GATEPOST.hold_reason
//   QUEUE/SEQ.blob.N    a blob of the data bus; record GATEPOST.property: what stands behind NServiceBus.DataBus. in the header's name
//   QUEUE/SEQ.body      the body
//   QUEUE/SEQ.headers   the headers as text; records GATEPOST.queue, .seq, .state, .put_at, .due_at, .expires_at, .failures, .body_sha256,
//                       .blob_sha256.N
//
// and, of a whole root, behind all that:
//
//   +root/              directory; records GATEPOST.format, .machine, .exported_at (when it was begun)
//   +root/gone          lines QUEUE FROM TO: the numbers of exported messages that had left their queue when the export ended
//   +root/PATH          a file below the root: the databases of ids, outcomes and subscriptions, what instance-map knows; record
//                       GATEPOST.sha256
//
// The headers come second, so that their records can vouch for a body that was streamed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hash.hpp"
#include "message.hpp"
#include "queue.hpp"
#include "tar.hpp"

namespace gw::inspect {

inline constexpr const char* archive_format = "1";
inline constexpr std::string_view archive_state_prefix = "+root/", archive_gone_name = "gone";
inline constexpr size_t archive_chunk_bytes = 256 * 1024;

/// One message of an archive.
struct ArchivedMessage {
  std::string queue;  ///< as the archive has it
  uint64_t seq = 0;
  std::string put_at;
  int64_t put_at_ms = 0, due_at_ms = 0, expires_at_ms = 0;
  unsigned failures = 0;
  Headers headers;
  Sha256 body_sha256{};
  uint64_t body_bytes = 0;
  std::string member;
};

/// How a queue was held.
struct ArchivedHold {
  bool takes_on = true, puts_on = true;
  std::string reason;
};

/// "member 'x': what"
Error bad_member(const std::string& member, const std::string& what);

/// Reads one archive; what to do with it is up to the caller.
class ArchiveReader {
 public:
  /// What is not asked for is read and checked all the same.
  struct Visitor {
    std::function<Result<void>(const std::string& queue, const QueueConfig&, const ArchivedHold&)> on_queue = [](const auto&...) { return Result<void>(); };
    std::function<Result<void>(const std::string& header)> on_blob = [](const auto&) { return Result<void>(); };
    std::function<Result<void>(std::string_view)> on_blob_bytes = [](std::string_view) { return Result<void>(); };
    std::function<Result<void>()> on_blob_end = [] { return Result<void>(); };
    std::function<void()> on_body = [] {};
    std::function<Result<void>(std::string_view)> on_body_bytes = [](std::string_view) { return Result<void>(); };
    std::function<Result<void>(ArchivedMessage&&)> on_message = [](ArchivedMessage&&) { return Result<void>(); };
    std::function<Result<void>(const std::string& machine, int64_t exported_at_ms)> on_root = [](const auto&...) { return Result<void>(); };
    std::function<Result<void>(const std::string& path)> on_state = [](const auto&) { return Result<void>(); };
    std::function<Result<void>(std::string_view)> on_state_bytes = [](std::string_view) { return Result<void>(); };
    std::function<Result<void>()> on_state_end = [] { return Result<void>(); };  ///< the bytes are those that were exported
  };

  /// From the beginning of `fd`. bad_data: not such an archive, damaged or cut off, naming the member.
  static Result<void> read(int fd, const Visitor& visitor);

 private:
  ArchiveReader(int fd, const Visitor& visitor);
  Result<size_t> fill(int fd, char* into, size_t size);
  Result<void> run();
  Result<void> one_member(const TarMember& member);
  Result<void> root_member(const TarMember& member);
  Result<void> state_member(const TarMember& member, const std::string& path);
  Result<void> queue_member(const TarMember& member, const std::string& queue);
  Result<std::string> contents(const TarMember& member, const std::function<Result<void>(std::string_view)>& on_bytes);
  Result<void> blob_member(const TarMember& member, const std::string& base);
  Result<void> body_member(const TarMember& member, const std::string& base);
  Result<void> headers_member(const TarMember& member, const std::string& base, const std::string& queue);
  Result<void> check_sums(const TarMember& member, const std::string& base);

  const Visitor& visitor_;
  std::string buffer_;
  size_t at_ = 0, end_ = 0;
  TarReader tar_;
  std::string body_of_, blobs_of_;
  std::vector<std::string> blob_sums_;
  uint64_t body_bytes_ = 0;
  Sha256 digest_{};
};

}  // namespace gw::inspect
