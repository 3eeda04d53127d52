#include "outcome_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "sqlite.hpp"
#include "state_files.hpp"
#include "unique_fd.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t application_id = 0x67776f63;  // "gwoc"
constexpr int64_t format_version = 3;
constexpr int64_t log_frames_max = 8000;  // of 1 KiB: then the log is copied into the database
constexpr int64_t hour_ms = 3600 * 1000;
constexpr uint64_t recent_max = 4096;  // outcomes

// What is recorded together is one row of `recent`, packed; when thousands have come they move to `outcomes`, in order. (As one row
// each, an outcome changes pages of its own: five times the writing.)
// The first column of the key is the hour in which a row was written: rows that are written together lie together, and
// old ones go in ranges. A reader looks into each hour that is there, at most 14 x 24.
constexpr const char* schema = R"(
CREATE TABLE outcomes(hour INTEGER NOT NULL, key INTEGER NOT NULL, site TEXT NOT NULL, id TEXT NOT NULL,
  state INTEGER NOT NULL, since INTEGER NOT NULL, attempts INTEGER NOT NULL, status INTEGER NOT NULL,
  reason TEXT NOT NULL, next_try INTEGER NOT NULL, PRIMARY KEY(hour, key, site, id)) WITHOUT ROWID;
CREATE TABLE sites(site TEXT NOT NULL PRIMARY KEY, up INTEGER NOT NULL, last_delivered INTEGER NOT NULL,
  next_try INTEGER NOT NULL, last_error TEXT NOT NULL, probe_interval INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE probes(site TEXT NOT NULL PRIMARY KEY, asked INTEGER NOT NULL) WITHOUT ROWID;
)";
// New in version 2.
constexpr const char* recent_schema =
    "CREATE TABLE recent(n INTEGER PRIMARY KEY, hour INTEGER NOT NULL, count INTEGER NOT NULL, rows BLOB NOT NULL)";

/// FNV-1a: spreads ids; two ids with one value only share a place, the id itself is part of the key.
int64_t key_of(std::string_view id) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char byte : id) hash = (hash ^ byte) * 1099511628211ull;
  return static_cast<int64_t>(hash);
}

/// The fixed part of a packed outcome; site, id and reason follow. The root is only read on the kind of machine that wrote it.
struct PackedHead {
  int64_t key = 0, since = 0, next_try = 0;
  int32_t status = 0;
  uint32_t attempts = 0;
  uint16_t site_bytes = 0, id_bytes = 0, reason_bytes = 0, state = 0;
};
static_assert(sizeof(PackedHead) == 40);

void pack(const Outcome& o, std::string& into) {
  const std::string_view reason = std::string_view(o.reason).substr(0, outcome_reason_bytes_max);
  PackedHead head;
  head.key = key_of(o.id);
  head.since = o.since_ms;
  head.next_try = o.next_try_ms;
  head.status = o.status;
  head.attempts = o.attempts;
  head.state = static_cast<uint16_t>(o.state);
  head.site_bytes = static_cast<uint16_t>(o.site.size());
  head.id_bytes = static_cast<uint16_t>(o.id.size());
  head.reason_bytes = static_cast<uint16_t>(reason.size());
  into.append(reinterpret_cast<const char*>(&head), sizeof head).append(o.site).append(o.id).append(reason);
}

struct Packed {
  PackedHead head;
  std::string_view site, id, reason;
};

/// In the order in which they were packed. Ends early where the bytes make no sense.
template <class Visit>
void unpack(std::string_view bytes, Visit visit) {
  while (bytes.size() >= sizeof(PackedHead)) {
    Packed p;
    std::memcpy(&p.head, bytes.data(), sizeof p.head);
    bytes.remove_prefix(sizeof p.head);
    const size_t site = p.head.site_bytes, id = p.head.id_bytes, reason = p.head.reason_bytes;
    if (site + id + reason > bytes.size()) return;
    p.site = bytes.substr(0, site);
    p.id = bytes.substr(site, id);
    p.reason = bytes.substr(site + id, reason);
    bytes.remove_prefix(site + id + reason);
    visit(p);
  }
}

Outcome outcome_of(const Packed& p) {
  Outcome outcome;
  outcome.id = p.id;
  outcome.site = p.site;
  outcome.state = static_cast<OutcomeState>(p.head.state);
  outcome.since_ms = p.head.since;
  outcome.attempts = p.head.attempts;
  outcome.status = p.head.status;
  outcome.reason = p.reason;
  outcome.next_try_ms = p.head.next_try;
  return outcome;
}

