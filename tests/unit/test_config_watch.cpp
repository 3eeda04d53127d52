#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "config_watch.hpp"
#include "scratch.hpp"

using namespace gw;
namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, const std::string& endpoint) {
  std::ofstream(path, std::ios::trunc) << "<gatepost><Gateway Endpoint=\"" << endpoint << "\"/></gatepost>";
}

}  // namespace

TEST_CASE("config watch: written, replaced, linked elsewhere") {
  Scratch dir;
  const fs::path file = dir.path + "/config.xml";
  ConfigWatch watch(file, false);
  CHECK_FALSE(watch.changed());
  auto none = watch.read();
  REQUIRE(none);
  CHECK(none->missing_path == file.string());

  write(file, "A");
  CHECK(watch.changed());
  CHECK(watch.read()->endpoint == "A");
  CHECK_FALSE(watch.changed());

  write(dir.path + "/new", "B");
  fs::rename(dir.path + "/new", file);
  CHECK(watch.changed());
  CHECK(watch.read()->endpoint == "B");

  // A file that is missing for a moment is no change, and no empty configuration.
  fs::rename(file, dir.path + "/away");
  CHECK_FALSE(watch.changed());
  CHECK(watch.read().error().code == ExitCode::no_input);
  fs::rename(dir.path + "/away", file);
  CHECK(watch.changed());
  CHECK(watch.read()->endpoint == "B");
}

TEST_CASE("config watch: a link in the middle of the path that points elsewhere") {
  Scratch dir;
  fs::create_directories(dir.path + "/v1");
  fs::create_directories(dir.path + "/v2");
  write(dir.path + "/v1/config.xml", "1");
  write(dir.path + "/v2/config.xml", "2");
  fs::create_directory_symlink("v1", dir.path + "/current");
  fs::create_symlink("current/config.xml", dir.path + "/config.xml");
  ConfigWatch watch(dir.path + "/config.xml", true);
  CHECK(watch.read()->endpoint == "1");
  CHECK_FALSE(watch.changed());
  fs::create_directory_symlink("v2", dir.path + "/next");
  fs::rename(dir.path + "/next", dir.path + "/current");
  CHECK(watch.changed());
  CHECK(watch.read()->endpoint == "2");
}

TEST_CASE("config watch: a bad file is read once, and again when it changes") {
  Scratch dir;
  const fs::path file = dir.path + "/config.xml";
  std::ofstream(file) << "<gatepost>\n<Gatway/></gatepost>";
  ConfigWatch watch(file, true);
  auto bad = watch.read();
  REQUIRE_FALSE(bad);
  CHECK(bad.error().text.starts_with(file.string() + ":2: "));
  CHECK_FALSE(watch.changed());
  write(file, "A");
  CHECK(watch.changed());
  CHECK(watch.read());
}
