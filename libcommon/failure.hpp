// The headers that tell why a message lies in an error queue, in the names that NServiceBus tools read.
#pragma once

#include <cstdint>
#include <string>

#include "message.hpp"
#include "queue.hpp"

namespace gw {

inline constexpr size_t failure_message_bytes_max = 16384;  ///< longer texts are cut, as in the original

/// Why and where a message failed for good.
struct Failure {
  std::string failed_queue;         ///< `queue@machine` it goes back to when somebody returns it
  std::string exception_type;       ///< "Gatepost.TransferFailed"
  std::string message;              ///< one sentence: status and reason, exit status and last line
  std::string stack_trace;          ///< more of the same, several lines; may be empty
  std::string source;               ///< which program; may be empty
  std::string processing_endpoint;  ///< may be empty
  std::string processing_machine;
  int64_t at_us = 0;                ///< microseconds since 1970
};

/// Makes `headers` those of a message in the error queue: adds what `failure` says, drops the counters of retries
/// (NServiceBus.Retries, NServiceBus.FLRetries) and keeps NServiceBus.Retries.Timestamp. Older failure headers are replaced; other headers
/// of the same names are kept as Gatepost.Original.NAME.
void add_failure_headers(Headers& headers, const Failure& failure);

/// The inverse, for a message that goes back: its headers as they were before it failed, in their order; what counted retries is gone.
void restore_headers(Headers& headers);

/// An operator returned the message: no further retries, the first failure brings it back. The mark goes along to other machines; no handler
/// and no other site sees it.
inline constexpr std::string_view returned_header = "Gatepost.Returned";
void mark_returned(Headers& headers);
bool is_returned(const Headers& headers);
/// The headers without the mark. A copy is made into `room` only if there is one.
const Headers& without_mark(const Headers& headers, Headers& room);

/// How a message goes into an error or audit queue: those are read by people, for whom nothing is too late.
/// `expires_at_ms`: when it expires where it is, 0: never.
PutOptions for_a_person(int64_t expires_at_ms);

}  // namespace gw
