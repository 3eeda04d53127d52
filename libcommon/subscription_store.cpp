#include "subscription_store.hpp"

#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "sqlite.hpp"
#include "unique_fd.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t application_id = 0x67777362;  // "gwsb"
constexpr int64_t format_version = 1;
// How long it is known that somebody has unsubscribed: longer than any message is on its way.
constexpr int64_t ended_keep_ms = 30ll * 24 * 3600 * 1000;

// Who has unsubscribed keeps a row (active=0) for a while, so that an older request that comes late does not bring it back.
constexpr const char* schema = R"(
CREATE TABLE subscriptions(n INTEGER PRIMARY KEY, publisher TEXT NOT NULL, type TEXT NOT NULL, address TEXT NOT NULL COLLATE NOCASE,
  endpoint TEXT NOT NULL, since INTEGER NOT NULL, sent INTEGER NOT NULL, active INTEGER NOT NULL, UNIQUE(publisher, type, address));
)";

}  // namespace

class SubscriptionStore::Impl {
 public:
  Result<void> open(const std::string& root_path, bool create);
  Result<SubscriptionChange> change(const Subscription& one, bool active, int64_t sent_at_ms);
  Result<size_t> remove(std::span<const Subscription> which);
  Result<std::vector<Subscription>> list(std::string_view publisher);
  Result<std::vector<Subscription>> subscribers(std::string_view publisher, std::span<const std::string> types);

 private:
  struct Row {
    std::string endpoint, address;
    int64_t sent = 0;
    bool active = false;
  };
  Result<void> create_file(const std::string& path, const std::string& root_path);
  Result<void> set_up();
  Result<std::optional<Row>> find(const Subscription& one);
  Result<SubscriptionChange> change_row(const Subscription& one, bool active, int64_t sent_at_ms);
  Result<std::vector<Subscription>> read(SqliteStatement& rows);
  template <class T, class Work>
  Result<T> in_transaction(Work work);

  std::unique_ptr<SqliteDatabase> db_;
  std::optional<SqliteStatement> find_, write_, select_, delete_, forget_;
};

// The file is made empty here for its mode; SQLite's journal gets the same one. Only who makes it may open and close it: a descriptor
// of this file that is closed takes the locks of all connections of this process with it.
Result<void> SubscriptionStore::Impl::create_file(const std::string& path, const std::string& root_path) {
  struct stat root {};
  if (::stat(root_path.c_str(), &root) != 0) return errno_error("stat", root_path, errno);
  const mode_t mode = (root.st_mode & 0020) != 0 ? 0660 : 0600;
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return errno == EEXIST ? Result<void>() : errno_error("create", path, errno);
  if (::fchmod(fd.get(), mode) != 0) return errno_error("chmod", path, errno);
  return {};
}

Result<void> SubscriptionStore::Impl::set_up() {
  GW_TRY(db_->exec("PRAGMA synchronous=EXTRA"));
  GW_TRY_ASSIGN(int64_t version, db_->query_integer("PRAGMA user_version"));
  if (version == 0) {
    auto made = in_transaction<int>([this]() -> Result<int> {
      // Another process may have done it meanwhile.
      GW_TRY_ASSIGN(int64_t tables, db_->query_integer("SELECT count(*) FROM sqlite_schema"));
      if (tables != 0) return 0;
      GW_TRY(db_->exec(schema));
      GW_TRY(db_->exec(("PRAGMA application_id=" + std::to_string(application_id)).c_str()));
      GW_TRY(db_->exec(("PRAGMA user_version=" + std::to_string(format_version)).c_str()));
      return 0;
    });
    if (!made) return std::move(made).error();
  }
  GW_TRY_ASSIGN(int64_t application, db_->query_integer("PRAGMA application_id"));
  GW_TRY_ASSIGN(version, db_->query_integer("PRAGMA user_version"));
  if (application != application_id || version != format_version)
    return Error{ExitCode::system, 0, "'" + db_->path() + "' is no store of subscriptions of version " + std::to_string(format_version)};
  GW_TRY_ASSIGN(find_, db_->prepare("SELECT endpoint, address, sent, active FROM subscriptions WHERE publisher=? AND type=? AND address=?"));
  GW_TRY_ASSIGN(write_, db_->prepare("INSERT INTO subscriptions(publisher, type, address, endpoint, since, sent, active) VALUES(?1,?2,?3,?4,?5,?6,?7) "
                                     "ON CONFLICT(publisher, type, address) DO UPDATE SET address=?3, endpoint=?4, "
                                     "since=CASE WHEN active AND ?7 THEN since ELSE ?5 END, sent=?6, active=?7"));
  GW_TRY_ASSIGN(select_, db_->prepare("SELECT publisher, type, endpoint, address, since FROM subscriptions WHERE active AND publisher=? AND type=? ORDER BY n"));
  GW_TRY_ASSIGN(delete_, db_->prepare("DELETE FROM subscriptions WHERE publisher=? AND type=? AND address=? AND active"));
  GW_TRY_ASSIGN(forget_, db_->prepare("DELETE FROM subscriptions WHERE NOT active AND since<?"));
  return {};
}

Result<void> SubscriptionStore::Impl::open(const std::string& root_path, bool create) {
  const std::string path = root_path + "/subscriptions.db";
  if (create) GW_TRY(create_file(path, root_path));
  GW_TRY_ASSIGN(db_, SqliteDatabase::open(path, create));
  return set_up();
}

