#include "dedup_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>

#include "sqlite.hpp"
#include "units.hpp"
#include "unique_fd.hpp"

namespace gw {

namespace {

constexpr int64_t application_id = 0x47775464;  // "GwTd"
constexpr int64_t schema_version = 1;
// Two thirds of what one page of SQLite's shared index describes: a commit never has to grow that index on a full disk.
constexpr int64_t checkpoint_frames = 2500;
constexpr int64_t clock_jump_ms = 24 * 3600 * 1000, clock_back_ms = 60 * 1000;
constexpr int64_t purge_batch_rows = 2000, list_batch_rows = 1000;

// Rows are appended, so a batch changes few pages. What makes ids findable is an index of keyed hashes in two levels: a batch of random
// ids changes a page of the small level for some rows, and the large level only when a slice of the small one moves into it in order.
// (As one B-tree by id each row of a batch changes a page of its own: five times the cost.)
constexpr const char* schema_sql =
    "CREATE TABLE meta(key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE seen(number INTEGER PRIMARY KEY, hash INTEGER NOT NULL, scope TEXT NOT NULL, id TEXT NOT NULL, xid_high INTEGER NOT NULL,"
    "                  xid_low INTEGER NOT NULL, queue TEXT NOT NULL, seq INTEGER NOT NULL, body_sha256 BLOB NOT NULL, seen_at INTEGER NOT NULL);"
    "CREATE TABLE recent(hash INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(hash, number)) WITHOUT ROWID;"
    "CREATE TABLE settled(hash INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY(hash, number)) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('horizon', 0), ('commits', 0), ('hash_key_0', random()), ('hash_key_1', random());"
    "PRAGMA application_id=1199002724;"
    "PRAGMA user_version=1;";
static_assert(application_id == 1199002724);
// Beside what version 1 began with: a program that does not know these tables loses nothing by leaving them alone, so they are no new
// version. `stray` has the keys of files that nobody owns (yet); since=-1: being removed.
constexpr const char* property_schema_sql =
    "CREATE TABLE IF NOT EXISTS property(scope TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, key TEXT NOT NULL,"
    "    sha256 BLOB NOT NULL, bytes INTEGER NOT NULL, received_at INTEGER NOT NULL, leased_until INTEGER NOT NULL,"
    "    PRIMARY KEY(scope, id, name)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS stray(key TEXT PRIMARY KEY NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;";
constexpr int64_t property_lease_ms = 3600 * 1000;
constexpr int64_t recent_rows_max = 4096;
constexpr int64_t recent_slices = 8;

constexpr const char* property_columns = "scope, id, name, key, sha256, bytes, received_at";
constexpr const char* row_columns = "scope, id, xid_high, xid_low, queue, seq, body_sha256, seen_at";

/// SipHash-2-4: senders choose ids, so they must not be able to choose hashes.
class KeyedHash {
 public:
  KeyedHash() = default;
  KeyedHash(uint64_t key_0, uint64_t key_1) : key_0_(key_0), key_1_(key_1) {}
  int64_t operator()(std::string_view scope, std::string_view id) const {
    std::string text;
    text.reserve(scope.size() + id.size() + 1);
    text.append(scope).push_back('\0');
    text.append(id);
    uint64_t v[4] = {key_0_ ^ 0x736f6d6570736575, key_1_ ^ 0x646f72616e646f6d, key_0_ ^ 0x6c7967656e657261, key_1_ ^ 0x7465646279746573};
    size_t at = 0;
    for (; at + 8 <= text.size(); at += 8) absorb(v, load(text.data() + at, 8));
    absorb(v, load(text.data() + at, text.size() - at) | static_cast<uint64_t>(text.size()) << 56);
    v[2] ^= 0xff;
    for (int i = 0; i < 4; ++i) round(v);
    return static_cast<int64_t>(v[0] ^ v[1] ^ v[2] ^ v[3]);
  }

 private:
  static uint64_t load(const char* bytes, size_t size) {
    uint64_t word = 0;
    for (size_t i = 0; i < size; ++i) word |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    return word;
  }
  static void absorb(uint64_t* v, uint64_t word) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
  }
  static void round(uint64_t* v) {
    v[0] += v[1], v[1] = std::rotl(v[1], 13) ^ v[0], v[0] = std::rotl(v[0], 32);
    v[2] += v[3], v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = std::rotl(v[1], 17) ^ v[2], v[2] = std::rotl(v[2], 32);
  }
  uint64_t key_0_ = 0, key_1_ = 0;
};

bool store_name_ok(std::string_view name) {
  if (name.substr(0, 1) == "+") name.remove_prefix(1);
  if (name.empty() || name.size() > 151 || name[0] == '.' || name[0] == '-') return false;
  return name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
}

std::string_view hash_bytes(const DedupRow& row) {
  return {reinterpret_cast<const char*>(row.body_sha256.data()), row.body_sha256.size()};
}

DedupRow read_row(const SqliteStatement& s) {
  DedupRow row;
  row.scope = s.bytes(0);
  row.id = s.bytes(1);
  row.xid = {static_cast<uint64_t>(s.integer(2)), static_cast<uint64_t>(s.integer(3))};
  row.queue = s.bytes(4);
  row.seq = static_cast<uint64_t>(s.integer(5));
  std::string hash = s.bytes(6);
  std::memcpy(row.body_sha256.data(), hash.data(), std::min(hash.size(), row.body_sha256.size()));
  row.seen_at_ms = s.integer(7);
  return row;
}

PropertyRow read_property(const SqliteStatement& s) {
  PropertyRow row;
  row.scope = s.bytes(0);
  row.id = s.bytes(1);
  row.name = s.bytes(2);
  row.key = s.bytes(3);
  std::string hash = s.bytes(4);
  std::memcpy(row.sha256.data(), hash.data(), std::min(hash.size(), row.sha256.size()));
  row.bytes = static_cast<uint64_t>(s.integer(5));
  row.received_at_ms = s.integer(6);
  return row;
}

Error system_error(ExitCode code, std::string text) { return Error{code, 0, std::move(text)}; }

/// Makes the directory and tells the modes of the files in it from the modes of the root.
Result<mode_t> prepare_directory(const std::string& root, const std::string& directory, bool create) {
  struct stat st{};
  if (::stat(root.c_str(), &st) != 0) return errno_error("open", root, errno);
  bool shared = (st.st_mode & S_IRWXG) == S_IRWXG;
  mode_t directory_mode = shared ? 02770 : 0700;
  if (create && ::mkdir(directory.c_str(), directory_mode) == 0) {
    if (::chmod(directory.c_str(), directory_mode) != 0) return errno_error("change mode of", directory, errno);
    UniqueFd fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd || ::fsync(fd.get()) != 0) return errno_error("sync", root, errno);
  } else if (create && errno != EEXIST) {
    return errno_error("create", directory, errno);
  }
  if (::lstat(directory.c_str(), &st) != 0) return errno_error("open", directory, errno);
  if (!S_ISDIR(st.st_mode)) return system_error(ExitCode::system, "'" + directory + "' is not a directory");
  return shared ? mode_t{0660} : mode_t{0600};
}

