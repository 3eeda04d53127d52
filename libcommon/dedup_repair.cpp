// Checking a store, and making a new one of what can still be read.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "dedup_store_impl.hpp"
#include "units.hpp"

namespace gw {

using namespace dedup_parts;

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

}  // namespace gw
