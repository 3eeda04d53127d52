// Who sends to the instances of an endpoint, and with which map. Every message that the map sends says so; a sender whose map loses an
// instance says it in one control message behind its last one there. So a receiver knows when nothing more can come.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "map_state.hpp"
#include "message.hpp"
#include "result.hpp"

namespace gw {

namespace header {
inline constexpr std::string_view map_version = "Gatepost.MapVersion";  ///< of the map that chose the instance
inline constexpr std::string_view map_sender = "Gatepost.Sender";       ///< ENDPOINT@MACHINE or MACHINE
}  // namespace header

/// What the type of the control message says.
inline constexpr std::string_view map_version_type = "Gatepost.MapVersion";
bool is_map_version_message(const Headers& headers);
/// "From here on my map does not have you any more."
Message map_version_message(std::string_view sender, std::string_view machine, std::string_view version);

/// Takes off what the sender's map said, before the message goes to an instance which that map has not chosen.
void forget_map(Headers& headers);

/// The name of whoever sends a message with these headers from `machine`: its endpoint and machine, or the machine alone.
std::string sender_of(const Headers& headers, std::string_view machine);

/// What is known of one sender.
struct KnownSender {
  bool of_this_root = false;  ///< then `target` is the endpoint it sends to, else the queue here that gets its messages
  std::string target, sender, machine;
  std::string map_version;    ///< of_this_root: not kept here, it is what the root uses
  int64_t since_ms = 0;
  bool left = false;          ///< its map does not have the queue any more
  bool put_back = false;      ///< since then the queue was put into the map again: what is known proves nothing
  bool operator==(const KnownSender&) const = default;
};

Result<std::vector<KnownSender>> read_senders(const MapState& state);
/// Adds it or replaces what was known. Durable; nothing is written if nothing is new (the time alone is nothing new).
Result<void> record_sender(const MapState& state, KnownSender sender);
/// The queue is in the map again: whoever has left it may have it again, too.
Result<void> doubt_senders(const MapState& state, const std::string& queue);
/// The machine that is meant by NAME, MACHINE or ENDPOINT of NAME@MACHINE.
bool means_sender(std::string_view word, const KnownSender& sender);

/// For whoever puts messages from elsewhere into queues of this root, and for whoever takes them: keeps what they say of their senders.
/// Any thread may call it.
class SenderNotes {
 public:
  explicit SenderNotes(std::string root_path) : root_path_(std::move(root_path)) {}
  /// Nothing would be new: it says nothing, or what was noted last. Cheap.
  bool knows(const std::string& queue, const Headers& headers);
  /// Cheap but for the first time that a sender says something new.
  Result<void> note(const std::string& queue, const Headers& headers);

 private:
  std::string root_path_;
  std::mutex mutex_;
  std::map<std::string, std::string> known_;  // queue and sender -> version and whether it has left
};

}  // namespace gw
