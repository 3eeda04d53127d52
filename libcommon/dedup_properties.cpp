// Data bus properties that came before their message, and the blobs that nobody owns (yet).
#include <algorithm>
#include <cstring>

#include "dedup_store_impl.hpp"
#include "units.hpp"

namespace gw {

using namespace dedup_parts;

namespace {

constexpr int64_t property_lease_ms = 3600 * 1000;

}  // namespace

namespace dedup_parts {

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

}  // namespace dedup_parts

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

}  // namespace gw
