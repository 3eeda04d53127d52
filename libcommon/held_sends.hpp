// What a handler sends is held in its outbox, a directory that the worker makes for each attempt (GW_OUTBOX), and leaves in the same
// commit as the acknowledgement of the handler's message. A handler that fails has sent nothing. The files are described in gw-queue(5).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "message.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw {

/// Is this process part of a handler whose sends are held? (GW_OUTBOX is set and not empty.)
bool inside_handler();
/// The headers of the message that a handler works on, from the file that GW_HEADERS_FILE names. bad_data: it holds no headers.
Result<Headers> read_headers_file(const std::string& path);
/// The same of this process's own environment. nullopt: there is none.
std::optional<Headers> incoming_headers();
/// What a message that is sent on account of `incoming` inherits: RelatedTo, CorrelationId and ConversationId.
Headers related_headers(const Headers& incoming);
/// The ids of one that is sent on account of none: its own, which is its CorrelationId, and a ConversationId.
Headers unrelated_headers();

/// As Root::commit_all for transactions that only put; inside of a handler of the same root they are held instead, all or none: the
/// results are PutOutcome::stored without a number.
/// no_input: the handler has ended meanwhile.
std::vector<Result<CommitResult>> commit_or_hold(Root& root, std::vector<Transaction>&& transactions);

/// What an outbox is renamed to when it is taken.
inline constexpr std::string_view outbox_sealed_suffix = ".sealed";

/// One message of an outbox.
struct HeldSend {
  std::string queue;
  Message message;  ///< a large body is a file in the outbox: commit it before the directory goes
  PutOptions options;
};
/// For the worker when the handler has ended well: everything in the outbox, in the order in which it was sent; from here on nobody can
/// hold anything there. bad_data: a file in it is not what gw-queue(5) describes, or one id was sent twice with two bodies.
Result<std::vector<HeldSend>> take_held_sends(const std::string& outbox);
/// Before an outbox is removed, committed or not: blobs of the data bus that it holds and no message names go.
void release_held_blobs(const std::string& outbox);

}  // namespace gw