/// Makes an empty file with exactly this mode if there is none. True: it was made.
Result<bool> create_file(const std::string& path, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) {
    if (errno == EEXIST) return false;
    return errno_error("create", path, errno);
  }
  if (::fchmod(fd.get(), mode) != 0) return errno_error("change mode of", path, errno);
  return true;
}

/// A number that changes with every boot, and what passed since then, time asleep included.
int64_t boot_number() {
  char text[9] = {};
  UniqueFd fd(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
  if (!fd || ::read(fd.get(), text, sizeof text - 1) <= 0) return 0;
  return static_cast<int64_t>(std::strtoul(text, nullptr, 16));
}
int64_t boot_clock_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

/// Holds flock(LOCK_EX) on the lock file for a scope. Other processes, and other stores of this process, wait.
class FileLock {
 public:
  static Result<FileLock> take(int fd, const std::string& path) {
    while (::flock(fd, LOCK_EX) != 0)
      if (errno != EINTR) return errno_error("lock", path, errno);
    return FileLock(fd);
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~FileLock() {
    if (fd_ >= 0) ::flock(fd_, LOCK_UN);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

/// Byte 0 of the lock file: shared by all who have the store open, exclusive for the one who replaces the file.
bool set_user_lock(int fd, short type) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &range) == 0;
}

}  // namespace

namespace {

struct RowKey {
  int64_t hash = 0, number = 0;
};

/// The rows of one database and the index that finds them.
class SeenTable {
 public:
  static Result<std::unique_ptr<SeenTable>> open(SqliteDatabase& db) {
    GW_TRY_ASSIGN(int64_t key_0, db.query_integer("SELECT value FROM meta WHERE key='hash_key_0'"));
    GW_TRY_ASSIGN(int64_t key_1, db.query_integer("SELECT value FROM meta WHERE key='hash_key_1'"));
    auto find_in = [&](const char* level) {
      return db.prepare(std::string("SELECT ") + row_columns + ", s.number FROM " + level +
                        " AS i JOIN seen AS s ON s.number = i.number WHERE i.hash = ? AND s.id = ? AND s.scope = ?");
    };
    GW_TRY_ASSIGN(auto find_recent, find_in("recent"));
    GW_TRY_ASSIGN(auto find_settled, find_in("settled"));
    GW_TRY_ASSIGN(auto insert, db.prepare(std::string("INSERT INTO seen(") + row_columns + ", hash) VALUES(?,?,?,?,?,?,?,?,?)"));
    GW_TRY_ASSIGN(auto insert_index, db.prepare("INSERT INTO recent VALUES(?, last_insert_rowid())"));
    return std::unique_ptr<SeenTable>(new SeenTable(KeyedHash(static_cast<uint64_t>(key_0), static_cast<uint64_t>(key_1)), std::move(find_recent),
                                                    std::move(find_settled), std::move(insert), std::move(insert_index)));
  }

  Result<std::optional<DedupRow>> find(std::string_view scope, std::string_view id) {
    const int64_t hash = hash_(scope, id);
    for (SqliteStatement* find : {&find_recent_, &find_settled_}) {
      find->bind(0, hash).bind_text(1, id).bind_text(2, scope);
      GW_TRY_ASSIGN(bool there, find->step());
      if (!there) continue;
      DedupRow row = read_row(*find);
      last_found_ = {hash, find->integer(8)};
      find->reset();
      return std::optional<DedupRow>(std::move(row));
    }
    return std::optional<DedupRow>();
  }
  /// Where the row is that find() returned last.
  RowKey last_found() const { return last_found_; }

  /// The caller knows that it is not there.
  Result<void> insert(const DedupRow& row) {
    const int64_t hash = hash_(row.scope, row.id);
    insert_.bind_text(0, row.scope).bind_text(1, row.id);
    insert_.bind(2, static_cast<int64_t>(row.xid.high)).bind(3, static_cast<int64_t>(row.xid.low));
    insert_.bind_text(4, row.queue).bind(5, static_cast<int64_t>(row.seq)).bind_blob(6, hash_bytes(row)).bind(7, row.seen_at_ms).bind(8, hash);
    GW_TRY(insert_.run());
    insert_index_.bind(0, hash);
    return insert_index_.run();
  }

 private:
  SeenTable(KeyedHash hash, SqliteStatement find_recent, SqliteStatement find_settled, SqliteStatement insert, SqliteStatement insert_index)
      : hash_(hash), find_recent_(std::move(find_recent)), find_settled_(std::move(find_settled)), insert_(std::move(insert)),
        insert_index_(std::move(insert_index)) {}
  KeyedHash hash_;
  RowKey last_found_;
  SqliteStatement find_recent_, find_settled_, insert_, insert_index_;
};

}  // namespace

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
  std::unique_ptr<SeenTable> seen;
  int64_t inserted_since_count = recent_rows_max;  ///< how many rows `recent` may have more than at the last count
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
  Result<FileLock> lock() {
    if (broken) return *broken;
    return FileLock::take(lock_fd.get(), lock_path);
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

// --- opening ----------------------------------------------------------------------------------------------------------

Result<void> DedupStore::Impl::open_files(const std::string& root_path, bool create) {
  std::unique_ptr<char, decltype(&::free)> real(::realpath(root_path.c_str(), nullptr), &::free);
  if (!real) return errno_error("open", root_path, errno);
  directory = std::string(real.get()) + "/dedup";
  path = directory + "/" + name + ".db";
  lock_path = directory + "/" + name + ".lock";
  struct stat st{};
  if (!create && ::lstat(path.c_str(), &st) != 0) {
    if (errno != ENOENT) return errno_error("open", path, errno);
    return Error{ExitCode::no_input, ENOENT, "there is no de-duplication store '" + name + "' ('" + path + "')"};
  }
  GW_TRY_ASSIGN(mode, prepare_directory(real.get(), directory, create));
  GW_TRY(create_file(lock_path, mode));
  lock_fd = UniqueFd(::open(lock_path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!lock_fd) return errno_error("open", lock_path, errno);
  return {};
}

Result<void> DedupStore::Impl::open_database() {
  // The mode is set before SQLite gives it to the -wal and -shm files. An empty file is an empty database.
  GW_TRY(create_file(path, mode));
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) return errno_error("open", path, errno);
  if (!S_ISREG(st.st_mode)) return system_error(ExitCode::system, "'" + path + "' is not a regular file");
  GW_TRY_ASSIGN(db, SqliteDatabase::open(path, false));
  GW_TRY_ASSIGN(int64_t tables, db->query_integer("SELECT count(*) FROM sqlite_schema"));
  GW_TRY_ASSIGN(int64_t id, db->query_integer("PRAGMA application_id"));
  if (tables == 0 && id == 0) {
    // Cheap to lose half way: until the schema has committed the file counts as empty.
    GW_TRY(db->exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"));
    GW_TRY(db->exec((std::string("BEGIN IMMEDIATE;") + schema_sql + property_schema_sql + "COMMIT;").c_str()));
  }
  GW_TRY(check_identity());
  GW_TRY(db->exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"));
  GW_TRY_ASSIGN(int64_t property_tables, db->query_integer("SELECT count(*) FROM sqlite_schema WHERE name IN ('property', 'stray')"));
  if (property_tables != 2) GW_TRY(db->exec((std::string("BEGIN IMMEDIATE;") + property_schema_sql + "COMMIT;").c_str()));
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) return errno_error("sync", directory, errno);
  return prepare_statements();
}

Result<void> DedupStore::Impl::check_identity() {
  GW_TRY_ASSIGN(int64_t id, db->query_integer("PRAGMA application_id"));
  if (id != application_id)
    return system_error(ExitCode::system, "'" + path + "' is not a de-duplication store: its application id is " + std::to_string(id));
  GW_TRY_ASSIGN(int64_t version, db->query_integer("PRAGMA user_version"));
  if (version != schema_version)
    return system_error(ExitCode::system, "'" + path + "' has format version " + std::to_string(version) + ", this program knows version " +
                                              std::to_string(schema_version));
  return {};
}

Result<void> DedupStore::Impl::prepare_statements() {
  GW_TRY_ASSIGN(auto begin_sql, db->prepare("BEGIN IMMEDIATE"));
  GW_TRY_ASSIGN(auto commit_sql, db->prepare("COMMIT"));
  GW_TRY_ASSIGN(auto touch_sql, db->prepare("UPDATE meta SET value=value+1 WHERE key='commits'"));
  GW_TRY_ASSIGN(auto savepoint_sql, db->prepare("SAVEPOINT g"));
  GW_TRY_ASSIGN(auto release_sql, db->prepare("RELEASE g"));
  GW_TRY_ASSIGN(auto rollback_sql, db->prepare("ROLLBACK TO g"));
  GW_TRY_ASSIGN(auto horizon_sql, db->prepare("SELECT value FROM meta WHERE key='horizon'"));
  statements.reset(new Statements{std::move(begin_sql), std::move(commit_sql), std::move(touch_sql),
                                  std::move(savepoint_sql), std::move(release_sql), std::move(rollback_sql), std::move(horizon_sql)});
  GW_TRY_ASSIGN(seen, SeenTable::open(*db));
  return {};
}

DedupStore::DedupStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DedupStore::~DedupStore() = default;

Result<std::unique_ptr<DedupStore>> DedupStore::open(const std::string& root_path, const std::string& name, bool create) {
  if (!store_name_ok(name)) return system_error(ExitCode::usage, "'" + name + "' is not a name of a de-duplication store");
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  GW_TRY(impl->open_files(root_path, create));
  if (!set_user_lock(impl->lock_fd.get(), F_RDLCK))
    return Error{ExitCode::not_now, errno, "'" + impl->path + "' is being rebuilt by another process"};
  {
    GW_TRY_ASSIGN(FileLock guard, impl->lock());
    GW_TRY(impl->open_database());
    GW_TRY(impl->touch(true));
  }
  return std::unique_ptr<DedupStore>(new DedupStore(std::move(impl)));
}

// --- transactions -----------------------------------------------------------------------------------------------------

Result<void> DedupStore::Impl::fail(Error error) {
  db->rollback();
  if (error.code == ExitCode::io_error) broken = error;
  return error;
}

Result<void> DedupStore::Impl::commit() {
  auto done = statements->commit.run();
  if (!done) return fail(std::move(done).error());
  return {};
}

Result<void> DedupStore::Impl::touch(bool and_clock) {
  GW_TRY(begin());
  auto touched = statements->touch.run();
  if (touched && and_clock) {
    // A clock that cannot be right is not noted: whoever purges has to see it.
    auto known = read_clock();
    if (!known) touched = std::move(known).error();
    else if (known->ahead_ms == 0 && known->behind_ms == 0) touched = note_clock();
  }
  if (!touched) return fail(std::move(touched).error());
  return commit();
}

Result<void> DedupStore::Impl::checkpoint_if_long() {
  if (db->log_frames() < checkpoint_frames) return {};
  auto done = db->checkpoint_truncate();
  // On a full disk the log stays and a later commit tries again. A failed sync ends the use of this store, after this commit.
  if (!done && done.error().code == ExitCode::io_error) broken = done.error();
  return {};
}

Result<void> DedupStore::Impl::settle(uint64_t inserted) {
  inserted_since_count += static_cast<int64_t>(inserted);
  if (inserted_since_count < recent_rows_max / recent_slices) return {};
  GW_TRY_ASSIGN(int64_t rows, db->query_integer("SELECT count(*) FROM recent"));
  inserted_since_count = 0;
  if (rows < recent_rows_max) return {};
  // A slice is a range of hashes: the pages of `settled` that it changes are neighbours.
  const uint64_t width = UINT64_MAX / recent_slices + 1;
  const int64_t from = static_cast<int64_t>(static_cast<uint64_t>(INT64_MIN) + static_cast<uint64_t>(next_slice) * width);
  const int64_t to = static_cast<int64_t>(static_cast<uint64_t>(from) + width - 1);
  next_slice = (next_slice + 1) % recent_slices;
  GW_TRY(begin());
  auto moved = [&]() -> Result<void> {
    GW_TRY_ASSIGN(auto insert, db->prepare("INSERT INTO settled SELECT hash, number FROM recent WHERE hash BETWEEN ? AND ? ORDER BY hash, number"));
    insert.bind(0, from).bind(1, to);
    GW_TRY(insert.run());
    GW_TRY_ASSIGN(auto remove, db->prepare("DELETE FROM recent WHERE hash BETWEEN ? AND ?"));
    remove.bind(0, from).bind(1, to);
    return remove.run();
  }();
  if (!moved) return fail(std::move(moved).error());
  return commit();
}

Result<bool> DedupStore::Impl::insert_row(const DedupRow& row, std::optional<DedupRow>& existing) {
  GW_TRY_ASSIGN(existing, seen->find(row.scope, row.id));
  if (existing) return false;
  GW_TRY(seen->insert(row));
  return true;
}

Result<bool> DedupStore::Impl::too_old(const DedupRow& row) {
  if (row.first_sent_ms == 0) return false;
  if (!known_horizon) {
    GW_TRY_ASSIGN(bool there, statements->horizon.step());
    known_horizon = there ? statements->horizon.integer(0) : 0;
    statements->horizon.reset();
  }
  if (row.first_sent_ms > *known_horizon) return false;
  GW_TRY_ASSIGN(auto existing, seen->find(row.scope, row.id));
  return !existing;
}

Result<uint64_t> DedupStore::Impl::decide_group(std::span<const DedupRow> rows, std::span<const size_t> group, std::vector<Decision>& into) {
  bool several = group.size() > 1, refused = false;
  uint64_t inserted = 0;
  if (several) GW_TRY(statements->savepoint.run());
  for (size_t i : group) {
    GW_TRY_ASSIGN(bool old, too_old(rows[i]));
    into[i].too_old = old;
    refused |= old;
    if (old) continue;
    std::optional<DedupRow> existing;
    GW_TRY_ASSIGN(bool is_new, insert_row(rows[i], existing));
    into[i].inserted = is_new;
    inserted += is_new;
    if (is_new) continue;
    refused |= existing->other_body(rows[i]);
    into[i].existing = *std::move(existing);
  }
  if (several && refused && inserted) {
    GW_TRY(statements->rollback_to.run());
    for (size_t i : group) into[i].inserted = false;
    inserted = 0;
  }
  if (several) GW_TRY(statements->release.run());
  return inserted;
}

Result<void> DedupStore::confirm() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  if (impl_->broken) return *impl_->broken;
  GW_TRY_ASSIGN(FileLock guard, impl_->lock());
  return impl_->touch();
}

Result<void> DedupStore::copy_to(const std::string& path) {
  std::lock_guard<std::mutex> one(impl_->mutex);
  if (impl_->broken) return *impl_->broken;
  return impl_->db->copy_into(path);
}

Result<uint64_t> DedupStore::Impl::decide_rows(std::span<const DedupRow> rows, std::span<const uint32_t> groups, std::vector<Decision>& into) {
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return groups[a] < groups[b]; });
  uint64_t inserted = 0;
  for (size_t first = 0; first < order.size();) {
    size_t end = first;
    while (end < order.size() && groups[order[end]] == groups[order[first]]) ++end;
    GW_TRY_ASSIGN(uint64_t n, decide_group(rows, std::span<const size_t>(order).subspan(first, end - first), into));
    inserted += n;
    first = end;
  }
  return inserted;
}

