#include "sqlite.hpp"

#include <dlfcn.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "gw_assert.hpp"

namespace gw {

namespace {

// The functions of SQLite that we need, looked up when the first database is opened: linking it would cost every short
// command a tenth of a millisecond at its start, and most of them need no database.
struct Sqlite {
  decltype(&::sqlite3_bind_blob64) bind_blob64 = nullptr;
  decltype(&::sqlite3_bind_int64) bind_int64 = nullptr;
  decltype(&::sqlite3_bind_text64) bind_text64 = nullptr;
  decltype(&::sqlite3_busy_timeout) busy_timeout = nullptr;
  decltype(&::sqlite3_changes64) changes64 = nullptr;
  decltype(&::sqlite3_close_v2) close_v2 = nullptr;
  decltype(&::sqlite3_column_blob) column_blob = nullptr;
  decltype(&::sqlite3_column_bytes) column_bytes = nullptr;
  decltype(&::sqlite3_column_int64) column_int64 = nullptr;
  decltype(&::sqlite3_db_config) db_config = nullptr;
  decltype(&::sqlite3_db_handle) db_handle = nullptr;
  decltype(&::sqlite3_errmsg) errmsg = nullptr;
  decltype(&::sqlite3_errstr) errstr = nullptr;
  decltype(&::sqlite3_exec) exec = nullptr;
  decltype(&::sqlite3_extended_errcode) extended_errcode = nullptr;
  decltype(&::sqlite3_file_control) file_control = nullptr;
  decltype(&::sqlite3_finalize) finalize = nullptr;
  decltype(&::sqlite3_get_autocommit) get_autocommit = nullptr;
  decltype(&::sqlite3_open_v2) open_v2 = nullptr;
  decltype(&::sqlite3_prepare_v3) prepare_v3 = nullptr;
  decltype(&::sqlite3_reset) reset = nullptr;
  decltype(&::sqlite3_step) step = nullptr;
  decltype(&::sqlite3_system_errno) system_errno = nullptr;
  decltype(&::sqlite3_wal_checkpoint_v2) wal_checkpoint_v2 = nullptr;
  decltype(&::sqlite3_wal_hook) wal_hook = nullptr;
  std::string fault;  ///< why it could not be loaded

  Sqlite() {
    library_ = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library_) {
      const char* why = dlerror();
      fault = std::string("load SQLite (package libsqlite3-0): ") + (why ? why : "unknown error");
      return;
    }
    load("sqlite3_bind_blob64", bind_blob64);
    load("sqlite3_bind_int64", bind_int64);
    load("sqlite3_bind_text64", bind_text64);
    load("sqlite3_busy_timeout", busy_timeout);
    load("sqlite3_changes64", changes64);
    load("sqlite3_close_v2", close_v2);
    load("sqlite3_column_blob", column_blob);
    load("sqlite3_column_bytes", column_bytes);
    load("sqlite3_column_int64", column_int64);
    load("sqlite3_db_config", db_config);
    load("sqlite3_db_handle", db_handle);
    load("sqlite3_errmsg", errmsg);
    load("sqlite3_errstr", errstr);
    load("sqlite3_exec", exec);
    load("sqlite3_extended_errcode", extended_errcode);
    load("sqlite3_file_control", file_control);
    load("sqlite3_finalize", finalize);
    load("sqlite3_get_autocommit", get_autocommit);
    load("sqlite3_open_v2", open_v2);
    load("sqlite3_prepare_v3", prepare_v3);
    load("sqlite3_reset", reset);
    load("sqlite3_step", step);
    load("sqlite3_system_errno", system_errno);
    load("sqlite3_wal_checkpoint_v2", wal_checkpoint_v2);
    load("sqlite3_wal_hook", wal_hook);
  }

