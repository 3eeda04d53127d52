#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "attached_files.hpp"
#include "databus.hpp"
#include "hash.hpp"
#include "open_attachments.hpp"
#include "queue.hpp"
#include "scratch.hpp"
#include "units.hpp"

using namespace gw;
namespace fs = std::filesystem;

namespace {

constexpr const char* some_key = "2026-11-21_19/00000000-0000-4000-8000-000000000001";

struct Place : Scratch {
  std::string root_path = path + "/root";
  std::unique_ptr<Root> open() { return open_root(root_path, "here"); }
};

template <class T>
T good(Result<T> result) {
  REQUIRE_MESSAGE(result, (result ? "" : result.error().text));
  return *std::move(result);
}

void store(const std::string& root_path, const std::string& key, const std::string& bytes) {
  auto writer = BlobWriter::create(root_path, key);
  REQUIRE_MESSAGE(writer, (writer ? "" : writer.error().text));
  REQUIRE(writer->write(bytes));
  REQUIRE(writer->finish());
}

std::string content(const std::string& root_path, const std::string& key) {
  auto body = open_blob(root_path, key);
  return body ? *body->read_all() : "(" + body.error().text + ")";
}

/// Names of the blob's file; 0: it is gone.
uint64_t links(const std::string& root_path, const std::string& key) {
  struct stat st {};
  return ::lstat(blob_path(root_path, key).c_str(), &st) == 0 ? st.st_nlink : 0;
}

Message naming(const std::string& id, const std::string& key) {
  Message message = message_with(id);
  message.headers.set("NServiceBus.DataBus.one", key);
  return message;
}

void put(Root& root, const Queue& queue, Message message, PutOptions how = {}) {
  Transaction transaction;
  transaction.put(queue, std::move(message), std::move(how));
  auto done = root.commit(std::move(transaction));
  REQUIRE_MESSAGE(done, (done ? "" : done.error().text));
}

void ack_one(Root& root, Queue& queue) {
  auto claims = queue.claim(1);
  REQUIRE(claims);
  REQUIRE(claims->size() == 1);
  Transaction transaction;
  transaction.ack(std::move((*claims)[0]));
  REQUIRE(root.commit(std::move(transaction)));
}

/// The word of incompatible features in the file that describes the root.
uint64_t features(const std::string& root_path) {
  std::ifstream in(root_path + "/format", std::ios::binary);
  uint64_t generation[2]{}, incompatible[2]{};
  for (int i = 0; i < 2; i++) {
    char record[64]{};
    in.seekg(i * 4096);
    in.read(record, sizeof record);
    std::memcpy(&generation[i], record + 8, 8);
    std::memcpy(&incompatible[i], record + 24, 8);
  }
  return incompatible[generation[1] > generation[0] ? 1 : 0];
}

}  // namespace

TEST_CASE("data bus: keys and names") {
  const std::string key = new_blob_key(1'763'749'800'000);  // 2025-11-21T18:30:00Z
  CHECK(key.substr(0, 14) == "2025-11-21_18/");
  CHECK(blob_key_ok(key));
  CHECK(new_blob_key(0) != new_blob_key(0));
  CHECK(blob_key_ok(some_key));
  for (std::string bad : {"", "x", "../../etc/passwd", "2026-11-21_19/../../../../etc/passwd-aaaaaaaaaaaa", "2026-11-21_19/00000000-0000-4000-8000-00000000000G",
                          "2026-11-21_19/00000000-0000-4000-8000-0000000000011", "2026-11-21-19/00000000-0000-4000-8000-000000000001"})
    CHECK_MESSAGE(!blob_key_ok(bad), bad);
  CHECK(attachment_name("NServiceBus.DataBus.a/b") == "a/b");
  CHECK(attachment_name("nservicebus.databus.x") == "x");
  CHECK(attachment_name("NServiceBus.DataBus.") == "");
  CHECK(attachment_name("NServiceBus.DataBusConfig.ContentType") == "");
  CHECK(attachment_file_name("plain name") == "plain name");
  CHECK(attachment_file_name("a/b%c") == "a%2Fb%25c");
  CHECK(attachment_file_name(".") == "%2E");
  CHECK(attachment_file_name("..") == "%2E%2E");
  CHECK(attachment_file_name(".x") == ".x");
}