Result<std::vector<DedupStore::Decision>> DedupStore::decide(std::span<const DedupRow> rows, std::span<const uint32_t> groups) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (rows.empty()) return std::vector<Decision>();
  if (rows.size() != groups.size()) return Error{ExitCode::bug, 0, "decide: rows and groups differ in number"};
  std::vector<Decision> decisions(rows.size());
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  d.db->make_log_space();
  d.known_horizon.reset();
  auto inserted = d.decide_rows(rows, groups, decisions);
  // Who answers "duplicate" relies on another's row: a commit without a change of its own would sync nothing.
  if (inserted && *inserted == 0) {
    auto touched = d.statements->touch.run();
    if (!touched) inserted = std::move(touched).error();
  }
  if (!inserted) {
    GW_TRY(d.fail(std::move(inserted).error()));
  }
  GW_TRY(d.commit());
  // The commit holds whatever becomes of this upkeep; a full disk only delays it.
  auto upkeep = d.settle(*inserted);
  if (!upkeep && upkeep.error().code == ExitCode::io_error && !d.broken) d.broken = upkeep.error();
  GW_TRY(d.checkpoint_if_long());
  return decisions;
}

Result<std::optional<DedupRow>> DedupStore::find(const std::string& scope, const std::string& id) {
  std::lock_guard<std::mutex> one(impl_->mutex);
  if (impl_->broken) return *impl_->broken;
  return impl_->seen->find(scope, id);
}