Outcome read_row(SqliteStatement& row, std::string_view id) {
  Outcome outcome;
  outcome.id = id;
  outcome.site = row.bytes(0);
  outcome.state = static_cast<OutcomeState>(row.integer(1));
  outcome.since_ms = row.integer(2);
  outcome.attempts = static_cast<unsigned>(row.integer(3));
  outcome.status = static_cast<int>(row.integer(4));
  outcome.reason = row.bytes(5);
  outcome.next_try_ms = row.integer(6);
  return outcome;
}

/// What was found first is newer.
void add_if_new(std::vector<Outcome>& found, Outcome&& outcome) {
  auto same_site = [&](const Outcome& other) { return other.site == outcome.site; };
  if (std::none_of(found.begin(), found.end(), same_site)) found.push_back(std::move(outcome));
}

}  // namespace

std::string_view to_string(OutcomeState state) {
  switch (state) {
    case OutcomeState::stored: return "stored";
    case OutcomeState::delivered: return "delivered";
    case OutcomeState::failed: return "failed";
    case OutcomeState::expired: return "expired";
    case OutcomeState::purged: return "purged";
  }
  return "stored";
}

class OutcomeStore::Impl {
 public:
  Result<void> open(const std::string& root_path, bool create);
  Result<void> record(const RootClock& clock, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites);
  Result<std::vector<Outcome>> find(std::string_view id);
  Result<std::vector<SiteRecord>> sites();
  Result<void> ask_for_probe(std::span<const std::string> sites, int64_t at_ms);
  Result<std::vector<std::pair<std::string, int64_t>>> probes_asked();
  Result<void> forget_before(int64_t cut_ms);

 private:
  Result<void> create_files(const std::string& root_path, bool create);
  Result<void> set_up();
  Result<void> write_schema();
  Result<void> upgrade(int64_t version);
  Result<void> insert(int64_t hour, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites);
  /// Moves `recent` to `outcomes` when it has grown.
  Result<void> settle(size_t added);
  Result<void> move_recent();
  Result<std::vector<Outcome>> find_recent(std::string_view id);
  template <class Work>
  Result<void> in_transaction(Work work);

  std::mutex mutex_;
  UniqueFd lock_fd_;
  std::unique_ptr<SqliteDatabase> db_;
  std::optional<SqliteStatement> insert_recent_, insert_outcome_, insert_site_, next_hour_, select_, select_recent_;
  uint64_t added_since_count_ = recent_max;  // how many more than at the last count `recent` may have
  int64_t forgotten_hour_ = 0;
};

Result<void> OutcomeStore::Impl::create_files(const std::string& root_path, bool create) {
  struct stat root {};
  if (::stat(root_path.c_str(), &root) != 0) return errno_error("stat", root_path, errno);
  // As all files of a root: for the group too where the root has group access.
  const mode_t mode = (root.st_mode & 0020) != 0 ? 0660 : 0600;
  const std::string lock_path = root_path + "/outcomes.lock", db_path = root_path + "/outcomes.db";
  for (const std::string& path : {lock_path, db_path}) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), mode));
    if (!fd) return errno_error("open", path, errno);
    struct stat file {};
    if (::fstat(fd.get(), &file) != 0) return errno_error("stat", path, errno);
    if (file.st_size == 0 && file.st_uid == ::geteuid() && (file.st_mode & 0777) != mode && ::fchmod(fd.get(), mode) != 0)
      return errno_error("chmod", path, errno);
    if (path == lock_path) lock_fd_ = std::move(fd);
  }
  return {};
}

Result<void> OutcomeStore::Impl::write_schema() {
  // Another process may have done it meanwhile: only an empty database gets the schema.
  GW_TRY_ASSIGN(int64_t tables, db_->query_integer("SELECT count(*) FROM sqlite_schema"));
  if (tables != 0) return {};
  GW_TRY(db_->exec(schema));
  GW_TRY(db_->exec(recent_schema));
  GW_TRY(db_->exec(("PRAGMA application_id=" + std::to_string(application_id)).c_str()));
  return db_->exec(("PRAGMA user_version=" + std::to_string(format_version)).c_str());
}