TEST_CASE("data bus: a blob is there when it is finished, and not before") {
  Place place;
  auto root = place.open();
  const std::string bytes(600'000, 'b');
  {
    auto writer = BlobWriter::create(place.root_path, some_key);
    REQUIRE(writer);
    REQUIRE(writer->write(bytes));
    CHECK(open_blob(place.root_path, some_key).error().code == ExitCode::no_input);
    CHECK_FALSE(good(abandoned_part(place.root_path, some_key, true)));  // its writer is there
    int parts = 0;
    REQUIRE(visit_blobs(place.root_path, [&](const BlobFile& file) { parts += file.part && file.key == some_key; }));
    CHECK(parts == 1);
  }
  CHECK_FALSE(fs::exists(blob_path(place.root_path, some_key) + ".part"));
  store(place.root_path, some_key, bytes);
  CHECK(content(place.root_path, some_key) == bytes);
  CHECK(links(place.root_path, some_key) == 1);
  REQUIRE(remove_blob(place.root_path, some_key));
  CHECK(links(place.root_path, some_key) == 0);
  CHECK_FALSE(fs::exists(place.root_path + "/databus/2026-11-21_19"));  // it was empty
  CHECK(remove_blob(place.root_path, some_key));
  CHECK(BlobWriter::create(place.root_path, "../x").error().code == ExitCode::bug);
}

TEST_CASE("data bus: what a killed writer left goes") {
  Place place;
  auto root = place.open();
  store(place.root_path, some_key, "x");
  fs::rename(blob_path(place.root_path, some_key), blob_path(place.root_path, some_key) + ".part");
  CHECK(good(abandoned_part(place.root_path, some_key, false)));
  CHECK(good(abandoned_part(place.root_path, some_key, true)));
  CHECK_FALSE(good(abandoned_part(place.root_path, some_key, true)));
}

TEST_CASE("data bus: who holds a blob keeps it") {
  Place place;
  auto root = place.open();
  CHECK_FALSE(BlobHold::take(place.root_path, some_key)->has_value());
  store(place.root_path, some_key, "held");
  {
    auto hold = BlobHold::take(place.root_path, some_key);
    REQUIRE((hold && *hold));
    CHECK_FALSE(good(release_blob(place.root_path, some_key)));
    CHECK(content(place.root_path, some_key) == "held");
  }
  CHECK(good(release_blob(place.root_path, some_key)));
  CHECK(links(place.root_path, some_key) == 0);
  CHECK(good(release_blob(place.root_path, some_key)));
}

TEST_CASE("data bus: times to be received") {
  Place place;
  auto root = place.open();
  const int64_t now = 1'763'749'800'000;
  const std::string other = "2026-11-21_19/00000000-0000-4000-8000-000000000002";
  REQUIRE(note_blob_expiry(place.root_path, some_key, now));
  REQUIRE(note_blob_expiry(place.root_path, some_key, now));
  REQUIRE(note_blob_expiry(place.root_path, other, now + 5'000));
  CHECK(due_blobs(place.root_path, now - 1)->empty());
  auto due = due_blobs(place.root_path, now);
  REQUIRE(due);
  REQUIRE(due->size() == 1);
  CHECK((*due)[0].key == some_key);
  CHECK((*due)[0].expires_at_ms == now);
  CHECK(due_blobs(place.root_path, now + 24 * 3600'000)->size() == 2);
  forget_blob_expiry(place.root_path, some_key, now);
  due = due_blobs(place.root_path, now + 5'000);
  REQUIRE(due->size() == 1);
  CHECK((*due)[0].key == other);
}

TEST_CASE("data bus: a blob goes with the last message that names it") {
  Place place;
  auto root = place.open();
  Queue first = good(root->create_queue("first")), second = good(root->create_queue("second"));
  CHECK(features(place.root_path) == 0);
  store(place.root_path, some_key, "shared");
  Transaction both;
  both.put(first, naming("a", some_key));
  both.put(second, naming("a", some_key));
  REQUIRE(root->commit(std::move(both)));
  CHECK(features(place.root_path) == 1);
  CHECK(links(place.root_path, some_key) == 3);
  put(*root, second, naming("b", some_key));
  CHECK(links(place.root_path, some_key) == 4);
  ack_one(*root, first);
  CHECK(links(place.root_path, some_key) == 3);
  auto claims = second.claim(1);
  REQUIRE(claims);
  Transaction move;
  move.ack(std::move((*claims)[0]));
  move.put(first, naming("a", some_key));
  REQUIRE(root->commit(std::move(move)));
  CHECK(links(place.root_path, some_key) == 3);
  ack_one(*root, second);
  CHECK(content(place.root_path, some_key) == "shared");
  ack_one(*root, first);
  CHECK(links(place.root_path, some_key) == 0);
}

TEST_CASE("data bus: a put that comes to nothing leaves the blob to who stored it") {
  Place place;
  auto root = place.open();
  Queue queue = good(root->create_queue("Q"));
  store(place.root_path, some_key, "bytes");
  for (int i = 0; i < 2; i++) {
    PutOptions how;
    how.dedup = DedupKey{"test", "Q", "same id", Sha256{}, 0};
    put(*root, queue, naming("a", some_key), how);  // the second one is a duplicate
  }
  CHECK(links(place.root_path, some_key) == 2);
  ack_one(*root, queue);
  CHECK(links(place.root_path, some_key) == 0);
}

TEST_CASE("data bus: roots of before keep their messages and blobs") {
  Place place;
  {
    auto root = place.open();
    Queue queue = good(root->create_queue("Q"));
    // Then a header was all: no link, and no feature in the description of the root.
    put(*root, queue, naming("old", some_key));
    store(place.root_path, some_key, "from before");
    CHECK(features(place.root_path) == 0);
    CHECK(links(place.root_path, some_key) == 1);
  }
  auto root = place.open();
  Queue queue = good(root->queue("Q"));
  REQUIRE(root->check(true));
  auto attachments = attachments_of(naming("old", some_key).headers, place.root_path);
  REQUIRE(attachments.size() == 1);
  CHECK(attachments[0].bytes == 11);
  auto claims = queue.claim(1);
  REQUIRE(claims);
  REQUIRE(claims->size() == 1);
  CHECK((*claims)[0].message().headers.get("NServiceBus.DataBus.one") == some_key);
  // Moved by this version it owns a link.
  Transaction move;
  move.put(queue, naming("old", some_key));
  move.ack(std::move((*claims)[0]));
  REQUIRE(root->commit(std::move(move)));
  CHECK(links(place.root_path, some_key) == 2);
  CHECK(features(place.root_path) == 1);
  ack_one(*root, queue);
  CHECK(links(place.root_path, some_key) == 0);
}

TEST_CASE("attached files: words") {
  Place place;
  const std::string file = place.write("file", "bytes");
  for (const std::string& bad : std::vector<std::string>{"nokey", "=" + file, "key=", "a\nb=" + file, std::string(300, 'k') + "=" + file})
    CHECK_MESSAGE(AttachedFiles::open({bad}).error().code == ExitCode::usage, bad);
  CHECK(AttachedFiles::open({"a=" + file, "A=" + file}).error().code == ExitCode::usage);
  CHECK(AttachedFiles::open({"a=" + place.path + "/missing"}).error().code == ExitCode::no_input);
  CHECK(AttachedFiles::open({"a=" + place.path}).error().code == ExitCode::no_input);
  CHECK(AttachedFiles::open({"a=" + place.write("x=y", "")}).has_value());
}

TEST_CASE("attached files: what no message names goes") {
  Place place;
  auto root = place.open();
  Queue queue = good(root->create_queue("Q"));
  std::string keys[2];
  for (bool named : {true, false}) {
    auto attached = AttachedFiles::open({"one=" + place.write("file", "bytes")});
    REQUIRE(attached);
    REQUIRE(attached->store(*root, std::nullopt));
    Message message = naming("a", "");
    attached->add_headers(message.headers);
    std::string& key = keys[named];
    key = message.headers.get("NServiceBus.DataBus.one");
    CHECK(blob_key_ok(key));
    if (named) put(*root, queue, std::move(message));
    attached->release();
  }
  CHECK(content(place.root_path, keys[1]) == "bytes");
  CHECK(links(place.root_path, keys[1]) == 2);
  CHECK(links(place.root_path, keys[0]) == 0);
}

TEST_CASE("open attachments: links for as long as they live, and those of the dead are swept") {
  Place place;
  auto root = place.open();
  Queue queue = good(root->create_queue("Q"));
  store(place.root_path, some_key, "bytes");
  put(*root, queue, naming("a", some_key));
  Headers headers;
  headers.set("NServiceBus.DataBus.a/b", some_key);
  {
    auto open = OpenAttachments::create(place.root_path, attachments_of(headers, place.root_path));
    REQUIRE(open);
    CHECK(fs::file_size(open->path() + "/a%2Fb") == 5);
    ack_one(*root, queue);
    CHECK(fs::file_size(open->path() + "/a%2Fb") == 5);
    CHECK(links(place.root_path, some_key) == 2);
    REQUIRE(sweep_open_attachments(place.root_path));  // its owner is there
    CHECK(fs::exists(open->path() + "/a%2Fb"));
  }
  CHECK(links(place.root_path, some_key) == 0);
  CHECK(OpenAttachments::create(place.root_path, attachments_of(headers, place.root_path)).error().code == ExitCode::bad_data);

  store(place.root_path, some_key, "bytes");
  const std::string left = place.root_path + "/databus.open/left";
  fs::create_directory(left);
  fs::create_hard_link(blob_path(place.root_path, some_key), left + "/one");
  REQUIRE(sweep_open_attachments(place.root_path));
  CHECK_FALSE(fs::exists(left));
  CHECK(links(place.root_path, some_key) == 0);
}