Result<std::vector<bool>> DedupStore::mark(const std::string& scope, std::span<const std::string> ids) {
  std::vector<DedupRow> rows(ids.size());
  std::vector<uint32_t> groups(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    rows[i].scope = scope;
    rows[i].id = ids[i];
    rows[i].seen_at_ms = now_ms();
    groups[i] = static_cast<uint32_t>(i);
  }
  GW_TRY_ASSIGN(auto decisions, decide(rows, groups));
  std::vector<bool> fresh(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) fresh[i] = decisions[i].inserted;
  return fresh;
}

// --- purging and looking ------------------------------------------------------------------------------------------------

namespace {

/// Looks at up to `purge_batch_rows` rows after `after` (which moves on) for those before the cut that nobody uses. Rows are in the order
/// in which they came, but clocks go back: all are looked at.
Result<std::vector<RowKey>> purgeable(SqliteDatabase& db, int64_t cut_ms, const std::function<bool(const Xid&)>& in_use, int64_t& after,
                                      bool& end) {
  GW_TRY_ASSIGN(SqliteStatement select, db.prepare("SELECT hash, number, xid_high, xid_low, seen_at FROM seen WHERE number > ? ORDER BY number LIMIT ?"));
  select.bind(0, after).bind(1, purge_batch_rows);
  std::vector<RowKey> keys;
  int64_t rows = 0;
  for (;; ++rows) {
    GW_TRY_ASSIGN(bool there, select.step());
    if (!there) break;
    after = select.integer(1);
    if (select.integer(4) >= cut_ms) continue;
    Xid xid{static_cast<uint64_t>(select.integer(2)), static_cast<uint64_t>(select.integer(3))};
    if (xid == Xid{} || !in_use(xid)) keys.push_back({select.integer(0), after});
  }
  end = rows < purge_batch_rows;
  return keys;
}

Result<void> delete_keys(SqliteDatabase& db, const std::vector<RowKey>& keys) {
  for (const char* table : {"recent", "settled", "seen"}) {
    std::string by_hash = table == std::string_view("seen") ? "" : "hash=?2 AND ";
    GW_TRY_ASSIGN(SqliteStatement remove, db.prepare(std::string("DELETE FROM ") + table + " WHERE " + by_hash + "number=?1"));
    for (const RowKey& key : keys) {
      remove.bind(0, key.number);
      if (!by_hash.empty()) remove.bind(1, key.hash);
      GW_TRY(remove.run());
    }
  }
  return {};
}

Result<void> raise_horizon(SqliteDatabase& db, int64_t cut_ms) {
  GW_TRY_ASSIGN(SqliteStatement raise, db.prepare("UPDATE meta SET value=max(value, ?) WHERE key='horizon'"));
  raise.bind(0, cut_ms);
  return raise.run();
}

}  // namespace

