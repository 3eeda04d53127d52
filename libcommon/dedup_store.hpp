// Which message ids were accepted: one SQLite database per store (an endpoint, or local_dedup_store) under <root>/dedup/.
//
// SQLite 3.40 can corrupt a WAL database when one connection writes while another resets the log, so the rule of this
// module is: wal_autocheckpoint=0 on every connection, and flock(<store>.lock) around each BEGIN..COMMIT and each
// checkpoint (TRUNCATE only). synchronous=FULL. A row that another process wrote is believed only after this
// process made one FULL commit of its own after it saw the row for the first time (open() makes one).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "result.hpp"

namespace gw {

/// Names one transaction of the queue module for ever: 64 random bits of a process and a counter.
struct Xid {
  uint64_t high = 0, low = 0;
  bool operator==(const Xid&) const = default;
};

struct DedupRow {
  std::string scope, id;
  Xid xid;                      ///< the transaction whose staged message is the one; zero for mark()
  std::string queue;            ///< where it was put
  uint64_t seq = 0;
  std::array<unsigned char, 32> body_sha256{};
  int64_t seen_at_ms = 0;
  int64_t first_sent_ms = 0;    ///< given to decide(), not stored: if set, a new id at or before the horizon is refused

  /// The same id came with another body. An id that was only marked (all-zero hash) goes with any body.
  bool other_body(const DedupRow& came) const {
    return body_sha256 != came.body_sha256 && body_sha256 != std::array<unsigned char, 32>{};
  }
};

/// A data bus property that came before its message: which blob has what the wire header of this name points to.
struct PropertyRow {
  std::string scope, id;  ///< as of the message
  std::string name;       ///< of the wire header; names compare without the case of ASCII letters
  std::string key;        ///< of the blob
  std::array<unsigned char, 32> sha256{};
  uint64_t bytes = 0;
  int64_t received_at_ms = 0;
};

class DedupStore {
 public:
  /// Opens or (create) makes `<root_path>/dedup/<name>.db` and its lock file. no_input if absent and !create.
  /// system: foreign file or newer version (application_id, user_version).
  static Result<std::unique_ptr<DedupStore>> open(const std::string& root_path, const std::string& name, bool create);
  ~DedupStore();
  DedupStore(const DedupStore&) = delete;
  DedupStore& operator=(const DedupStore&) = delete;

  struct Decision {
    bool inserted = false;
    DedupRow existing;  ///< !inserted: the row that was there (or came earlier in the same batch); its id is empty if
                        ///< this row was new and its group or its age held it back
    bool too_old = false;   ///< first sent at or before the horizon, and not there: counts as a conflict for its group
  };
  /// Inserts all rows in one durable transaction, each unless (scope, id) is there. This is the commit instant of a receive.
  /// Groups: rows with the same group number (parallel to `rows`) are inserted all or none: if one of a group conflicts
  /// (there already, with another body), none of the group is inserted; one that is there with the same body does not
  /// hinder the rest of its group. not_now: full disk, nothing inserted. io_error: in doubt.
  Result<std::vector<Decision>> decide(std::span<const DedupRow> rows, std::span<const uint32_t> groups);
  Result<std::optional<DedupRow>> find(const std::string& scope, const std::string& id);
  /// Deletes those of the rows that are there with this transaction, queue and number, in one durable transaction: their messages
  /// were never committed. For rows whose transaction is decided elsewhere.
  Result<void> withdraw(std::span<const DedupRow> rows);
  /// One durable commit: what find() showed before it is durable after it, whoever wrote it.
  Result<void> confirm();

  /// Rows of which `seen_at` is before the cut are deleted and the horizon is raised to it, in one transaction; rows whose xid
  /// `in_use` accepts stay. The caller recovers every queue of the root first. `dry_run` only counts.
  Result<uint64_t> purge(int64_t cut_ms, const std::function<bool(const Xid&)>& in_use, bool dry_run);
  /// Deletes one row if it was seen before the cut and `in_use` does not accept its xid. The horizon stays: for stores whose ids
  /// are never judged by it. True: the row is gone.
  Result<bool> forget(const std::string& scope, const std::string& id, int64_t cut_ms, const std::function<bool(const Xid&)>& in_use);
  /// Ids of messages that were first sent at or before this instant cannot be told apart any more (ms; 0: none was purged).
  Result<int64_t> horizon_ms();
  /// How the wall clock compares with what the store has seen: rows, and a note of wall and boot clock that open() keeps.
  struct Clock {
    int64_t ahead_ms = 0;   ///< it jumped forward by so much beyond the time that really passed (or that nobody saw pass); 0: no
    int64_t behind_ms = 0;  ///< it is so much before what was seen already; 0: no
  };
  Result<Clock> clock();
  /// Believes the clock as it is from now on.
  Result<void> accept_clock();
  Result<void> list(const std::function<bool(const DedupRow&)>& visit);
  struct Status {
    uint64_t rows = 0, bytes = 0;
    int64_t oldest_ms = 0, newest_ms = 0, horizon_ms = 0;
  };
  Result<Status> status();
  /// Marks ids as seen without a message (gw-dedup mark). Returns for each whether it was new.
  Result<std::vector<bool>> mark(const std::string& scope, std::span<const std::string> ids);

  // Data bus properties. A blob is announced before its file is made, so that no file is ever forgotten: it belongs to nobody (and
  // goes with the next purge), then to its property, then to the message that was accepted.

  /// One durable commit: from now on `key` may be the key of a file that nobody owns.
  Result<void> announce_blob(const std::string& key);
  enum class PropertyOutcome {
    stored,         ///< it owns the announced blob now
    known,          ///< the property was there; the announced blob still belongs to nobody: remove the file
    message_known,  ///< so was even the message (only if !even_after_message); the same
  };
  struct AddedProperty {
    PropertyOutcome outcome = PropertyOutcome::stored;
    bool other_body = false;  ///< known: with another body, which stays
  };
  /// In one durable commit, whatever comes out.
  Result<AddedProperty> add_property(const PropertyRow& row, bool even_after_message);
  struct Properties {
    std::optional<DedupRow> message;  ///< the message was accepted already
    std::vector<PropertyRow> rows;
  };
  /// What is known of an id. `lease`: in one durable commit that keeps the properties from every purge for the next hour, for
  /// somebody who is about to accept their message. Without it only a hint: others may have written it, and not durably.
  Result<Properties> properties(const std::string& scope, const std::string& id, bool lease);
  /// The rows go. with_files: the blobs belong to nobody then; else the accepted message owns them.
  Result<void> drop_properties(const std::string& scope, const std::string& id, bool with_files);
  /// Properties that were received before the cut and whose message never came lose their blobs. Each of those, and of blobs that
  /// were announced before the cut and belong to nobody, is given to `remove`, which removes the file if it is there. Returns how many.
  Result<uint64_t> purge_properties(int64_t cut_ms, const std::function<Result<void>(const std::string& key)>& remove, bool dry_run);

  /// Writes what is there now into a new file `path`, a whole store without a log. Others go on.
  Result<void> copy_to(const std::string& path);

  /// PRAGMA integrity_check and our own rules; one line per finding. repair rebuilds the index or, if that is not
  /// enough, the database from what is readable, keeping the damaged file aside.
  Result<std::vector<std::string>> check(bool repair);

 private:
  class Impl;
  explicit DedupStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Names of the stores of a root.
Result<std::vector<std::string>> list_dedup_stores(const std::string& root_path);

}  // namespace gw
