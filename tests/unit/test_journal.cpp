#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "journal.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;
namespace fs = std::filesystem;

namespace {

Journal::Place place(const Scratch& at) {
  Journal::Place made;
  made.root_path = at.path;
  made.machine = "here";
  return made;
}

std::vector<JournalRecord> search(const Scratch& at, const std::string& id) {
  std::vector<JournalRecord> found;
  CHECK(search_journal(at.path, id, [&](JournalRecord&& record) { found.push_back(std::move(record)); }));
  return found;
}

std::vector<std::string> files(const Scratch& at) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(at.path + "/journal")) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

JournalLine line_of(std::string_view id, Happened happened = Happened::stored) {
  JournalLine line;
  line.event = happened;
  line.id = id;
  return line;
}

}  // namespace

TEST_CASE("journal: a line comes back as it was written") {
  Scratch at;
  {
    Journal journal(place(at));
    JournalLine line = line_of("a \"quoted\" id", Happened::deferred);
    line.queue = "site.Store1";
    line.to = "error";
    line.seq = 7;
    line.site = "Store1";
    line.worker = "Sales@vm1";
    line.attempt = 3;
    line.status = 503;
    line.reason = "503 busy:\nlater";
    line.next_try_ms = 1'764'000'000'123;
    line.parent_id = "p";
    line.traceparent = "00-1-2-01";
    journal.add(line);
    CHECK_FALSE(fs::exists(at.path + "/journal"));
    journal.write();
  }
  auto found = search(at, "a \"quoted\" id");
  REQUIRE(found.size() == 1);
  const JournalRecord& one = found[0];
  CHECK(one.machine == "here");
  CHECK(one.event == Happened::deferred);
  CHECK(one.queue == "site.Store1");
  CHECK(one.to == "error");
  CHECK(one.seq == 7);
  CHECK(one.site == "Store1");
  CHECK(one.worker == "Sales@vm1");
  CHECK(one.attempt == 3);
  CHECK(one.status == 503);
  CHECK(one.reason == "503 busy:\nlater");
  CHECK(one.next_try_ms == 1'764'000'000'123);
  CHECK(one.parent_id == "p");
  CHECK(one.traceparent == "00-1-2-01");
  CHECK(one.pid == ::getpid());
  CHECK(std::abs(one.at_ms - now_ms()) < 60'000);
  CHECK(search(at, "p").size() == 1);
  CHECK(search(at, "a").empty());
  CHECK(journal_since_ms(at.path) == one.at_ms);
}

TEST_CASE("journal: nothing there") {
  Scratch at;
  CHECK(search(at, "x").empty());
  CHECK_FALSE(journal_since_ms(at.path));
  CHECK_FALSE(parse_journal_line(""));
  CHECK_FALSE(parse_journal_line("{\"at\":\"2026-11-21T10:00:00Z\",\"event\":\"dreamt\"}"));
}

TEST_CASE("journal: lines of many threads and writers stay whole") {
  Scratch at;
  constexpr int writers = 4, lines = 500;
  std::vector<std::thread> threads;
  for (int w = 0; w < writers; ++w)
    threads.emplace_back([&] {
      Journal journal(place(at));
      for (int i = 0; i < lines; ++i) {
        journal.add(line_of("same"));
        if (i % 7 == 0) journal.write();
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(search(at, "same").size() == writers * lines);
}

TEST_CASE("journal: what was cut short hides no other line") {
  Scratch at;
  { Journal(place(at)).add(line_of("first")); }
  const std::string path = at.path + "/journal/" + files(at).at(0);
  { std::ofstream(path, std::ios::app) << "{\"at\":\"2026-11-21T10:00:00.000Z\",\"mach"; }
  { Journal(place(at)).add(line_of("second")); }
  CHECK(search(at, "first").size() == 1);
  CHECK(search(at, "second").size() == 1);
}

TEST_CASE("journal: parts, and what is kept") {
  Scratch at;
  fs::create_directory(at.path + "/journal");
  std::ofstream(at.path + "/journal/2020-01-01.jsonl") << "old\n";
  std::ofstream(at.path + "/journal/notes.txt") << "not ours\n";
  bool may_purge = false;
  auto small = place(at);
  small.part_bytes_max = 1000;
  small.bytes_max = 3000;
  small.may_purge = [&] { return may_purge; };
  for (int round = 0; round < 12; ++round) {
    Journal journal(small);  // looks at the file at once
    for (int i = 0; i < 12; ++i) journal.add(line_of("part"));
    journal.write();
    if (round == 0) CHECK(files(at).size() == 3);  // the clock is not trusted
    Journal again(small);
    again.add(line_of("part"));
    again.write();
  }
  auto names = files(at);
  CHECK(std::find(names.begin(), names.end(), "2020-01-01.jsonl") == names.end());
  CHECK(std::find(names.begin(), names.end(), "notes.txt") != names.end());
  uint64_t total = 0;
  for (const std::string& name : names) total += fs::file_size(at.path + "/journal/" + name);
  CHECK(total < 6000);
  CHECK(names.size() >= 3);
  CHECK(search(at, "part").size() > 13);
}

TEST_CASE("journal: by age") {
  Scratch at;
  fs::create_directory(at.path + "/journal");
  std::ofstream(at.path + "/journal/2020-01-01.jsonl") << "old\n";
  { Journal(place(at)).add(line_of("x")); }
  CHECK(files(at).size() == 1);
}

TEST_CASE("journal: no directory, no room: no line, and no harm") {
  Scratch at;
  std::ofstream(at.path + "/journal") << "in the way";
  {
    Journal journal(place(at));
    journal.add(line_of("x"));
    journal.write();
  }
  fs::remove(at.path + "/journal");
  auto full = place(at);
  full.has_room = [] { return false; };
  {
    Journal journal(full);
    journal.add(line_of("x"));
    journal.write();
  }
  CHECK_FALSE(fs::exists(at.path + "/journal"));
}

TEST_CASE("journal: a directory that was removed is made again") {
  Scratch at;
  Journal journal(place(at));
  journal.add(line_of("before"));
  journal.write();
  fs::remove_all(at.path + "/journal");
  const int64_t deadline = monotonic_ms() + 20'000;
  while (search(at, "after").empty() && monotonic_ms() < deadline) {
    journal.add(line_of("after"));
    journal.write();
    ::usleep(20'000);
  }
  CHECK_FALSE(search(at, "after").empty());
}