Result<uint64_t> DedupStore::purge(int64_t cut_ms, const std::function<bool(const Xid&)>& in_use, bool dry_run) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  uint64_t count = 0;
  int64_t after = 0;
  bool end = false;
  // Each batch is a transaction of its own that also raises the horizon, so listeners wait for a batch at most. To raise it
  // early is safe: it refuses more.
  while (!end) {
    GW_TRY_ASSIGN(FileLock guard, d.lock());
    if (!dry_run) GW_TRY(d.begin());
    auto keys = purgeable(*d.db, cut_ms, in_use, after, end);
    Result<void> done = keys ? Result<void>() : Result<void>(keys.error());
    if (done) count += keys->size();
    if (dry_run) {
      GW_TRY(std::move(done));
      continue;
    }
    if (done) done = raise_horizon(*d.db, cut_ms);
    if (done) done = delete_keys(*d.db, *keys);
    if (!done) {
      GW_TRY(d.fail(std::move(done).error()));
    }
    GW_TRY(d.commit());
    GW_TRY(d.checkpoint_if_long());
  }
  return count;
}

Result<bool> DedupStore::forget(const std::string& scope, const std::string& id, int64_t cut_ms, const std::function<bool(const Xid&)>& in_use) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (d.broken) return *d.broken;
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  auto row = d.seen->find(scope, id);
  Result<void> done = row ? Result<void>() : Result<void>(row.error());
  bool old = row && *row && (*row)->seen_at_ms < cut_ms && !in_use((*row)->xid);
  if (done && old) done = delete_keys(*d.db, {d.seen->last_found()});
  if (!done) return d.fail(std::move(done).error()).error();
  GW_TRY(d.commit());
  GW_TRY(d.checkpoint_if_long());
  return old;
}

Result<void> DedupStore::withdraw(std::span<const DedupRow> rows) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (d.broken) return *d.broken;
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  Result<void> done = d.statements->touch.run();
  for (const DedupRow& row : rows) {
    if (!done) break;
    auto found = d.seen->find(row.scope, row.id);
    if (!found) done = std::move(found).error();
    else if (*found && (*found)->xid == row.xid && (*found)->queue == row.queue && (*found)->seq == row.seq)
      done = delete_keys(*d.db, {d.seen->last_found()});
  }
  if (!done) return d.fail(std::move(done).error());
  GW_TRY(d.commit());
  return d.checkpoint_if_long();
}

// --- data bus properties ------------------------------------------------------------------------------------------------

template <class Work>
auto DedupStore::Impl::in_transaction(Work&& work) -> decltype(work()) {
  if (broken) return *broken;
  GW_TRY_ASSIGN(FileLock guard, lock());
  GW_TRY(begin());
  auto result = work();
  // A commit without a change of its own would sync nothing of what others wrote.
  if (result) {
    if (auto touched = statements->touch.run(); !touched) return fail(std::move(touched).error()).error();
  }
  if (!result) return fail(std::move(result).error()).error();
  GW_TRY(commit());
  GW_TRY(checkpoint_if_long());
  return result;
}

Result<std::vector<PropertyRow>> DedupStore::Impl::property_rows(const std::string& scope, const std::string& id) {
  GW_TRY_ASSIGN(auto select, db->prepare(std::string("SELECT ") + property_columns + " FROM property WHERE scope=? AND id=? ORDER BY name"));
  select.bind_text(0, scope).bind_text(1, id);
  std::vector<PropertyRow> rows;
  for (;;) {
    GW_TRY_ASSIGN(bool there, select.step());
    if (!there) return rows;
    rows.push_back(read_property(select));
  }
}

Result<void> DedupStore::announce_blob(const std::string& key) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  return d.in_transaction([&]() -> Result<void> {
    GW_TRY_ASSIGN(auto insert, d.db->prepare("INSERT INTO stray VALUES(?, ?)"));
    insert.bind_text(0, key).bind(1, now_ms());
    return insert.run();
  });
}