template <class T, class Work>
Result<T> SubscriptionStore::Impl::in_transaction(Work work) {
  GW_TRY(db_->exec("BEGIN IMMEDIATE"));
  Result<T> done = work();
  if (done)
    if (auto committed = db_->exec("COMMIT"); !committed) done = std::move(committed).error();
  if (!done) db_->rollback();
  return done;
}

Result<std::optional<SubscriptionStore::Impl::Row>> SubscriptionStore::Impl::find(const Subscription& one) {
  find_->bind_text(0, one.publisher).bind_text(1, one.type).bind_text(2, one.address);
  GW_TRY_ASSIGN(bool there, find_->step());
  if (!there) return std::optional<Row>();
  Row row{find_->bytes(0), find_->bytes(1), find_->integer(2), find_->integer(3) != 0};
  find_->reset();
  return std::optional<Row>(std::move(row));
}

Result<SubscriptionChange> SubscriptionStore::Impl::change_row(const Subscription& one, bool active, int64_t sent_at_ms) {
  GW_TRY_ASSIGN(auto row, find(one));
  if (row && sent_at_ms < row->sent) return row->active == active ? SubscriptionChange::known : SubscriptionChange::outdated;
  const bool same = row && row->active == active && (!active || (row->endpoint == one.endpoint && row->address == one.address));
  // Somebody who says the same at each start must not cost a write for each; a minute more or less does not matter.
  constexpr int64_t sent_again_ms = 60'000;
  if (same && sent_at_ms - row->sent < sent_again_ms) return SubscriptionChange::known;
  const std::string& endpoint = active || !row ? one.endpoint : row->endpoint;
  write_->bind_text(0, one.publisher).bind_text(1, one.type).bind_text(2, one.address).bind_text(3, endpoint);
  write_->bind(4, now_ms()).bind(5, sent_at_ms).bind(6, active ? 1 : 0);
  GW_TRY(write_->run());
  forget_->bind(0, now_ms() - ended_keep_ms);
  GW_TRY(forget_->run());
  return same ? SubscriptionChange::known : !active && !row ? SubscriptionChange::known : SubscriptionChange::made;
}

Result<SubscriptionChange> SubscriptionStore::Impl::change(const Subscription& one, bool active, int64_t sent_at_ms) {
  // A clock that was ahead must not have the last word for ever.
  sent_at_ms = std::min(sent_at_ms, now_ms());
  return in_transaction<SubscriptionChange>([&] { return change_row(one, active, sent_at_ms); });
}

Result<size_t> SubscriptionStore::Impl::remove(std::span<const Subscription> which) {
  return in_transaction<size_t>([&]() -> Result<size_t> {
    size_t removed = 0;
    for (const Subscription& one : which) {
      delete_->bind_text(0, one.publisher).bind_text(1, one.type).bind_text(2, one.address);
      GW_TRY(delete_->run());
      removed += static_cast<size_t>(db_->changes());
    }
    return removed;
  });
}

Result<std::vector<Subscription>> SubscriptionStore::Impl::read(SqliteStatement& rows) {
  std::vector<Subscription> found;
  for (;;) {
    GW_TRY_ASSIGN(bool more, rows.step());
    if (!more) return found;
    found.push_back({rows.bytes(0), rows.bytes(1), rows.bytes(2), rows.bytes(3), rows.integer(4)});
  }
}

Result<std::vector<Subscription>> SubscriptionStore::Impl::list(std::string_view publisher) {
  const std::string where = publisher.empty() ? "" : " AND publisher=?";
  GW_TRY_ASSIGN(SqliteStatement rows, db_->prepare("SELECT publisher, type, endpoint, address, since FROM subscriptions WHERE active" + where + " ORDER BY n"));
  if (!publisher.empty()) rows.bind_text(0, publisher);
  return read(rows);
}

Result<std::vector<Subscription>> SubscriptionStore::Impl::subscribers(std::string_view publisher, std::span<const std::string> types) {
  std::vector<Subscription> found;
  for (const std::string& type : types) {
    select_->bind_text(0, publisher).bind_text(1, type);
    GW_TRY_ASSIGN(auto of_type, read(*select_));
    for (Subscription& one : of_type) {
      auto same = [&](const Subscription& other) { return ::strcasecmp(other.address.c_str(), one.address.c_str()) == 0; };
      if (types.size() == 1 || std::none_of(found.begin(), found.end(), same)) found.push_back(std::move(one));
    }
  }
  return found;
}

SubscriptionStore::SubscriptionStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SubscriptionStore::~SubscriptionStore() = default;

Result<std::unique_ptr<SubscriptionStore>> SubscriptionStore::open(const std::string& root_path, bool create) {
  auto impl = std::make_unique<Impl>();
  GW_TRY(impl->open(root_path, create));
  return std::unique_ptr<SubscriptionStore>(new SubscriptionStore(std::move(impl)));
}

Result<SubscriptionChange> SubscriptionStore::subscribe(const Subscription& one, int64_t sent_at_ms) { return impl_->change(one, true, sent_at_ms); }
Result<SubscriptionChange> SubscriptionStore::unsubscribe(const Subscription& one, int64_t sent_at_ms) { return impl_->change(one, false, sent_at_ms); }
Result<size_t> SubscriptionStore::remove(std::span<const Subscription> which) { return impl_->remove(which); }
Result<std::vector<Subscription>> SubscriptionStore::list(std::string_view publisher) { return impl_->list(publisher); }
Result<std::vector<Subscription>> SubscriptionStore::subscribers(std::string_view publisher, std::span<const std::string> types) {
  return impl_->subscribers(publisher, types);
}

}  // namespace gw
