#include "archive_state.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "archive_reader.hpp"
#include "diag.hpp"
#include "hash.hpp"
#include "sqlite.hpp"
#include "state_files.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr const char* databases[] = {"outcomes.db", "subscriptions.db"};
constexpr const char* map_directory = "instance-map";
constexpr int64_t recent_ms = 3600 * 1000;  // clocks are set, transactions take their time
constexpr size_t rows_at_once = 1000;

// Messages of NServiceBus 3 that wait for their last step: the sender begins again when nobody knows them.
bool is_held_step(const DedupRow& row) { return row.queue.ends_with(".legacy"); }

/// Hands on all of a file in pieces.
Result<void> read_file(const std::string& path, const std::function<Result<void>(std::string_view)>& on_bytes) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return errno_error("open", path, errno);
  std::string chunk(archive_chunk_bytes, '\0');
  for (;;) {
    ssize_t n = ::read(fd.get(), chunk.data(), chunk.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", path, errno);
    if (n == 0) return {};
    GW_TRY(on_bytes(std::string_view(chunk.data(), static_cast<size_t>(n))));
  }
}

Result<void> write_file(TarWriter& tar, const std::string& name, const std::string& path, int64_t modified_ms, const std::function<Result<void>()>& flush) {
  Digest digest(Digest::Kind::sha256);
  uint64_t bytes = 0;
  GW_TRY(read_file(path, [&](std::string_view chunk) -> Result<void> {
    digest.update(chunk);
    bytes += chunk.size();
    return {};
  }));
  GW_TRY(tar.begin({std::string(archive_state_prefix) + name, bytes, modified_ms, '0', {{"GATEPOST.sha256", hex(digest.finish())}}}));
  GW_TRY(read_file(path, [&](std::string_view chunk) -> Result<void> {
    GW_TRY(tar.data(chunk));
    return flush();
  }));
  return tar.end();
}

