// Finding ids among the rows of a store: keyed hashes, in two levels.
#include <algorithm>
#include <bit>
#include <cstring>

#include "dedup_store_impl.hpp"

namespace gw::dedup_parts {

namespace {

std::string_view hash_bytes(const DedupRow& row) {
  return {reinterpret_cast<const char*>(row.body_sha256.data()), row.body_sha256.size()};
}

uint64_t load(const char* bytes, size_t size) {
  uint64_t word = 0;
  for (size_t i = 0; i < size; ++i) word |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return word;
}
void round(uint64_t* v) {
  v[0] += v[1], v[1] = std::rotl(v[1], 13) ^ v[0], v[0] = std::rotl(v[0], 32);
  v[2] += v[3], v[3] = std::rotl(v[3], 16) ^ v[2];
  v[0] += v[3], v[3] = std::rotl(v[3], 21) ^ v[0];
  v[2] += v[1], v[1] = std::rotl(v[1], 17) ^ v[2], v[2] = std::rotl(v[2], 32);
}
void absorb(uint64_t* v, uint64_t word) {
  v[3] ^= word;
  round(v);
  round(v);
  v[0] ^= word;
}

}  // namespace

int64_t KeyedHash::operator()(std::string_view scope, std::string_view id) const {
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

Result<std::unique_ptr<SeenTable>> SeenTable::open(SqliteDatabase& db) {
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

Result<std::optional<DedupRow>> SeenTable::find(std::string_view scope, std::string_view id) {
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

Result<void> SeenTable::insert(const DedupRow& row) {
  const int64_t hash = hash_(row.scope, row.id);
  insert_.bind_text(0, row.scope).bind_text(1, row.id);
  insert_.bind(2, static_cast<int64_t>(row.xid.high)).bind(3, static_cast<int64_t>(row.xid.low));
  insert_.bind_text(4, row.queue).bind(5, static_cast<int64_t>(row.seq)).bind_blob(6, hash_bytes(row)).bind(7, row.seen_at_ms).bind(8, hash);
  GW_TRY(insert_.run());
  insert_index_.bind(0, hash);
  return insert_index_.run();
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

}  // namespace gw::dedup_parts