 private:
  template <class Function>
  void load(const char* name, Function& into) {
    void* symbol = dlsym(library_, name);
    if (!symbol) fault = std::string("load SQLite: it is too old, ") + name + " is missing";
    into = reinterpret_cast<Function>(symbol);
  }
  void* library_ = nullptr;
};

const Sqlite& sqlite() {
  static const auto* instance = new Sqlite;  // never destroyed: threads may use it while the process ends
  return *instance;
}

sqlite3* db_of(void* p) { return static_cast<sqlite3*>(p); }
sqlite3_stmt* stmt_of(void* p) { return static_cast<sqlite3_stmt*>(p); }

// Of the log: https://www.sqlite.org/walformat.html
constexpr int64_t log_header_bytes = 32, log_frame_header_bytes = 24;
// How much is written ahead: nothing for a short log, then as much as there is, up to a megabyte.
constexpr int64_t log_space_above_bytes = 64 << 10, log_space_min_bytes = 128 << 10, log_space_max_bytes = 1 << 20;

ExitCode code_of(int primary, int system_errno) {
  switch (primary) {
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ExitCode::not_now;
    case SQLITE_IOERR:
    case SQLITE_CORRUPT:
      return ExitCode::io_error;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return ExitCode::no_permission;
    case SQLITE_CANTOPEN:
      if (system_errno == ENOENT) return ExitCode::no_input;
      if (system_errno == EACCES || system_errno == EPERM || system_errno == EROFS) return ExitCode::no_permission;
      if (system_errno == ENOSPC || system_errno == EDQUOT) return ExitCode::not_now;
      return ExitCode::system;
    default:
      return ExitCode::system;
  }
}

Error sqlite_error(sqlite3* db, int rc, const std::string& path) {
  Error error;
  int primary = rc & 0xff;
  int system_errno = db ? sqlite().system_errno(db) : 0;
  bool about_system = primary == SQLITE_FULL || primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN;
  error.code = code_of(primary, system_errno);
  error.sys_errno = primary == SQLITE_FULL ? ENOSPC : about_system ? system_errno : 0;
  error.text = "database '" + path + "': " + (db ? sqlite().errmsg(db) : sqlite().errstr(rc));
  if (about_system && primary != SQLITE_FULL) error.text += " (" + std::to_string(rc) + ", errno " + std::to_string(system_errno) + ")";
  if (primary == SQLITE_CORRUPT) error.text += "; 'gw-dedup check --repair' saves what is readable";
  if (primary == SQLITE_NOTADB) error.text += "; it is not a file of ours";
  return error;
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : statement_(std::exchange(other.statement_, nullptr)), path_(other.path_) {}

SqliteStatement& SqliteStatement::operator=(SqliteStatement&& other) noexcept {
  std::swap(statement_, other.statement_);
  std::swap(path_, other.path_);
  return *this;
}

SqliteStatement::~SqliteStatement() { sqlite().finalize(stmt_of(statement_)); }

SqliteStatement& SqliteStatement::bind(int index, int64_t value) {
  GW_ASSERT(sqlite().bind_int64(stmt_of(statement_), index + 1, value) == SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind_text(int index, std::string_view text) {
  // A null pointer would bind NULL.
  const char* data = text.empty() ? "" : text.data();
  GW_ASSERT(sqlite().bind_text64(stmt_of(statement_), index + 1, data, text.size(), SQLITE_STATIC, SQLITE_UTF8) == SQLITE_OK);
  return *this;
}

SqliteStatement& SqliteStatement::bind_blob(int index, std::string_view bytes) {
  const char* data = bytes.empty() ? "" : bytes.data();
  GW_ASSERT(sqlite().bind_blob64(stmt_of(statement_), index + 1, data, bytes.size(), SQLITE_STATIC) == SQLITE_OK);
  return *this;
}

Result<bool> SqliteStatement::step() {
  int rc = sqlite().step(stmt_of(statement_));
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) {
    sqlite().reset(stmt_of(statement_));
    return false;
  }
  sqlite3* db = sqlite().db_handle(stmt_of(statement_));
  Error error = sqlite_error(db, sqlite().extended_errcode(db), *path_);
  sqlite().reset(stmt_of(statement_));
  return error;
}

Result<void> SqliteStatement::run() {
  for (;;) {
    GW_TRY_ASSIGN(bool row, step());
    if (!row) return {};
  }
}

void SqliteStatement::reset() { sqlite().reset(stmt_of(statement_)); }

int64_t SqliteStatement::integer(int column) const { return sqlite().column_int64(stmt_of(statement_), column); }

std::string SqliteStatement::bytes(int column) const {
  const void* data = sqlite().column_blob(stmt_of(statement_), column);
  int size = sqlite().column_bytes(stmt_of(statement_), column);
  if (!data || size <= 0) return {};
  return std::string(static_cast<const char*>(data), static_cast<size_t>(size));
}

Result<std::unique_ptr<SqliteDatabase>> SqliteDatabase::open(const std::string& path, bool create) {
  if (!sqlite().fault.empty()) return Error{ExitCode::system, 0, sqlite().fault};
  sqlite3* raw = nullptr;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
  if (create) flags |= SQLITE_OPEN_CREATE;
  int rc = sqlite().open_v2(path.c_str(), &raw, flags, nullptr);
  if (rc != SQLITE_OK) {
    Error error = sqlite_error(raw, rc, path);
    sqlite().close_v2(raw);
    return error;
  }
  std::unique_ptr<SqliteDatabase> self(new SqliteDatabase(raw, path));
  sqlite().busy_timeout(raw, 10'000);
  // The hook also switches automatic checkpoints off: there is only one such hook.
  sqlite().wal_hook(
      raw, [](void* p, sqlite3* db, const char* name, int frames) { return on_commit(p, db, name, frames); }, self.get());
  sqlite().db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite().db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  return self;
}

Result<void> SqliteDatabase::copy_into(const std::string& path) {
  GW_TRY_ASSIGN(auto copy, prepare("VACUUM INTO ?"));
  copy.bind_text(0, path);
  return copy.run();
}

SqliteDatabase::~SqliteDatabase() { sqlite().close_v2(db_of(db_)); }

int SqliteDatabase::on_commit(void* self, void*, const char*, int frames) {
  static_cast<SqliteDatabase*>(self)->log_frames_ = frames;
  return SQLITE_OK;
}

Result<void> SqliteDatabase::exec(const char* sql) {
  int rc = sqlite().exec(db_of(db_), sql, nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return sqlite_error(db_of(db_), sqlite().extended_errcode(db_of(db_)), path_);
  return {};
}

Result<SqliteStatement> SqliteDatabase::prepare(std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  int rc = sqlite().prepare_v3(db_of(db_), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (rc != SQLITE_OK) return sqlite_error(db_of(db_), sqlite().extended_errcode(db_of(db_)), path_);
  return SqliteStatement(statement, &path_);
}

Result<int64_t> SqliteDatabase::query_integer(std::string_view sql) {
  GW_TRY_ASSIGN(SqliteStatement statement, prepare(sql));
  GW_TRY_ASSIGN(bool row, statement.step());
  return row ? statement.integer(0) : 0;
}

int64_t SqliteDatabase::changes() const { return sqlite().changes64(db_of(db_)); }

void SqliteDatabase::rollback() {
  if (!sqlite().get_autocommit(db_of(db_))) sqlite().exec(db_of(db_), "ROLLBACK", nullptr, nullptr, nullptr);
}

void SqliteDatabase::make_log_space() {
  if (page_bytes_ == 0) {
    auto page = query_integer("PRAGMA page_size");
    if (!page) return;
    page_bytes_ = *page;
  }
  const int64_t used = log_header_bytes + log_frames_ * (log_frame_header_bytes + page_bytes_);
  if (used < log_space_above_bytes || used + log_space_min_bytes < log_bytes_) return;
  sqlite3_file* log = nullptr;
  sqlite3_int64 size = 0;
  if (sqlite().file_control(db_of(db_), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK || !log || !log->pMethods) return;
  if (log->pMethods->xFileSize(log, &size) != SQLITE_OK) return;
  log_bytes_ = size;
  // Only ever behind the end of the file: what another process wrote is in front of it.
  const int64_t want = used + std::min(used, log_space_max_bytes);
  static constexpr std::array<char, 4096> zeros{};
  for (int64_t at = size; at < want;) {
    // Page by page: a page cache of large folios would write all of one with every small change in it.
    const int64_t n = static_cast<int64_t>(zeros.size()) - at % static_cast<int64_t>(zeros.size());
    if (log->pMethods->xWrite(log, zeros.data(), static_cast<int>(n), at) != SQLITE_OK) return;
    at += n;
    log_bytes_ = at;
  }
}

Result<void> SqliteDatabase::checkpoint_truncate() {
  // Readers are not waited for: what they hinder is done by a later call.
  sqlite().busy_timeout(db_of(db_), 0);
  int rc = sqlite().wal_checkpoint_v2(db_of(db_), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  sqlite().busy_timeout(db_of(db_), 10'000);
  if (rc == SQLITE_OK) log_frames_ = log_bytes_ = 0;
  if (rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY) return {};
  return sqlite_error(db_of(db_), rc, path_);
}

}  // namespace gw