Result<DedupStore::AddedProperty> DedupStore::add_property(const PropertyRow& row, bool even_after_message) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  return d.in_transaction([&]() -> Result<AddedProperty> {
    GW_TRY_ASSIGN(auto message, d.seen->find(row.scope, row.id));
    if (message && !even_after_message) return AddedProperty{PropertyOutcome::message_known, false};
    GW_TRY_ASSIGN(auto find, d.db->prepare("SELECT sha256 FROM property WHERE scope=? AND id=? AND name=?"));
    find.bind_text(0, row.scope).bind_text(1, row.id).bind_text(2, row.name);
    const std::string_view hash(reinterpret_cast<const char*>(row.sha256.data()), row.sha256.size());
    GW_TRY_ASSIGN(bool known, find.step());
    if (known) return AddedProperty{PropertyOutcome::known, find.bytes(0) != hash};
    GW_TRY_ASSIGN(auto own, d.db->prepare("DELETE FROM stray WHERE key=? AND since >= 0"));
    own.bind_text(0, row.key);
    GW_TRY(own.run());
    // A purge with a short age, while the body was coming, may have taken the file away.
    if (d.db->changes() != 1) return Error{ExitCode::not_now, 0, "the blob '" + row.key + "' was purged while it was received"};
    GW_TRY_ASSIGN(auto insert, d.db->prepare(std::string("INSERT INTO property(") + property_columns + ", leased_until) VALUES(?,?,?,?,?,?,?,0)"));
    insert.bind_text(0, row.scope).bind_text(1, row.id).bind_text(2, row.name).bind_text(3, row.key).bind_blob(4, hash);
    insert.bind(5, static_cast<int64_t>(row.bytes)).bind(6, row.received_at_ms);
    GW_TRY(insert.run());
    return AddedProperty{};
  });
}

Result<DedupStore::Properties> DedupStore::properties(const std::string& scope, const std::string& id, bool lease) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (d.broken) return *d.broken;
  auto read = [&]() -> Result<Properties> {
    Properties found;
    GW_TRY_ASSIGN(found.message, d.seen->find(scope, id));
    GW_TRY_ASSIGN(found.rows, d.property_rows(scope, id));
    return found;
  };
  if (!lease) return read();
  return d.in_transaction([&]() -> Result<Properties> {
    GW_TRY_ASSIGN(auto update, d.db->prepare("UPDATE property SET leased_until=? WHERE scope=? AND id=?"));
    update.bind(0, now_ms() + property_lease_ms).bind_text(1, scope).bind_text(2, id);
    GW_TRY(update.run());
    return read();
  });
}

Result<void> DedupStore::drop_properties(const std::string& scope, const std::string& id, bool with_files) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  return d.in_transaction([&]() -> Result<void> {
    if (with_files) {
      GW_TRY_ASSIGN(auto insert, d.db->prepare("INSERT INTO stray SELECT key, ?3 FROM property WHERE scope=?1 AND id=?2"));
      insert.bind_text(0, scope).bind_text(1, id).bind(2, now_ms());
      GW_TRY(insert.run());
    }
    GW_TRY_ASSIGN(auto remove, d.db->prepare("DELETE FROM property WHERE scope=? AND id=?"));
    remove.bind_text(0, scope).bind_text(1, id);
    return remove.run();
  });
}

namespace {

Result<std::vector<PropertyRow>> old_properties(SqliteDatabase& db, int64_t cut_ms, bool leased) {
  GW_TRY_ASSIGN(auto select, db.prepare(std::string("SELECT ") + property_columns + " FROM property WHERE received_at < ? AND (leased_until >= ?) = ? LIMIT ?"));
  select.bind(0, cut_ms).bind(1, now_ms()).bind(2, leased ? 1 : 0).bind(3, leased ? -1 : purge_batch_rows);
  std::vector<PropertyRow> rows;
  for (;;) {
    GW_TRY_ASSIGN(bool there, select.step());
    if (!there) return rows;
    rows.push_back(read_property(select));
  }
}

Result<void> disown(SqliteDatabase& db, const PropertyRow& row, bool message_has_it) {
  if (!message_has_it) {
    GW_TRY_ASSIGN(auto insert, db.prepare("INSERT INTO stray VALUES(?, -1)"));
    insert.bind_text(0, row.key);
    GW_TRY(insert.run());
  }
  GW_TRY_ASSIGN(auto remove, db.prepare("DELETE FROM property WHERE scope=? AND id=? AND name=?"));
  remove.bind_text(0, row.scope).bind_text(1, row.id).bind_text(2, row.name);
  return remove.run();
}

/// In a transaction. True: there is more.
Result<bool> doom_blobs(SqliteDatabase& db, SeenTable& seen, int64_t cut_ms) {
  GW_TRY_ASSIGN(auto update, db.prepare("UPDATE stray SET since=-1 WHERE since < ?"));
  update.bind(0, cut_ms);
  GW_TRY(update.run());
  GW_TRY_ASSIGN(auto leased, old_properties(db, cut_ms, true));
  for (const PropertyRow& row : leased) {
    // Accepted, and then its listener was killed. While its id is known it can be seen that the message owns the blob.
    GW_TRY_ASSIGN(auto message, seen.find(row.scope, row.id));
    if (message) GW_TRY(disown(db, row, true));
  }
  GW_TRY_ASSIGN(auto rows, old_properties(db, cut_ms, false));
  for (const PropertyRow& row : rows) {
    GW_TRY_ASSIGN(auto message, seen.find(row.scope, row.id));
    GW_TRY(disown(db, row, message.has_value()));
  }
  return rows.size() == static_cast<size_t>(purge_batch_rows);
}

Result<std::vector<std::string>> doomed_keys(SqliteDatabase& db) {
  GW_TRY_ASSIGN(auto select, db.prepare("SELECT key FROM stray WHERE since=-1 LIMIT ?"));
  select.bind(0, purge_batch_rows);
  std::vector<std::string> keys;
  for (;;) {
    GW_TRY_ASSIGN(bool there, select.step());
    if (!there) return keys;
    keys.push_back(select.bytes(0));
  }
}

}  // namespace

Result<uint64_t> DedupStore::purge_properties(int64_t cut_ms, const std::function<Result<void>(const std::string&)>& remove, bool dry_run) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  if (dry_run) {
    GW_TRY_ASSIGN(auto count, d.db->prepare("SELECT (SELECT count(*) FROM property WHERE received_at < ?1 AND leased_until < ?2) + "
                                            "(SELECT count(*) FROM stray WHERE since < ?1)"));
    count.bind(0, cut_ms).bind(1, now_ms());
    GW_TRY_ASSIGN(bool there, count.step());
    return there ? static_cast<uint64_t>(count.integer(0)) : 0;
  }
  // Doomed first: from then on nobody who is still receiving such a blob can become its owner.
  for (bool more = true; more;) {
    auto doomed = d.in_transaction([&]() -> Result<bool> { return doom_blobs(*d.db, *d.seen, cut_ms); });
    if (!doomed) return std::move(doomed).error();
    more = *doomed;
  }
  uint64_t count = 0;
  for (;;) {
    GW_TRY_ASSIGN(auto keys, doomed_keys(*d.db));
    if (keys.empty()) return count;
    for (const std::string& key : keys) GW_TRY(remove(key));
    // Their names last: whoever is killed on the way leaves them for the next purge.
    GW_TRY(d.in_transaction([&]() -> Result<void> {
      GW_TRY_ASSIGN(auto forget_key, d.db->prepare("DELETE FROM stray WHERE key=? AND since=-1"));
      for (const std::string& key : keys) {
        forget_key.bind_text(0, key);
        GW_TRY(forget_key.run());
      }
      return {};
    }));
    count += keys.size();
  }
}