/// Version 1 had no `recent`, version 2 did not know how long a site that is out of order is left alone.
Result<void> OutcomeStore::Impl::upgrade(int64_t version) {
  if (version != 1 && version != 2) return {};
  ExclusiveFlock lock(lock_fd_.get());
  GW_TRY_ASSIGN(version, db_->query_integer("PRAGMA user_version"));
  if (version != 1 && version != 2) return {};
  const std::string recent = version == 1 ? std::string(recent_schema) + ";" : "";
  return db_->exec(("BEGIN IMMEDIATE;" + recent +
                    "ALTER TABLE sites ADD COLUMN probe_interval INTEGER NOT NULL DEFAULT 0; PRAGMA user_version=3; COMMIT").c_str());
}

Result<void> OutcomeStore::Impl::set_up() {
  GW_TRY(db_->exec("PRAGMA synchronous=FULL; PRAGMA cache_size=-8192"));
  GW_TRY_ASSIGN(int64_t version, db_->query_integer("PRAGMA user_version"));
  if (version == 0) {
    ExclusiveFlock lock(lock_fd_.get());
    GW_TRY(db_->exec("PRAGMA page_size=1024"));  // rows are small and go to pages all over: less to write and sync
    GW_TRY(db_->exec("PRAGMA journal_mode=WAL"));
    GW_TRY(db_->exec("BEGIN IMMEDIATE"));
    auto written = write_schema();
    if (written) written = db_->exec("COMMIT");
    if (!written) {
      db_->rollback();
      return std::move(written).error();
    }
  }
  GW_TRY_ASSIGN(int64_t application, db_->query_integer("PRAGMA application_id"));
  if (application == application_id) GW_TRY(upgrade(version));
  GW_TRY_ASSIGN(version, db_->query_integer("PRAGMA user_version"));
  if (application != application_id || version != format_version)
    return Error{ExitCode::system, 0, "'" + db_->path() + "' is not an outcome store of version " + std::to_string(format_version)};
  GW_TRY_ASSIGN(insert_recent_, db_->prepare("INSERT INTO recent(hour, count, rows) VALUES(?,?,?)"));
  GW_TRY_ASSIGN(select_recent_, db_->prepare("SELECT rows FROM recent ORDER BY n DESC"));
  GW_TRY_ASSIGN(insert_outcome_, db_->prepare("INSERT OR REPLACE INTO outcomes VALUES(?,?,?,?,?,?,?,?,?,?)"));
  GW_TRY_ASSIGN(insert_site_, db_->prepare("INSERT INTO sites VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT(site) DO UPDATE SET up=?2, "
                                           "last_delivered=max(last_delivered,?3), next_try=?4, probe_interval=?6, "
                                           "last_error=CASE WHEN ?5='' THEN last_error ELSE ?5 END"));
  GW_TRY_ASSIGN(next_hour_, db_->prepare("SELECT hour FROM outcomes WHERE hour<? ORDER BY hour DESC LIMIT 1"));
  GW_TRY_ASSIGN(select_, db_->prepare("SELECT site,state,since,attempts,status,reason,next_try FROM outcomes "
                                      "WHERE hour=? AND key=? AND id=? ORDER BY since DESC"));
  return {};
}

Result<void> OutcomeStore::Impl::open(const std::string& root_path, bool create) {
  GW_TRY(create_files(root_path, create));
  GW_TRY_ASSIGN(db_, SqliteDatabase::open(root_path + "/outcomes.db", create));
  return set_up();
}

template <class Work>
Result<void> OutcomeStore::Impl::in_transaction(Work work) {
  ExclusiveFlock lock(lock_fd_.get());
  GW_TRY(db_->exec("BEGIN IMMEDIATE"));
  db_->make_log_space();
  Result<void> done = work();
  if (done) done = db_->exec("COMMIT");
  if (!done) {
    db_->rollback();
    return done;
  }
  // A log that cannot be copied now (full disk, a reader) is copied later: nothing is lost.
  if (db_->log_frames() > log_frames_max) {
    if (auto copied = db_->checkpoint_truncate(); !copied && copied.error().code == ExitCode::io_error) return copied;
  }
  return {};
}

Result<void> OutcomeStore::Impl::insert(int64_t hour, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites) {
  if (!outcomes.empty()) {
    std::string rows;
    for (const Outcome& o : outcomes) pack(o, rows);
    insert_recent_->bind(0, hour).bind(1, static_cast<int64_t>(outcomes.size())).bind_blob(2, rows);
    GW_TRY(insert_recent_->run());
  }
  for (const SiteRecord& s : sites) {
    insert_site_->bind_text(0, s.site).bind(1, s.up ? 1 : 0).bind(2, s.last_delivered_ms).bind(3, s.next_try_ms);
    insert_site_->bind_text(4, std::string_view(s.last_error).substr(0, outcome_reason_bytes_max)).bind(5, s.probe_interval_ms);
    GW_TRY(insert_site_->run());
  }
  return {};
}

