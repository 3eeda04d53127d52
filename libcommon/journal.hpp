// What happened to messages: <root>/journal/YYYY-MM-DD.jsonl (UTC), one JSON object a line. The gateway, workers, distributors and
// operators write here whatever they settled; `queue-inspect trace` reads it. It is told from, never decided by: nothing is synced, a
// full disk or a missing directory costs lines, never an operation.
//
// Many processes append, each with one write(2) for all it has to say at a time, so lines stay whole. A file that grows beyond
// journal_part_bytes_max is renamed to YYYY-MM-DD.N.jsonl and a new one begun. Kept are 14 days, and at most 1 GiB.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

inline constexpr int64_t journal_keep_ms = 14ll * 24 * 3600 * 1000;
inline constexpr uint64_t journal_bytes_max = 1ull << 30;
inline constexpr uint64_t journal_part_bytes_max = 64ull << 20;
inline constexpr size_t journal_reason_bytes_max = 2048;  ///< longer reasons are cut

/// What can happen to a message.
///   stored     put into `queue`                      returned   an operator sent it back to `to`
///   delivered  `site` has it                         moved      from `queue` to `to`
///   refused    not accepted by this machine          purged     an operator removed it
///   deferred   an attempt failed, another will come  expired    its time to be received was over
///   failed     went to the error queue `to`          duplicate  it had been accepted before
///   handled    a worker's handler, or somebody with `take`, is done with it
enum class Happened { stored, delivered, refused, deferred, failed, returned, moved, purged, expired, duplicate, handled };
std::string_view to_string(Happened happened);
std::optional<Happened> parse_happened(std::string_view word);

/// One line. Empty and 0 mean unknown, and are left out.
struct JournalLine {
  Happened event = Happened::stored;
  std::string_view id;
  std::string_view queue;      ///< where it happened
  std::string_view to;         ///< the queue it went to
  uint64_t seq = 0;            ///< its number there: in `to` if that is set, else in `queue`
  std::string_view site, worker;
  unsigned attempt = 0;
  int status = 0;              ///< of HTTP
  std::string_view reason;
  int64_t next_try_ms = 0;
  std::string_view parent_id;  ///< the message on whose account this one was sent
  std::string_view traceparent;
};

/// Writes. Any thread may call it; what fails is told by one event.
class Journal {
 public:
  struct Place {
    std::string root_path, machine;
    bool shared = false;               ///< modes of the root: its group may read and write
    std::function<bool()> has_room;    ///< is the disk far enough from full? Asked once a second; empty: yes
    std::function<bool()> may_purge;   ///< may old files go by their age? empty: yes
    uint64_t part_bytes_max = journal_part_bytes_max, bytes_max = journal_bytes_max;
  };
  explicit Journal(Place place);
  /// Writes what is left.
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  /// Takes note; it is written with the next write(). (By itself only if very much has come together.)
  void add(const JournalLine& line);
  /// Writes all that was added with one system call. Cheap if there is nothing.
  void write();

 private:
  void write_locked();
  bool ready(int64_t now_ms);
  bool open_file(int64_t day);
  void look_at_file();
  void set_aside();
  void clean_up(int64_t now_ms);
  void complain(const char* what, int error);
  std::string shown(const std::string& name) const;

  Place place_;
  std::atomic<bool> any_{false};  // is there something to write?
  std::mutex mutex_;              // guards all that follows
  std::string buffer_, prefix_, suffix_;
  int64_t time_ms_ = -1;
  std::string time_;  // time_ms_ as text
  UniqueFd directory_, file_;
  std::string name_;
  int64_t day_ = -1, looked_ms_ = 0;  // days since 1970; monotonic
  bool usable_ = false, complained_ = false;
};

// --- reading ----------------------------------------------------------------------------------------------------------------

/// A line as it was read.
struct JournalRecord {
  int64_t at_ms = 0;
  std::string machine;
  Happened event = Happened::stored;
  std::string id, queue, to;
  uint64_t seq = 0;
  std::string site, worker;
  int pid = 0;
  unsigned attempt = 0;
  int status = 0;
  std::string reason;
  int64_t next_try_ms = 0;
  std::string parent_id, traceparent;
};

/// nullopt: it is no line of a journal (cut short by a full disk or a power loss, or of a newer version).
std::optional<JournalRecord> parse_journal_line(std::string_view line);

/// Calls `visit` for every line whose id or parent_id is `id`, in the order in which they were written.
Result<void> search_journal(const std::string& root_path, const std::string& id, const std::function<void(JournalRecord&&)>& visit);

/// When its first line was written; nullopt: there is none.
std::optional<int64_t> journal_since_ms(const std::string& root_path);

}  // namespace gw
