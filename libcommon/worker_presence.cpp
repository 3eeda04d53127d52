#include "worker_presence.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "state_files.hpp"

namespace gw {

struct WorkerPresence::Row {
  std::atomic<uint64_t> capacity;  // 0: free, or just being taken
  std::atomic<uint64_t> in_flight, done, failed;
};

namespace {

constexpr const char* directory = "workers";

std::string lock_name(unsigned number, const std::string& queue) { return "present" + std::to_string(number) + "." + queue; }

// What is mapped must never need space later.
Result<UniqueFd> open_rows(const std::string& root_path, const std::string& queue, size_t bytes) {
  const std::string path = root_path + "/" + directory + "/" + queue;
  GW_TRY_ASSIGN(UniqueFd file, open_state_file(root_path, directory, queue));
  const ExclusiveFlock locked(file.get());
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return errno_error("stat", path, errno);
  if (status.st_size == static_cast<off_t>(bytes)) return file;
  const std::string zeros(bytes, '\0');
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return errno_error("write", path, errno);
  GW_TRY(write_all(file.get(), zeros, path));
  if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return errno_error("write", path, errno);
  return file;
}

}  // namespace

Result<std::unique_ptr<WorkerPresence>> WorkerPresence::open(Root& root, const std::string& queue, unsigned capacity) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  constexpr size_t bytes = present_workers_max * sizeof(Row);
  UniqueFd lock;
  unsigned number = 0;
  for (; number < present_workers_max && !lock; ++number) {
    GW_TRY_ASSIGN(auto got, root.try_singleton(lock_name(number, queue), nullptr));
    if (!got) continue;
    lock = *std::move(got);
    break;
  }
  if (!lock) return Error{ExitCode::not_now, 0, "queue '" + queue + "' has " + std::to_string(present_workers_max) + " workers that are listed already"};
  GW_TRY_ASSIGN(const UniqueFd file, open_rows(root.path(), queue, bytes));
  void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return errno_error("map", root.path() + "/" + directory + "/" + queue, errno);
  std::unique_ptr<WorkerPresence> presence(new WorkerPresence(std::move(lock), static_cast<Row*>(mapped), number));
  presence->tell(0, 0, 0);
  presence->rows_[number].capacity.store(capacity);
  return presence;
}

WorkerPresence::~WorkerPresence() {
  rows_[number_].capacity.store(0);
  ::munmap(static_cast<void*>(rows_), present_workers_max * sizeof(Row));
}

void WorkerPresence::tell(uint64_t in_flight, uint64_t done, uint64_t failed) {
  Row& row = rows_[number_];
  row.in_flight.store(in_flight, std::memory_order_relaxed);
  row.done.store(done, std::memory_order_relaxed);
  row.failed.store(failed, std::memory_order_relaxed);
}

Result<std::vector<PresentWorkers>> present_workers(const Root& root) {
  const std::string path = root.path() + "/" + directory;
  std::vector<PresentWorkers> all;
  DIR* listing = ::opendir(path.c_str());
  if (!listing && errno == ENOENT) return all;
  if (!listing) return errno_error("open", path, errno);
  std::vector<std::string> queues;
  while (dirent* entry = ::readdir(listing))
    if (queue_name_ok(entry->d_name)) queues.emplace_back(entry->d_name);
  ::closedir(listing);
  std::sort(queues.begin(), queues.end());
  for (const std::string& queue : queues) {
    UniqueFd file(::open((path + "/" + queue).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) continue;  // somebody tidies up
    WorkerPresence::Row rows[present_workers_max];
    const ssize_t n = ::pread(file.get(), static_cast<void*>(rows), sizeof rows, 0);
    if (n < 0) return errno_error("read", path + "/" + queue, errno);
    if (n != sizeof rows) continue;  // just being made
    PresentWorkers here;
    here.queue = queue;
    for (unsigned number = 0; number < present_workers_max; ++number) {
      const WorkerPresence::Row& row = rows[number];
      if (row.capacity.load() == 0) continue;
      const Root::SingletonInfo alive = root.singleton(lock_name(number, queue));
      if (alive.pid == 0) continue;  // it was killed
      here.pids.push_back(alive.pid);
      here.since_ms = here.since_ms == 0 ? alive.since_ms : std::min(here.since_ms, alive.since_ms);
      here.capacity += row.capacity.load();
      here.in_flight += row.in_flight.load();
      here.done += row.done.load();
      here.failed += row.failed.load();
    }
    if (!here.pids.empty()) all.push_back(std::move(here));
  }
  return all;
}

}  // namespace gw