Result<void> OutcomeStore::Impl::move_recent() {
  struct Row {
    int64_t hour;
    Packed packed;
  };
  std::vector<std::string> blobs;
  std::vector<int64_t> hours;
  GW_TRY_ASSIGN(SqliteStatement read, db_->prepare("SELECT hour, rows FROM recent ORDER BY n"));
  for (;;) {
    GW_TRY_ASSIGN(bool more, read.step());
    if (!more) break;
    hours.push_back(read.integer(0));
    blobs.push_back(read.bytes(1));
  }
  std::vector<Row> rows;
  for (size_t i = 0; i < blobs.size(); ++i) unpack(blobs[i], [&](const Packed& packed) { rows.push_back({hours[i], packed}); });
  // Stable: of two for one message the later one replaces the earlier one.
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return a.hour != b.hour ? a.hour < b.hour : a.packed.head.key < b.packed.head.key;
  });
  // Rows of a later hour come from a clock that was ahead: they must not hide what is newer.
  GW_TRY_ASSIGN(int64_t last_hour, db_->query_integer("SELECT coalesce(max(hour),0) FROM outcomes"));
  GW_TRY_ASSIGN(SqliteStatement drop, db_->prepare("DELETE FROM outcomes WHERE hour>? AND key=? AND site=? AND id=?"));
  for (const auto& [hour, p] : rows) {
    if (last_hour > hour) {
      drop.bind(0, hour).bind(1, p.head.key).bind_text(2, p.site).bind_text(3, p.id);
      GW_TRY(drop.run());
    }
    insert_outcome_->bind(0, hour).bind(1, p.head.key).bind_text(2, p.site).bind_text(3, p.id);
    insert_outcome_->bind(4, p.head.state).bind(5, p.head.since).bind(6, p.head.attempts).bind(7, p.head.status);
    insert_outcome_->bind_text(8, p.reason).bind(9, p.head.next_try);
    GW_TRY(insert_outcome_->run());
  }
  return db_->exec("DELETE FROM recent");
}

Result<void> OutcomeStore::Impl::settle(size_t added) {
  added_since_count_ += added;
  if (added_since_count_ < recent_max) return {};
  GW_TRY_ASSIGN(int64_t there, db_->query_integer("SELECT sum(count) FROM recent"));
  added_since_count_ = static_cast<uint64_t>(there);
  if (added_since_count_ < recent_max) return {};
  // On a full disk they stay where they are.
  auto moved = in_transaction([&] { return move_recent(); });
  added_since_count_ = 0;
  if (!moved && moved.error().code == ExitCode::not_now) return {};
  return moved;
}

Result<void> OutcomeStore::Impl::record(const RootClock& clock, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites) {
  std::lock_guard guard(mutex_);
  const int64_t hour = clock.now_ms / hour_ms;
  GW_TRY(in_transaction([&] { return insert(hour, outcomes, sites); }));
  GW_TRY(settle(outcomes.size()));
  if (hour == forgotten_hour_ || !clock.may_purge) return {};
  forgotten_hour_ = hour;
  return forget_before(clock.now_ms - outcome_keep_ms);
}

Result<void> OutcomeStore::Impl::forget_before(int64_t cut_ms) {
  GW_TRY_ASSIGN(SqliteStatement forget_recent, db_->prepare("DELETE FROM recent WHERE hour<?"));
  forget_recent.bind(0, cut_ms / hour_ms);
  GW_TRY(in_transaction([&] { return forget_recent.run(); }));
  GW_TRY_ASSIGN(SqliteStatement oldest, db_->prepare("SELECT min(hour) FROM outcomes"));
  GW_TRY_ASSIGN(SqliteStatement forget, db_->prepare("DELETE FROM outcomes WHERE hour<?"));
  // Hour by hour: no transaction grows beyond what one hour brought.
  for (;;) {
    GW_TRY_ASSIGN(bool any, oldest.step());
    const int64_t hour = any ? oldest.integer(0) : 0;
    oldest.reset();
    if (hour == 0 || (hour + 1) * hour_ms > cut_ms) return {};
    forget.bind(0, hour + 1);
    GW_TRY(in_transaction([&] { return forget.run(); }));
  }
}