/// Visible regular files of a directory, sorted; none if there is no directory. Locks and what is shared in memory stay where they are.
Result<std::vector<std::string>> files_in(const std::string& directory) {
  std::vector<std::string> names;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), &::closedir);
  if (!dir && errno == ENOENT) return names;
  if (!dir) return errno_error("open", directory, errno);
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    struct stat status{};
    if (name[0] == '.' || name == "lock" || name.ends_with(".lock") || name.ends_with(".v") || name.ends_with(".tmp")) continue;
    if (::fstatat(::dirfd(dir.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Visits the rows of a store in pieces; `visit` may change the store.
Result<void> each_rows(DedupStore& store, const std::function<bool(const DedupRow&)>& wanted, const std::function<Result<void>(std::span<DedupRow>)>& visit) {
  std::vector<DedupRow> rows;
  Result<void> done;
  GW_TRY(store.list([&](const DedupRow& row) {
    if (wanted(row)) rows.push_back(row);
    if (rows.size() < rows_at_once) return true;
    done = visit(rows);
    rows.clear();
    return static_cast<bool>(done);
  }));
  GW_TRY(done);
  return rows.empty() ? Result<void>() : visit(rows);
}

/// Each on its own; those that are there stay as they are.
Result<void> add_rows(DedupStore& store, std::span<const DedupRow> rows) {
  std::vector<uint32_t> groups(rows.size());
  for (uint32_t i = 0; i < groups.size(); ++i) groups[i] = i;
  auto decided = store.decide(rows, groups);
  return decided ? Result<void>() : Result<void>(std::move(decided).error());
}

}  // namespace

// --- temporary files ------------------------------------------------------------------------------------------------------

Result<TemporaryDirectory> TemporaryDirectory::create() {
  const char* wanted = ::getenv("TMPDIR");
  std::string path = std::string(wanted && *wanted ? wanted : "/var/tmp") + "/gatepost.XXXXXX";
  if (!::mkdtemp(path.data())) return errno_error("create a directory", path, errno);
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Result<std::string> TemporaryDirectory::file(const std::string& relative) const {
  const std::string path = path_ + "/" + relative;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return errno_error("create", path, error.value());
  return path;
}

// --- export ---------------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<RootState>> RootState::take(Root& root) {
  GW_TRY_ASSIGN(TemporaryDirectory directory, TemporaryDirectory::create());
  std::unique_ptr<RootState> state(new RootState(root, std::move(directory), now_ms()));
  // What dead processes have left is decided first: their ids belong to messages that can be seen then.
  GW_TRY(root.recover_dead_owners());
  GW_TRY(state->copy_databases());
  GW_TRY(state->copy_stores());
  return state;
}

Result<void> RootState::copy_databases() {
  for (const char* name : databases) {
    const std::string path = root_.path() + "/" + name;
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0 || status.st_size == 0) continue;
    GW_TRY_ASSIGN(auto database, SqliteDatabase::open(path, false));
    GW_TRY_ASSIGN(std::string copy, directory_.file(name));
    GW_TRY(database->copy_into(copy));
    // A copy begins without the write-ahead log that its users expect.
    GW_TRY_ASSIGN(auto copied, SqliteDatabase::open(copy, false));
    GW_TRY(copied->exec("PRAGMA journal_mode=WAL"));
    databases_.push_back(name);
  }
  return {};
}

Result<void> RootState::copy_stores() {
  GW_TRY_ASSIGN(auto names, list_dedup_stores(root_.path()));
  for (const std::string& name : names) {
    GW_TRY_ASSIGN(std::string copied, directory_.file("dedup/" + name + ".db"));
    {
      GW_TRY_ASSIGN(auto live, DedupStore::open(root_.path(), name, false));
      GW_TRY(live->copy_to(copied));
    }
    GW_TRY_ASSIGN(auto copy, DedupStore::open(directory_.path(), name, false));
    auto open_or_held = [this](const DedupRow& row) { return is_held_step(row) || root_.xid_in_use(row.xid); };
    GW_TRY(each_rows(*copy, open_or_held, [&](std::span<DedupRow> rows) { return copy->withdraw(rows); }));
    stores_.emplace_back(name, std::move(copy));
  }
  return {};
}

void RootState::note_exported(const std::string& queue, const MessageInfo& info) {
  if (info.put_at_ms >= taken_at_ms_ - recent_ms) recent_[queue].insert(info.seq);
}

Result<void> RootState::add_ids(const std::string& name, DedupStore& copy) {
  auto live = DedupStore::open(root_.path(), name, false);
  if (!live) return live.error().code == ExitCode::no_input ? Result<void>() : Result<void>(std::move(live).error());
  auto exported = [this](const DedupRow& row) {
    auto queue = recent_.find(row.queue);
    return !is_held_step(row) && queue != recent_.end() && queue->second.contains(row.seq);
  };
  return each_rows(**live, exported, [&](std::span<DedupRow> rows) { return add_rows(copy, rows); });
}

Result<void> RootState::write(TarWriter& tar, const std::string& gone, const std::function<Result<void>()>& flush) {
  const std::string prefix(archive_state_prefix);
  GW_TRY(tar.begin({prefix, 0, taken_at_ms_, '5',
                    {{"GATEPOST.format", archive_format}, {"GATEPOST.machine", root_.machine()}, {"GATEPOST.exported_at", format_rfc3339(taken_at_ms_)}}}));
  GW_TRY(tar.end());
  Digest digest(Digest::Kind::sha256);
  digest.update(gone);
  GW_TRY(tar.begin({prefix + std::string(archive_gone_name), gone.size(), now_ms(), '0', {{"GATEPOST.sha256", hex(digest.finish())}}}));
  GW_TRY(tar.data(gone));
  GW_TRY(tar.end());
  for (auto& [name, copy] : stores_) {
    GW_TRY(add_ids(name, *copy));
    GW_TRY_ASSIGN(std::string path, directory_.file("written/" + name + ".db"));
    GW_TRY(copy->copy_to(path));
    GW_TRY(write_file(tar, "dedup/" + name + ".db", path, taken_at_ms_, flush));
  }
  for (const std::string& name : databases_) GW_TRY(write_file(tar, name, directory_.path() + "/" + name, taken_at_ms_, flush));
  GW_TRY_ASSIGN(auto files, files_in(root_.path() + "/" + map_directory));
  for (const std::string& name : files) {
    // A file that is replaced meanwhile is read whole: copied first.
    GW_TRY_ASSIGN(std::string copy, directory_.file(std::string(map_directory) + "/" + name));
    std::error_code error;
    std::filesystem::copy_file(root_.path() + "/" + map_directory + "/" + name, copy, error);
    if (error == std::errc::no_such_file_or_directory) continue;
    if (error) return errno_error("copy", root_.path() + "/" + map_directory + "/" + name, error.value());
    GW_TRY(write_file(tar, std::string(map_directory) + "/" + name, copy, taken_at_ms_, flush));
  }
  return {};
}

// --- import ---------------------------------------------------------------------------------------------------------------

Result<void> ArchivedState::begin(const std::string& path) {
  GW_TRY_ASSIGN(file_path_, directory_.file(path));
  file_ = UniqueFd(::open(file_path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file_) return errno_error("create", file_path_, errno);
  paths_.push_back(path);
  return {};
}

Result<void> ArchivedState::write(std::string_view bytes) { return write_all(file_.get(), bytes, file_path_); }

Result<void> ArchivedState::end() {
  file_ = UniqueFd();
  return {};
}

Result<void> ArchivedState::restore(Root& root) {
  constexpr std::string_view store_prefix = "dedup/", store_suffix = ".db";
  for (const std::string& path : paths_) {
    if (path.starts_with(store_prefix) && path.ends_with(store_suffix)) {
      GW_TRY(restore_ids(root, path.substr(store_prefix.size(), path.size() - store_prefix.size() - store_suffix.size())));
    } else {
      const bool known = std::find(std::begin(databases), std::end(databases), path) != std::end(databases) || path.starts_with(std::string(map_directory) + "/");
      // Of a newer version, say: nothing is put anywhere that this one does not know.
      if (known) GW_TRY(restore_file(root, path));
      else event(Level::warn, "not-imported", {{"path", path}, {"reason", "not known"}});
    }
  }
  return {};
}

Result<void> ArchivedState::restore_ids(Root& root, const std::string& name) {
  GW_TRY_ASSIGN(auto from, DedupStore::open(directory_.path(), name, false));
  GW_TRY_ASSIGN(auto into, DedupStore::open(root.path(), name, true));
  auto all = [](const DedupRow&) { return true; };
  GW_TRY(each_rows(*from, all, [&](std::span<DedupRow> rows) {
    for (DedupRow& row : rows) {
      // Transactions and numbers of another root mean nothing here.
      row.xid = {};
      row.seq = 0;
    }
    return add_rows(*into, rows);
  }));
  GW_TRY_ASSIGN(int64_t horizon, from->horizon_ms());
  GW_TRY_ASSIGN(int64_t own_horizon, into->horizon_ms());
  if (horizon <= own_horizon) return {};
  GW_TRY(root.recover_dead_owners());
  auto purged = into->purge(horizon, [&](const Xid& xid) { return root.xid_in_use(xid); }, false);
  return purged ? Result<void>() : Result<void>(std::move(purged).error());
}

Result<void> ArchivedState::restore_file(Root& root, const std::string& path) {
  const std::string target = root.path() + "/" + path, fresh = target + ".import.tmp";
  struct stat status{};
  if (::lstat(target.c_str(), &status) == 0 && status.st_size > 0) {
    event(Level::info, "not-imported", {{"path", target}, {"reason", "there is one already"}});
    return {};
  }
  if (::stat(root.path().c_str(), &status) != 0) return errno_error("stat", root.path(), errno);
  const bool shared = (status.st_mode & 0020) != 0;
  const std::string directory = target.substr(0, target.rfind('/'));
  if (::mkdir(directory.c_str(), 0700) == 0) {
    if (shared && ::chmod(directory.c_str(), 02770) != 0) return errno_error("change mode of", directory, errno);
  } else if (errno != EEXIST) {
    return errno_error("create", directory, errno);
  }
  // Programs that only read a database do not make its lock file.
  if (target.ends_with(".db")) {
    const std::string lock_path = target.substr(0, target.size() - 3) + ".lock";
    UniqueFd lock(::open(lock_path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock) return errno_error("create", lock_path, errno);
    if (shared) ::fchmod(lock.get(), 0660);
  }
  UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno_error("create", fresh, errno);
  if (shared && ::fchmod(file.get(), 0660) != 0) return errno_error("change mode of", fresh, errno);
  GW_TRY(read_file(directory_.path() + "/" + path, [&](std::string_view chunk) { return write_all(file.get(), chunk, fresh); }));
  if (::fsync(file.get()) != 0) return errno_error("sync", fresh, errno);
  if (::rename(fresh.c_str(), target.c_str()) != 0) return errno_error("rename", fresh, errno);
  UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!parent || ::fsync(parent.get()) != 0) return errno_error("sync", directory, errno);
  return {};
}

}  // namespace gw::inspect