Result<int64_t> DedupStore::horizon_ms() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  return impl_->db->query_integer("SELECT value FROM meta WHERE key='horizon'");
}

Result<DedupStore::Clock> DedupStore::Impl::read_clock() {
  GW_TRY_ASSIGN(int64_t wall, db->query_integer("SELECT value FROM meta WHERE key='clock_wall'"));
  GW_TRY_ASSIGN(int64_t boot_clock, db->query_integer("SELECT value FROM meta WHERE key='clock_boot'"));
  GW_TRY_ASSIGN(int64_t boot, db->query_integer("SELECT value FROM meta WHERE key='boot'"));
  GW_TRY_ASSIGN(int64_t newest, db->query_integer("SELECT seen_at FROM seen ORDER BY number DESC LIMIT 1"));
  Clock clock;
  const int64_t now = now_ms();
  if (wall == 0) return clock;
  int64_t expected = std::max(wall, newest);
  if (boot == boot_number()) expected = std::max(expected, wall + boot_clock_ms() - boot_clock);
  if (now - expected > clock_jump_ms) clock.ahead_ms = now - expected;
  if (std::max(wall, newest) - now > clock_back_ms) clock.behind_ms = std::max(wall, newest) - now;
  return clock;
}

Result<void> DedupStore::Impl::note_clock() {
  GW_TRY_ASSIGN(auto note, db->prepare("INSERT INTO meta VALUES('clock_wall', ?), ('clock_boot', ?), ('boot', ?) "
                                       "ON CONFLICT(key) DO UPDATE SET value=excluded.value"));
  note.bind(0, now_ms()).bind(1, boot_clock_ms()).bind(2, boot_number());
  return note.run();
}

Result<DedupStore::Clock> DedupStore::clock() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  return impl_->read_clock();
}

Result<void> DedupStore::accept_clock() {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY(d.begin());
  if (auto noted = d.note_clock(); !noted) return d.fail(std::move(noted).error());
  return d.commit();
}

Result<void> DedupStore::list(const std::function<bool(const DedupRow&)>& visit) {
  int64_t after = 0;
  // Page by page: a reader that stays open would keep the log from being emptied.
  for (;;) {
    std::vector<DedupRow> page;
    {
      std::lock_guard<std::mutex> one(impl_->mutex);
      GW_TRY_ASSIGN(SqliteStatement select, impl_->db->prepare(std::string("SELECT ") + row_columns +
                                                               ", number FROM seen WHERE number > ? ORDER BY number LIMIT ?"));
      select.bind(0, after).bind(1, list_batch_rows);
      for (;;) {
        GW_TRY_ASSIGN(bool there, select.step());
        if (!there) break;
        page.push_back(read_row(select));
        after = select.integer(8);
      }
    }
    for (const DedupRow& row : page)
      if (!visit(row)) return {};
    if (page.size() < static_cast<size_t>(list_batch_rows)) return {};
  }
}

Result<DedupStore::Status> DedupStore::status() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  Status status;
  SqliteDatabase& db = *impl_->db;
  GW_TRY_ASSIGN(int64_t rows, db.query_integer("SELECT count(*) FROM seen"));
  status.rows = static_cast<uint64_t>(rows);
  GW_TRY_ASSIGN(status.oldest_ms, db.query_integer("SELECT coalesce(min(seen_at), 0) FROM seen"));
  GW_TRY_ASSIGN(status.newest_ms, db.query_integer("SELECT coalesce(max(seen_at), 0) FROM seen"));
  GW_TRY_ASSIGN(status.horizon_ms, db.query_integer("SELECT value FROM meta WHERE key='horizon'"));
  for (const char* suffix : {"", "-wal"}) {
    struct stat st{};
    if (::stat((impl_->path + suffix).c_str(), &st) == 0) status.bytes += static_cast<uint64_t>(st.st_blocks) * 512;
  }
  return status;
}

// --- checking and repairing ---------------------------------------------------------------------------------------------

Result<std::vector<std::string>> DedupStore::Impl::findings() {
  std::vector<std::string> found;
  auto integrity = db->prepare("PRAGMA integrity_check(100)");
  if (!integrity) return std::vector<std::string>{integrity.error().text};
  for (;;) {
    auto row = integrity->step();
    if (!row) {
      found.push_back(row.error().text);
      return found;
    }
    if (!*row) break;
    std::string line = integrity->bytes(0);
    if (line != "ok") found.push_back("database '" + path + "': " + line);
  }
  const std::pair<const char*, const char*> rules[] = {
      {"SELECT count(*) FROM seen WHERE length(body_sha256) != 32", "rows whose body hash has not 32 bytes"},
      {"SELECT count(*) FROM seen WHERE length(CAST(id AS BLOB)) NOT BETWEEN 1 AND 255", "rows whose id has not 1 to 255 bytes"},
      {"SELECT count(*) FROM seen WHERE seen_at <= 0", "rows without a time"},
      {"SELECT 4 - count(*) FROM meta WHERE key IN ('horizon', 'commits', 'hash_key_0', 'hash_key_1')", "missing records of the store itself"},
      {"SELECT count(*) FROM seen AS s WHERE NOT EXISTS (SELECT 1 FROM recent AS i WHERE i.hash = s.hash AND i.number = s.number) "
       "AND NOT EXISTS (SELECT 1 FROM settled AS i WHERE i.hash = s.hash AND i.number = s.number)",
       "rows that their index does not find"},
      {"SELECT (SELECT count(*) FROM recent) + (SELECT count(*) FROM settled) - (SELECT count(*) FROM seen)", "index entries too many or too few"},
      {"SELECT count(*) FROM (SELECT 1 FROM seen GROUP BY hash, scope, id HAVING count(*) > 1)", "ids that are there twice"},
      {"SELECT count(*) FROM property WHERE length(sha256) != 32 OR length(CAST(id AS BLOB)) NOT BETWEEN 1 AND 255 OR received_at <= 0",
       "malformed data bus properties"},
      {"SELECT count(*) - count(DISTINCT key) FROM (SELECT key FROM property UNION ALL SELECT key FROM stray)", "blobs with two owners"},
  };
  for (const auto& [sql, what] : rules) {
    auto count = db->query_integer(sql);
    if (!count) found.push_back(count.error().text);
    else if (*count != 0) found.push_back("database '" + path + "': " + std::to_string(*count) + " " + what);
  }
  return found;
}