/// The newest row of each site.
Result<std::vector<Outcome>> OutcomeStore::Impl::find_recent(std::string_view id) {
  const int64_t key = key_of(id);
  std::vector<Outcome> found;
  for (;;) {
    GW_TRY_ASSIGN(bool more, select_recent_->step());
    if (!more) return found;
    std::vector<Outcome> here;
    const std::string bytes = select_recent_->bytes(0);
    unpack(bytes, [&](const Packed& packed) {
      if (packed.head.key == key && packed.id == id) here.push_back(outcome_of(packed));
    });
    for (auto latest = here.rbegin(); latest != here.rend(); ++latest) add_if_new(found, std::move(*latest));
  }
}

// Rows move from `recent` to `outcomes` only, so nothing is missed between the two.
Result<std::vector<Outcome>> OutcomeStore::Impl::find(std::string_view id) {
  std::lock_guard guard(mutex_);
  GW_TRY_ASSIGN(std::vector<Outcome> found, find_recent(id));
  for (int64_t hour = INT64_MAX;;) {
    next_hour_->bind(0, hour);
    GW_TRY_ASSIGN(bool any, next_hour_->step());
    if (!any) return found;
    hour = next_hour_->integer(0);
    next_hour_->reset();
    select_->bind(0, hour).bind(1, key_of(id)).bind_text(2, id);
    for (;;) {
      GW_TRY_ASSIGN(bool row, select_->step());
      if (!row) break;
      add_if_new(found, read_row(*select_, id));
    }
  }
}

Result<std::vector<SiteRecord>> OutcomeStore::Impl::sites() {
  std::lock_guard guard(mutex_);
  std::vector<SiteRecord> all;
  GW_TRY_ASSIGN(SqliteStatement rows, db_->prepare("SELECT site,up,last_delivered,next_try,last_error,probe_interval FROM sites ORDER BY site"));
  for (;;) {
    GW_TRY_ASSIGN(bool row, rows.step());
    if (!row) return all;
    all.push_back({rows.bytes(0), rows.integer(1) != 0, rows.integer(2), rows.integer(3), rows.bytes(4), rows.integer(5)});
  }
}

Result<void> OutcomeStore::Impl::ask_for_probe(std::span<const std::string> names, int64_t at_ms) {
  std::lock_guard guard(mutex_);
  GW_TRY_ASSIGN(SqliteStatement ask, db_->prepare("INSERT OR REPLACE INTO probes VALUES(?,?)"));
  return in_transaction([&]() -> Result<void> {
    for (const std::string& site : names) {
      ask.bind_text(0, site).bind(1, at_ms);
      GW_TRY(ask.run());
    }
    return {};
  });
}

Result<std::vector<std::pair<std::string, int64_t>>> OutcomeStore::Impl::probes_asked() {
  std::lock_guard guard(mutex_);
  std::vector<std::pair<std::string, int64_t>> all;
  GW_TRY_ASSIGN(SqliteStatement rows, db_->prepare("SELECT site,asked FROM probes"));
  for (;;) {
    GW_TRY_ASSIGN(bool row, rows.step());
    if (!row) return all;
    all.emplace_back(rows.bytes(0), rows.integer(1));
  }
}

OutcomeStore::OutcomeStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OutcomeStore::~OutcomeStore() = default;

Result<std::unique_ptr<OutcomeStore>> OutcomeStore::open(const std::string& root_path, bool create) {
  auto impl = std::make_unique<Impl>();
  GW_TRY(impl->open(root_path, create));
  return std::unique_ptr<OutcomeStore>(new OutcomeStore(std::move(impl)));
}

Result<void> OutcomeStore::record(const RootClock& clock, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites) {
  return impl_->record(clock, outcomes, sites);
}
Result<std::vector<Outcome>> OutcomeStore::find(std::string_view id) { return impl_->find(id); }
Result<std::optional<Outcome>> OutcomeStore::find(std::string_view id, std::string_view site) {
  GW_TRY_ASSIGN(std::vector<Outcome> all, impl_->find(id));
  for (Outcome& outcome : all)
    if (outcome.site == site) return std::optional<Outcome>(std::move(outcome));
  return std::optional<Outcome>();
}
Result<std::vector<SiteRecord>> OutcomeStore::sites() { return impl_->sites(); }
Result<void> OutcomeStore::ask_for_probe(std::span<const std::string> sites, int64_t at_ms) {
  return impl_->ask_for_probe(sites, at_ms);
}
Result<std::vector<std::pair<std::string, int64_t>>> OutcomeStore::probes_asked() { return impl_->probes_asked(); }
Result<void> OutcomeStore::forget_before(int64_t cut_ms) { return impl_->forget_before(cut_ms); }

}  // namespace gw
