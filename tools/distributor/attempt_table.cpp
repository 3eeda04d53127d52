#include "attempt_table.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "state_files.hpp"
#include "units.hpp"

namespace gw::distributor {

// `word`: number of the message in the upper 56 bits, attempts that did not end in the lower 8; 0: free. `put_at_ms` tells messages of
// queues of the same name apart.
struct AttemptTable::Row {
  std::atomic<uint64_t> word;
  std::atomic<int64_t> put_at_ms;
};

namespace {

constexpr size_t rows = 2048, probe_max = 256;
constexpr size_t table_bytes = rows * 16;
constexpr int64_t sync_after_ms = 1000;

size_t first_row(uint64_t seq) { return seq * 0x9e3779b97f4a7c15ull >> 53; }

// What is mapped must never need space later.
Result<void> fill(int fd, const std::string& path) {
  static const char zeros[4096] = {};
  for (size_t at = 0; at < table_bytes; at += sizeof zeros)
    if (ssize_t n = ::pwrite(fd, zeros, sizeof zeros, static_cast<off_t>(at)); n != static_cast<ssize_t>(sizeof zeros))
      return errno_error("write", path, n < 0 ? errno : ENOSPC);
  return {};
}

}  // namespace

Result<std::unique_ptr<AttemptTable>> AttemptTable::open(const std::string& root, const std::string& queue) {
  static_assert(sizeof(Row) == table_bytes / rows);
  const std::string path = root + "/attempts/" + queue;
  GW_TRY_ASSIGN(UniqueFd file, open_state_file(root, "attempts", queue));
  {
    const ExclusiveFlock locked(file.get());
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return errno_error("stat", path, errno);
    if (status.st_size != static_cast<off_t>(table_bytes)) {
      if (::ftruncate(file.get(), 0) != 0) return errno_error("write", path, errno);
      GW_TRY(fill(file.get(), path));
    }
  }
  void* mapped = ::mmap(nullptr, table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return errno_error("map", path, errno);
  return std::unique_ptr<AttemptTable>(new AttemptTable(std::move(file), static_cast<Row*>(mapped)));
}

AttemptTable::~AttemptTable() { ::munmap(rows_, table_bytes); }

AttemptTable::Row* AttemptTable::find(const MessageInfo& info) const {
  for (size_t i = 0, at = first_row(info.seq); i < probe_max; ++i, at = (at + 1) % rows) {
    Row& row = rows_[at];
    if (row.word.load() >> 8 == info.seq && row.word.load() != 0 && row.put_at_ms.load() == info.put_at_ms) return &row;
  }
  return nullptr;
}

void AttemptTable::touched() {
  if (changed_at_ms_ == 0) changed_at_ms_ = monotonic_ms();
}

unsigned AttemptTable::interrupted(const MessageInfo& info) const {
  const Row* row = find(info);
  return row ? static_cast<unsigned>(row->word.load() & 255) : 0;
}

void AttemptTable::begin(const MessageInfo& info) {
  touched();
  if (Row* row = find(info)) {
    if ((row->word.load() & 255) < 255) row->word.fetch_add(1);
    return;
  }
  for (size_t i = 0, at = first_row(info.seq); i < probe_max; ++i, at = (at + 1) % rows) {
    uint64_t free = 0;
    if (!rows_[at].word.compare_exchange_strong(free, info.seq << 8 | 1)) continue;
    rows_[at].put_at_ms.store(info.put_at_ms);
    return;
  }
  // Thousands at once: this one is not counted.
}

void AttemptTable::end(const MessageInfo& info) {
  if (Row* row = find(info)) row->word.store(0);
}

void AttemptTable::take_back(const MessageInfo& info) {
  Row* row = find(info);
  if (!row) return;
  uint64_t word = row->word.load();
  row->word.store((word & 255) <= 1 ? 0 : word - 1);
}

void AttemptTable::tidy(const Queue& queue) {
  for (size_t at = 0; at < rows; ++at) {
    uint64_t word = rows_[at].word.load();
    if (word == 0) continue;
    auto there = queue.read(word >> 8);
    if (there && (!*there || (*there)->first.put_at_ms != rows_[at].put_at_ms.load())) rows_[at].word.compare_exchange_strong(word, 0);
  }
}

void AttemptTable::sync_old(int64_t now) {
  if (changed_at_ms_ == 0 || now < changed_at_ms_ + sync_after_ms) return;
  changed_at_ms_ = 0;
  ::fdatasync(file_.get());  // the best that can be done; a failure costs a count
}

}  // namespace gw::distributor