Result<void> DedupStore::Impl::copy_properties(SqliteDatabase& fresh) {
  GW_TRY_ASSIGN(auto insert, fresh.prepare("INSERT OR IGNORE INTO property SELECT ?,?,?,?,?,?,?,0 WHERE NOT EXISTS (SELECT 1 FROM property WHERE key=?4)"));
  GW_TRY_ASSIGN(auto insert_stray, fresh.prepare("INSERT OR IGNORE INTO stray VALUES(?, ?)"));
  for (const char* order : {"ASC", "DESC"}) {
    auto select = db->prepare(std::string("SELECT ") + property_columns + " FROM property ORDER BY scope " + order + ", id " + order + ", name " + order);
    while (select) {
      auto there = select->step();
      if (!there || !*there) break;
      PropertyRow row = read_property(*select);
      if (row.id.empty() || row.id.size() > 255 || row.received_at_ms <= 0 || row.key.empty()) continue;
      const std::string_view hash(reinterpret_cast<const char*>(row.sha256.data()), row.sha256.size());
      insert.bind_text(0, row.scope).bind_text(1, row.id).bind_text(2, row.name).bind_text(3, row.key).bind_blob(4, hash);
      insert.bind(5, static_cast<int64_t>(row.bytes)).bind(6, row.received_at_ms);
      GW_TRY(insert.run());
    }
    auto strays = db->prepare(std::string("SELECT key, since FROM stray ORDER BY key ") + order);
    while (strays) {
      auto there = strays->step();
      if (!there || !*there) break;
      const std::string key = strays->bytes(0);
      insert_stray.bind_text(0, key).bind(1, strays->integer(1));
      GW_TRY(insert_stray.run());
    }
  }
  return fresh.exec("DELETE FROM stray WHERE key IN (SELECT key FROM property)");
}

Result<void> DedupStore::Impl::rebuild() {
  if (!set_user_lock(lock_fd.get(), F_WRLCK))
    return Error{ExitCode::not_now, errno, "'" + path + "' is in use: stop the listeners, then repair again"};
  std::string aside = path + ".damaged-" + std::to_string(now_ms()), fresh_path = path + ".new";
  for (const char* suffix : {"", "-wal", "-shm"}) ::unlink((fresh_path + suffix).c_str());
  GW_TRY(create_file(fresh_path, mode));
  GW_TRY_ASSIGN(auto fresh, SqliteDatabase::open(fresh_path, false));
  // DELETE journal: the new file is complete in itself when it takes the place of the old one.
  GW_TRY(fresh->exec("PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA;"));
  GW_TRY(fresh->exec((std::string("BEGIN IMMEDIATE;") + schema_sql + property_schema_sql).c_str()));
  GW_TRY_ASSIGN(auto table, SeenTable::open(*fresh));
  // From both ends: what is behind a damaged page is reached from the other.
  for (const char* order : {"number", "number DESC"}) {
    auto select = db->prepare(std::string("SELECT ") + row_columns + " FROM seen ORDER BY " + order);
    if (!select) continue;
    for (;;) {
      auto there = select->step();
      if (!there || !*there) break;
      DedupRow row = read_row(*select);
      if (row.id.empty() || row.id.size() > 255 || row.seen_at_ms <= 0) continue;
      GW_TRY_ASSIGN(auto known, table->find(row.scope, row.id));
      if (!known) GW_TRY(table->insert(row));
    }
  }
  GW_TRY(copy_properties(*fresh));
  auto horizon = db->query_integer("SELECT value FROM meta WHERE key='horizon'");
  // Rows may be lost. If even the horizon is, everything up to now counts as forgotten: refused rather than delivered twice.
  GW_TRY(raise_horizon(*fresh, horizon ? *horizon : now_ms()));
  GW_TRY(fresh->exec("COMMIT"));
  table.reset();
  fresh.reset();
  close_database();
  for (const char* suffix : {"-wal", "-shm", ""})
    if (::rename((path + suffix).c_str(), (aside + suffix).c_str()) != 0 && errno != ENOENT) return errno_error("rename", path + suffix, errno);
  if (::rename(fresh_path.c_str(), path.c_str()) != 0) return errno_error("rename", fresh_path, errno);
  GW_TRY(open_database());
  GW_TRY(touch());
  set_user_lock(lock_fd.get(), F_RDLCK);
  return {};
}

Result<std::vector<std::string>> DedupStore::check(bool repair) {
  Impl& d = *impl_;
  std::lock_guard<std::mutex> one(d.mutex);
  GW_TRY_ASSIGN(FileLock guard, d.lock());
  GW_TRY_ASSIGN(auto found, d.findings());
  if (!repair || found.empty()) return found;
  if (d.db->exec("BEGIN IMMEDIATE; DELETE FROM recent; DELETE FROM settled; INSERT INTO settled SELECT hash, number FROM seen ORDER BY hash, number; COMMIT")) {
    GW_TRY_ASSIGN(auto left, d.findings());
    if (left.empty()) return found;
  }
  d.db->rollback();
  GW_TRY(d.rebuild());
  return found;
}

Result<std::vector<std::string>> list_dedup_stores(const std::string& root_path) {
  std::vector<std::string> names;
  std::string directory = root_path + "/dedup";
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), &::closedir);
  if (!dir) {
    if (errno == ENOENT) return names;
    return errno_error("open", directory, errno);
  }
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string_view name = entry->d_name;
    if (name.size() <= 3 || name.substr(name.size() - 3) != ".db") continue;
    name.remove_suffix(3);
    if (store_name_ok(name)) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace gw
