// Lines of the journal for what transactions put: taken down before the commit, told after it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "queue.hpp"

namespace gw {

inline constexpr std::string_view parent_id_header = "Gatepost.ParentId";    ///< of a message that takes another one's place, or goes on its account
inline constexpr std::string_view from_site_header = "Gatepost.Site";        ///< of a message that came through the gateway
inline constexpr std::string_view traceparent_header = "traceparent";        ///< W3C trace context

/// The message on whose account this one was sent, as its headers say; "" if they do not.
std::string_view parent_of(const Headers& headers);
/// Is what enters this queue noted although nobody asked for it? True of the outboxes of the gateway.
bool always_noted(std::string_view queue);

/// What is known of one put.
struct PutNote {
  std::string id, queue, site, parent_id, traceparent;
  /// The line for it. Points into this note.
  JournalLine line(Happened happened, uint64_t seq) const;
};
PutNote note_put(const Queue& queue, const Message& message, std::string_view parent_id = {});

/// The puts of several transactions.
class PutNotes {
 public:
  enum class Which {
    gateway,  ///< into outboxes, and into queues that were created with --journal
    all
  };
  /// `parent_id`: instead of what the headers say.
  PutNotes(std::vector<Transaction>& transactions, Which which, std::string_view parent_id = {});
  /// `stored` or `duplicate` for each put that was committed, written at once.
  void tell(Journal& journal, const std::vector<Result<CommitResult>>& results) const;

 private:
  struct Place {
    size_t transaction, put;
    PutNote note;
  };
  std::vector<Place> places_;
};

/// Root::commit_all, and the lines for it.
std::vector<Result<CommitResult>> commit_noted(Root& root, std::vector<Transaction>&& transactions, PutNotes::Which which,
                                               std::string_view parent_id = {});

}  // namespace gw
