#include "sqlite.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "scratch.hpp"

using gw::Scratch;

TEST_CASE("sqlite: statements bind, step and can be used again") {
  Scratch dir;
  auto db = gw::SqliteDatabase::open(dir.path + "/a.db", true);
  REQUIRE(db);
  REQUIRE((*db)->exec("CREATE TABLE t(a INTEGER, b TEXT, c BLOB)"));
  {
    auto insert = (*db)->prepare("INSERT INTO t VALUES(?,?,?)");
    REQUIRE(insert);
    for (int i = 0; i < 3; ++i) {
      std::string blob("\0x", 2);
      insert->bind(0, i).bind_text(1, i == 0 ? "" : "text").bind_blob(2, blob);
      REQUIRE(insert->run());
    }
    CHECK((*db)->changes() == 1);
  }
  auto select = (*db)->prepare("SELECT a, b, c FROM t ORDER BY a");
  REQUIRE(select);
  for (int round = 0; round < 2; ++round) {
    auto row = select->step();
    REQUIRE(row);
    REQUIRE(*row);
    CHECK(select->integer(0) == 0);
    CHECK(select->bytes(1) == "");
    CHECK(select->bytes(2) == std::string("\0x", 2));
    select->reset();
  }
  CHECK(*(*db)->query_integer("SELECT count(*) FROM t WHERE b IS NULL") == 0);
  CHECK(*(*db)->query_integer("SELECT a FROM t WHERE a > 99") == 0);
}

TEST_CASE("sqlite: errors say which database and which class") {
  Scratch dir;
  auto absent = gw::SqliteDatabase::open(dir.path + "/none.db", false);
  REQUIRE_FALSE(absent);
  CHECK(absent.error().code == gw::ExitCode::no_input);
  CHECK(absent.error().text.find("none.db") != std::string::npos);

  std::ofstream(dir.path + "/foreign.db") << std::string(4096, 'x');
  auto foreign = gw::SqliteDatabase::open(dir.path + "/foreign.db", false);
  REQUIRE(foreign);
  auto count = (*foreign)->query_integer("SELECT count(*) FROM sqlite_schema");
  REQUIRE_FALSE(count);
  CHECK(count.error().code == gw::ExitCode::system);

  REQUIRE(::symlink("a.db", (dir.path + "/link.db").c_str()) == 0);
  CHECK_FALSE(gw::SqliteDatabase::open(dir.path + "/link.db", true));
}

TEST_CASE("sqlite: no commit checkpoints by itself, and neither does closing") {
  Scratch dir;
  std::string path = dir.path + "/w.db";
  auto log_bytes = [&] {
    struct stat st{};
    return ::stat((path + "-wal").c_str(), &st) == 0 ? st.st_size : -1;
  };
  {
    auto db = gw::SqliteDatabase::open(path, true);
    REQUIRE(db);
    REQUIRE((*db)->exec("PRAGMA journal_mode=WAL; CREATE TABLE t(a BLOB)"));
    for (int i = 0; i < 1500; ++i) REQUIRE((*db)->exec("INSERT INTO t VALUES(zeroblob(3500))"));
    CHECK((*db)->log_frames() > 1500);
  }
  CHECK(log_bytes() > 1500 * 4096);
  auto db = gw::SqliteDatabase::open(path, false);
  REQUIRE(db);
  REQUIRE(*(*db)->query_integer("SELECT count(*) FROM t") == 1500);
  REQUIRE((*db)->checkpoint_truncate());
  CHECK(log_bytes() == 0);
  CHECK(*(*db)->query_integer("SELECT count(*) FROM t") == 1500);
}

TEST_CASE("sqlite: a checkpoint does not wait for readers") {
  Scratch dir;
  auto writer = gw::SqliteDatabase::open(dir.path + "/r.db", true);
  REQUIRE(writer);
  REQUIRE((*writer)->exec("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2)"));
  auto reader = gw::SqliteDatabase::open(dir.path + "/r.db", false);
  REQUIRE(reader);
  auto select = (*reader)->prepare("SELECT a FROM t");
  REQUIRE(select);
  REQUIRE(*select->step());
  REQUIRE((*writer)->exec("INSERT INTO t VALUES(3)"));
  CHECK((*writer)->checkpoint_truncate());
  select->reset();
  CHECK((*writer)->checkpoint_truncate());
  CHECK((*writer)->log_frames() == 0);
}
