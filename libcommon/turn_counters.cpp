#include "turn_counters.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "state_files.hpp"

namespace gw {

namespace {

constexpr char magic[8] = {'g', 'w', '-', 't', 'u', 'r', 'n', '1'};
constexpr size_t grow_entries = 64;

std::string key_of(std::string_view endpoint, Scope scope) { return (scope == Scope::send ? "s" : "p") + std::string(endpoint); }

}  // namespace

std::string_view to_string(Scope scope) { return scope == Scope::send ? "Send" : "Publish"; }

/// An entry of 256 bytes, the first of which is the file's head.
struct TurnCounters::Header {
  char magic[8];
  std::atomic<uint64_t> entries;  ///< whose names are whole
  char unused[240];
};

struct TurnCounters::Entry {
  std::atomic<uint64_t> turns;
  unsigned char scope;  ///< 's' or 'p'
  unsigned char name_bytes;
  char name[246];
};

TurnCounters::~TurnCounters() {
  if (data_) ::munmap(data_, mapped_);
}

TurnCounters::Header& TurnCounters::header() const { return *reinterpret_cast<Header*>(data_); }
TurnCounters::Entry& TurnCounters::entry(size_t index) const { return reinterpret_cast<Entry*>(data_)[index + 1]; }

Result<std::unique_ptr<TurnCounters>> TurnCounters::open(const std::string& root_path) {
  static_assert(sizeof(Header) == 256 && sizeof(Entry) == 256 && std::atomic<uint64_t>::is_always_lock_free);
  static_assert(sizeof Entry::name >= endpoint_bytes_max);
  std::unique_ptr<TurnCounters> made(new TurnCounters(root_path + "/turns"));
  GW_TRY(made->open_file(root_path));
  GW_TRY(made->map());
  return made;
}

Result<void> TurnCounters::open_file(const std::string& root_path) {
  fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd_ && errno == ENOENT) {
    struct stat root {};
    if (::stat(root_path.c_str(), &root) != 0) return errno_error("stat", root_path, errno);
    const mode_t mode = (root.st_mode & 0020) != 0 ? 0660 : 0600;
    fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode));
    if (fd_ && ::fchmod(fd_.get(), mode) != 0 && errno != EPERM) return errno_error("chmod", path_, errno);
  }
  if (!fd_) return errno_error("open", path_, errno);
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return errno_error("stat", path_, errno);
  if (!S_ISREG(status.st_mode)) return Error{ExitCode::system, 0, "'" + path_ + "' is no regular file"};
  return begin_file();
}

// A file that is empty, or whose first block a power loss took, begins anew. It gets its name and head within one lock, so that nobody
// sees half of it.
Result<void> TurnCounters::begin_file() {
  char head[sizeof(Header)] = {};
  auto read_head = [&]() -> Result<bool> {
    std::memset(head, 0, sizeof head);
    if (::pread(fd_.get(), head, sizeof head, 0) < 0) return errno_error("read", path_, errno);
    return std::memcmp(head, magic, sizeof magic) == 0;
  };
  GW_TRY_ASSIGN(bool ours, read_head());
  if (ours) return {};
  ExclusiveFlock lock(fd_.get());
  GW_TRY_ASSIGN(ours, read_head());
  if (ours) return {};
  for (char byte : head)
    if (byte != 0) return Error{ExitCode::system, 0, "'" + path_ + "' is not a file of turns that this version knows"};
  // All of it is zero or not there: a counter that a name of before still has would be as good as any.
  if (::ftruncate(fd_.get(), 0) != 0) return errno_error("truncate", path_, errno);
  const std::string zeros((1 + grow_entries) * sizeof(Entry), '\0');
  std::string start = zeros;
  std::memcpy(start.data(), magic, sizeof magic);
  if (ssize_t n = ::pwrite(fd_.get(), start.data(), start.size(), 0); n != static_cast<ssize_t>(start.size()))
    return errno_error("write", path_, n < 0 ? errno : ENOSPC);
  return {};
}

Result<void> TurnCounters::map() {
  struct stat status {};
  if (::fstat(fd_.get(), &status) != 0) return errno_error("stat", path_, errno);
  const size_t size = static_cast<size_t>(status.st_size) / sizeof(Entry) * sizeof(Entry);
  if (size < sizeof(Header)) return Error{ExitCode::system, 0, "'" + path_ + "' is cut off"};
  if (size != mapped_) {
    void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (data == MAP_FAILED) return errno_error("map", path_, errno);
    if (data_) ::munmap(data_, mapped_);
    data_ = static_cast<char*>(data);
    mapped_ = size;
  }
  read_names();
  return {};
}

void TurnCounters::read_names() {
  const size_t room = mapped_ / sizeof(Entry) - 1;
  const size_t there = std::min<size_t>(header().entries.load(std::memory_order_acquire), room);
  for (; known_ < there; ++known_) {
    const Entry& one = entry(known_);
    std::string key(1, static_cast<char>(one.scope));
    key.append(one.name, std::min<size_t>(one.name_bytes, sizeof one.name));
    index_.emplace(std::move(key), known_);
  }
}

Result<TurnCounters::Entry*> TurnCounters::find(std::string_view endpoint, Scope scope) {
  if (endpoint.size() > endpoint_bytes_max)
    return Error{ExitCode::config, 0, "the endpoint '" + std::string(endpoint.substr(0, 40)) + "...' has a name of more than " + std::to_string(endpoint_bytes_max) + " bytes"};
  const std::string key = key_of(endpoint, scope);
  auto at = index_.find(key);
  if (at == index_.end()) {
    GW_TRY(add(key));
    at = index_.find(key);
  }
  if (at == index_.end()) return Error{ExitCode::system, 0, "'" + path_ + "' lost an entry while it was in use"};
  return &entry(at->second);
}

Result<void> TurnCounters::add(const std::string& key) {
  ExclusiveFlock lock(fd_.get());
  GW_TRY(map());  // somebody may have added it, or made room
  if (index_.contains(key)) return {};
  if ((known_ + 2) * sizeof(Entry) > mapped_) {
    // Written, not only made longer: a mapped hole in a full file system would end the process.
    const std::string zeros(grow_entries * sizeof(Entry), '\0');
    const ssize_t n = ::pwrite(fd_.get(), zeros.data(), zeros.size(), static_cast<off_t>(mapped_));
    if (n != static_cast<ssize_t>(zeros.size())) {
      const Error error = errno_error("write", path_, n < 0 ? errno : ENOSPC);
      [[maybe_unused]] int ignored = ::ftruncate(fd_.get(), static_cast<off_t>(mapped_));
      return error;
    }
    GW_TRY(map());
  }
  Entry& made = entry(known_);
  made.turns.store(0);
  made.scope = static_cast<unsigned char>(key[0]);
  made.name_bytes = static_cast<unsigned char>(key.size() - 1);
  std::memcpy(made.name, key.data() + 1, key.size() - 1);
  header().entries.store(known_ + 1, std::memory_order_release);
  read_names();
  return {};
}

Result<uint64_t> TurnCounters::take(std::string_view endpoint, Scope scope, uint64_t count) {
  GW_TRY_ASSIGN(Entry* one, find(endpoint, scope));
  return one->turns.fetch_add(count, std::memory_order_relaxed);
}

Result<uint64_t> TurnCounters::next(std::string_view endpoint, Scope scope) {
  GW_TRY_ASSIGN(Entry* one, find(endpoint, scope));
  return one->turns.load(std::memory_order_relaxed);
}

}  // namespace gw
