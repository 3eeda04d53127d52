#include "dedup_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <numeric>

#include "dedup_store_impl.hpp"
#include "units.hpp"

namespace gw {

using namespace dedup_parts;

namespace {

constexpr int64_t application_id = 0x47775464;  // "GwTd"
constexpr int64_t schema_version = 1;
// Two thirds of what one page of SQLite's shared index describes: a commit never has to grow that index on a full disk.
constexpr int64_t checkpoint_frames = 2500;
constexpr int64_t list_batch_rows = 1000;
constexpr int64_t recent_slices = 8;

bool store_name_ok(std::string_view name) {
  if (name.substr(0, 1) == "+") name.remove_prefix(1);
  if (name.empty() || name.size() > 151 || name[0] == '.' || name[0] == '-') return false;
  return name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == std::string_view::npos;
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

}  // namespace

namespace dedup_parts {

// Rows are appended, so a batch changes few pages. What makes ids findable is an index of keyed hashes in two levels: a batch of random
// ids changes a page of the small level for some rows, and the large level only when a slice of the small one moves into it in order.
// (As one B-tree by id each row of a batch changes a page of its own: five times the cost.)
const char schema_sql[] =
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
const char property_schema_sql[] =
    "CREATE TABLE IF NOT EXISTS property(scope TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL COLLATE NOCASE, key TEXT NOT NULL,"
    "    sha256 BLOB NOT NULL, bytes INTEGER NOT NULL, received_at INTEGER NOT NULL, leased_until INTEGER NOT NULL,"
    "    PRIMARY KEY(scope, id, name)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS stray(key TEXT PRIMARY KEY NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID;";

Result<bool> create_file(const std::string& path, mode_t mode) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) {
    if (errno == EEXIST) return false;
    return errno_error("create", path, errno);
  }
  if (::fchmod(fd.get(), mode) != 0) return errno_error("change mode of", path, errno);
  return true;
}

Result<FileLock> FileLock::take(int fd, const std::string& path) {
  while (::flock(fd, LOCK_EX) != 0)
    if (errno != EINTR) return errno_error("lock", path, errno);
  return FileLock(fd);
}
FileLock::~FileLock() {
  if (fd_ >= 0) ::flock(fd_, LOCK_UN);
}

bool set_user_lock(int fd, short type) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &range) == 0;
}

}  // namespace dedup_parts

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

// --- looking ----------------------------------------------------------------------------------------------------------

Result<int64_t> DedupStore::horizon_ms() {
  std::lock_guard<std::mutex> one(impl_->mutex);
  return impl_->db->query_integer("SELECT value FROM meta WHERE key='horizon'");
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
