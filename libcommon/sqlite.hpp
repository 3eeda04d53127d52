// A thin door to SQLite: connections, statements and errors as values. sqlite3.h stays in sqlite.cpp.
//
// One connection belongs to one thread at a time (the caller locks). Every connection has wal_autocheckpoint=0: SQLite 3.40
// can corrupt a WAL database when a checkpoint of one connection meets a writer, so checkpoints are an explicit call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "result.hpp"

namespace gw {

/// A prepared statement. Must not outlive its database. Parameters and columns count from 0.
class SqliteStatement {
 public:
  SqliteStatement(SqliteStatement&&) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) noexcept;
  ~SqliteStatement();

  /// The bytes must stay until the next step() has returned.
  SqliteStatement& bind(int index, int64_t value);
  SqliteStatement& bind_text(int index, std::string_view text);
  SqliteStatement& bind_blob(int index, std::string_view bytes);
  /// True: a row is there. False: done. A statement that ended or failed is reset and can be used again.
  Result<bool> step();
  /// For statements whose rows are of no interest.
  Result<void> run();
  /// Ends it before its last row; a reader that is not reset keeps its snapshot.
  void reset();

  int64_t integer(int column) const;
  std::string bytes(int column) const;  ///< text or blob

 private:
  friend class SqliteDatabase;
  SqliteStatement(void* statement, const std::string* path) : statement_(statement), path_(path) {}
  void* statement_ = nullptr;
  const std::string* path_ = nullptr;
};

/// One connection. Closing never checkpoints.
class SqliteDatabase {
 public:
  /// Opens (and with `create` makes) the file. Follows no symbolic link. Waits up to 10 s for locks of other connections.
  static Result<std::unique_ptr<SqliteDatabase>> open(const std::string& path, bool create);
  ~SqliteDatabase();
  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  Result<void> exec(const char* sql);
  Result<SqliteStatement> prepare(std::string_view sql);
  /// The first column of the first row; 0 if there is none.
  Result<int64_t> query_integer(std::string_view sql);
  /// Rows that the last INSERT, UPDATE or DELETE changed.
  int64_t changes() const;
  /// Rolls back if a transaction is open; never fails in a way that matters.
  void rollback();
  /// Copies the log into the file and empties it, unless readers are in the way. The caller holds whatever keeps writers out.
  /// Does nothing on a connection that has not read or written yet.
  Result<void> checkpoint_truncate();
  /// Writes what is there now into a new file, whole and in one piece, while others go on reading and writing.
  Result<void> copy_into(const std::string& path);
  /// Writes zeros behind the end of a log that grows, so that a commit's sync needs no change of the file's size: half the time on
  /// most file systems. The caller holds whatever keeps writers out. Whatever fails here only costs speed.
  void make_log_space();
  /// Frames in the log after the last commit of this connection.
  int64_t log_frames() const { return log_frames_; }
  const std::string& path() const { return path_; }

 private:
  SqliteDatabase(void* db, std::string path) : db_(db), path_(std::move(path)) {}
  static int on_commit(void* self, void* db, const char* name, int frames);
  void* db_;
  std::string path_;
  int64_t log_frames_ = 0, log_bytes_ = 0;
  int64_t page_bytes_ = 0;  // not known yet
};

}  // namespace gw
