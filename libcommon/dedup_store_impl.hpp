// What the parts of the store have in common. Private to dedup_*.cpp.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dedup_store.hpp"
#include "sqlite.hpp"
#include "unique_fd.hpp"

namespace gw::dedup_parts {

inline constexpr int64_t purge_batch_rows = 2000;
inline constexpr int64_t recent_rows_max = 4096;
inline constexpr const char* property_columns = "scope, id, name, key, sha256, bytes, received_at";
inline constexpr const char* row_columns = "scope, id, xid_high, xid_low, queue, seq, body_sha256, seen_at";
extern const char schema_sql[];
extern const char property_schema_sql[];

/// Of a row with the columns row_columns, property_columns.
DedupRow read_row(const SqliteStatement& s);
PropertyRow read_property(const SqliteStatement& s);

/// Makes an empty file with exactly this mode if there is none. True: it was made.
Result<bool> create_file(const std::string& path, mode_t mode);

/// Holds flock(LOCK_EX) on the lock file for a scope. Other processes, and other stores of this process, wait.
class FileLock {
 public:
  static Result<FileLock> take(int fd, const std::string& path);
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

/// Byte 0 of the lock file: shared by all who have the store open, exclusive for the one who replaces the file.
bool set_user_lock(int fd, short type);

/// SipHash-2-4: senders choose ids, so they must not be able to choose hashes.
class KeyedHash {
 public:
  KeyedHash() = default;
  KeyedHash(uint64_t key_0, uint64_t key_1) : key_0_(key_0), key_1_(key_1) {}
  int64_t operator()(std::string_view scope, std::string_view id) const;

 private:
  uint64_t key_0_ = 0, key_1_ = 0;
};

struct RowKey {
  int64_t hash = 0, number = 0;
};

/// The rows of one database and the index that finds them.
class SeenTable {
 public:
  static Result<std::unique_ptr<SeenTable>> open(SqliteDatabase& db);
  Result<std::optional<DedupRow>> find(std::string_view scope, std::string_view id);
  /// Where the row is that find() returned last.
  RowKey last_found() const { return last_found_; }
  /// The caller knows that it is not there.
  Result<void> insert(const DedupRow& row);

 private:
  SeenTable(KeyedHash hash, SqliteStatement find_recent, SqliteStatement find_settled, SqliteStatement insert, SqliteStatement insert_index)
      : hash_(hash), find_recent_(std::move(find_recent)), find_settled_(std::move(find_settled)), insert_(std::move(insert)),
        insert_index_(std::move(insert_index)) {}
  KeyedHash hash_;
  RowKey last_found_;
  SqliteStatement find_recent_, find_settled_, insert_, insert_index_;
};

/// In a transaction, as what follows.
Result<void> delete_keys(SqliteDatabase& db, const std::vector<RowKey>& keys);
Result<void> raise_horizon(SqliteDatabase& db, int64_t cut_ms);

}  // namespace gw::dedup_parts

namespace gw {

class DedupStore::Impl {
 public:
  std::string name, directory, path, lock_path;
  mode_t mode = 0600;
  UniqueFd lock_fd;
  std::mutex mutex;  // one connection, one user at a time
  // The statements must go before the database.
  std::unique_ptr<SqliteDatabase> db;
  struct Statements {
    SqliteStatement begin, commit, touch, savepoint, release, rollback_to, horizon;
  };
  std::unique_ptr<Statements> statements;
  std::unique_ptr<dedup_parts::SeenTable> seen;
  int64_t inserted_since_count = dedup_parts::recent_rows_max;  ///< how many rows `recent` may have more than at the last count
  int64_t next_slice = 0;
  std::optional<int64_t> known_horizon;  ///< as this transaction of decide() has read it
  std::optional<Error> broken;  ///< a sync failed; nothing is believed any more

  ~Impl() { close_database(); }
  void close_database() {
    seen.reset();
    statements.reset();
    db.reset();
  }

  Result<void> open_files(const std::string& root_path, bool create);
  Result<void> open_database();
  Result<void> check_identity();
  Result<void> prepare_statements();
  Result<dedup_parts::FileLock> lock() {
    if (broken) return *broken;
    return dedup_parts::FileLock::take(lock_fd.get(), lock_path);
  }
  /// True: it was not there.
  Result<bool> insert_row(const DedupRow& row, std::optional<DedupRow>& existing);
  /// A new id, first sent when ids were known that are purged now. In the transaction that would insert it, so no purge comes between.
  Result<bool> too_old(const DedupRow& row);
  Result<void> begin() { return statements->begin.run(); }
  /// COMMIT; a sync that failed leaves the store broken.
  Result<void> commit();
  Result<void> fail(Error error);
  /// One durable commit of our own: what we have seen of others is durable after it.
  Result<void> touch(bool and_clock = false);
  Result<Clock> read_clock();
  /// In a transaction.
  Result<void> note_clock();
  Result<void> checkpoint_if_long();
  /// Moves a slice of `recent` into `settled` when it has grown. After a commit, under the lock.
  Result<void> settle(uint64_t inserted);
  Result<uint64_t> decide_group(std::span<const DedupRow> rows, std::span<const size_t> group, std::vector<Decision>& into);
  Result<uint64_t> decide_rows(std::span<const DedupRow> rows, std::span<const uint32_t> groups, std::vector<Decision>& into);
  /// Runs `work` as one durable transaction under the lock; what it returns is the result once that is committed.
  template <class Work>
  auto in_transaction(Work&& work) -> decltype(work());
  Result<std::vector<PropertyRow>> property_rows(const std::string& scope, const std::string& id);
  Result<std::vector<std::string>> findings();
  Result<void> copy_properties(SqliteDatabase& fresh);
  Result<void> rebuild();
};

}  // namespace gw
