#include "sys.hpp"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <cstring>

namespace gw::queue_detail {

namespace {
int ofd(int fd, int command, int64_t byte, short type) {
  struct flock f = {};
  f.l_type = type;
  f.l_whence = SEEK_SET;
  f.l_start = byte;
  f.l_len = 1;
  int r;
  do r = fcntl(fd, command, &f);
  while (r < 0 && errno == EINTR);
  return r < 0 ? -1 : f.l_type;
}
}  // namespace

void FileLock::lock() {
  mutex_.lock();
  // A failing lock call (ENOLCK) must not let two processes in: wait for it to pass.
  while (ofd(fd_, F_OFD_SETLKW, byte_, F_WRLCK) < 0) {
    timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
}

bool FileLock::try_lock() {
  if (!mutex_.try_lock()) return false;
  if (ofd(fd_, F_OFD_SETLK, byte_, F_WRLCK) >= 0) return true;
  mutex_.unlock();
  return false;
}

void FileLock::unlock() {
  ofd(fd_, F_OFD_SETLK, byte_, F_UNLCK);
  mutex_.unlock();
}

bool ofd_try_lock(int fd, int64_t byte, bool exclusive) {
  return ofd(fd, F_OFD_SETLK, byte, exclusive ? F_WRLCK : F_RDLCK) >= 0;
}
void ofd_unlock(int fd, int64_t byte) { ofd(fd, F_OFD_SETLK, byte, F_UNLCK); }
bool ofd_locked_elsewhere(int fd, int64_t byte) {
  int type = ofd(fd, F_OFD_GETLK, byte, F_WRLCK);
  return type >= 0 && type != F_UNLCK;
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int64_t timeout_ms) {
  timespec limit{timeout_ms / 1000, (timeout_ms % 1000) * 1'000'000};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, seen, &limit, nullptr, 0);
}
void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

Mapping::~Mapping() {
  if (data_) munmap(data_, size_);
}

Result<Mapping> Mapping::map(int fd, size_t size, const std::string& path) {
  void* p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (p == MAP_FAILED) return errno_error("map", path, errno);
  Mapping m;
  m.data_ = static_cast<char*>(p);
  m.size_ = size;
  return m;
}

Result<UniqueFd> open_beneath(int dir, const std::string& name, int flags, mode_t mode, const std::string& shown) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.mode = (flags & O_CREAT) ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  long fd;
  do fd = syscall(SYS_openat2, dir, name.c_str(), &how, sizeof how);
  while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  // Kernels before 5.6 and valgrind have no openat2. Our names have no '..', and O_NOFOLLOW still guards the last part.
  if (fd < 0 && errno == ENOSYS) fd = openat(dir, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return errno_error("open", shown, errno);
  return UniqueFd(static_cast<int>(fd));
}

Result<void> write_at(int fd, std::string_view bytes, uint64_t offset, const std::string& shown) {
  while (!bytes.empty()) {
    ssize_t n = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno_error("write", shown, n == 0 ? EIO : errno);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return {};
}

Result<UniqueFd> create_filled(int dir, const std::string& name, std::string_view head, uint64_t size, Modes modes, bool sync,
                               const std::string& shown, Fill fill) {
  unlinkat(dir, name.c_str(), 0);
  GW_TRY_ASSIGN(UniqueFd fd, open_beneath(dir, name, O_RDWR | O_CREAT | O_EXCL, modes.file(), shown));
  if (modes.shared) fchmod(fd.get(), modes.file());
  Result<void> done = write_at(fd.get(), head, 0, shown);
  static const std::string zeros(256 * 1024, '\0');
  size_t piece = fill == Fill::by_page ? 4096 : zeros.size();
  for (uint64_t at = head.size(); done && at < size;) {
    size_t n = static_cast<size_t>(std::min<uint64_t>(piece - at % 4096, size - at));
    done = write_at(fd.get(), std::string_view(zeros).substr(0, n), at, shown);
    at += n;
  }
  if (done && sync) done = sync_file(fd.get(), shown);
  if (!done) {
    unlinkat(dir, name.c_str(), 0);
    return std::move(done).error();
  }
  return fd;
}

Result<void> read_into(int fd, uint64_t offset, void* into, size_t size, const std::string& shown) {
  for (size_t got = 0; got < size;) {
    ssize_t n = pread(fd, static_cast<char*>(into) + got, size - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", shown, errno);
    if (n == 0) return Error{ExitCode::io_error, EIO, "read '" + shown + "': shorter than it should be"};
    got += static_cast<size_t>(n);
  }
  return {};
}

Result<std::string> read_at(int fd, uint64_t offset, size_t size, const std::string& shown) {
  std::string bytes(size, '\0');
  GW_TRY(read_into(fd, offset, bytes.data(), size, shown));
  return bytes;
}

namespace {
// The seeded error of `make powerloss`: with GW_SEEDED_SKIP_SYNC=n one kind of sync does nothing, and the lab must notice.
// 1: data of logs, indexes and the commit log; 2: new files and directories; 3: logs alone; 4: indexes alone; 5: the commit log alone.
#ifndef GW_SEEDED_SKIP_SYNC
#define GW_SEEDED_SKIP_SYNC 0
#endif
[[maybe_unused]] bool is_commit_log(const std::string& shown) { return shown.ends_with("commit") || shown.find("commit/") != std::string::npos; }
int sync_call(int fd, bool data, [[maybe_unused]] const std::string& shown) {
  constexpr int seed = GW_SEEDED_SKIP_SYNC;
  if constexpr (seed == 1) {
    if (data) return 0;
  } else if constexpr (seed == 2) {
    if (!data) return 0;
  } else if constexpr (seed >= 3) {
    if (data && ((seed == 3 && shown.ends_with(".log")) || (seed == 4 && shown.ends_with(".idx")) || (seed == 5 && is_commit_log(shown)))) return 0;
  }
  return data ? fdatasync(fd) : fsync(fd);
}
}  // namespace

Result<void> sync_data(int fd, const std::string& shown) {
  // Never repeated after an error: the kernel may have dropped the pages (reliability: fsync errors are final).
  if (sync_call(fd, true, shown) < 0) return Error{ExitCode::io_error, errno, "sync '" + shown + "': " + strerror(errno)};
  return {};
}
Result<void> sync_file(int fd, const std::string& shown) {
  if (sync_call(fd, false, shown) < 0) return Error{ExitCode::io_error, errno, "sync '" + shown + "': " + strerror(errno)};
  return {};
}

Result<uint64_t> file_size(int fd, const std::string& shown) {
  struct stat st;
  if (fstat(fd, &st) < 0) return errno_error("stat", shown, errno);
  if (!S_ISREG(st.st_mode)) return Error{ExitCode::system, 0, "'" + shown + "' is not a regular file: a foreign file, remove it"};
  return static_cast<uint64_t>(st.st_size);
}

Result<void> rename_at(int dir, const std::string& from, const std::string& to, const std::string& shown) {
  if (renameat(dir, from.c_str(), dir, to.c_str()) < 0) return errno_error("rename", shown, errno);
  return {};
}

Result<void> make_dir(int dir, const std::string& name, Modes modes, const std::string& shown) {
  if (mkdirat(dir, name.c_str(), modes.dir()) < 0) {
    if (errno == EEXIST) return {};
    return errno_error("create directory", shown, errno);
  }
  if (modes.shared && fchmodat(dir, name.c_str(), modes.dir(), 0) < 0) return errno_error("set mode of", shown, errno);
  return {};
}

std::vector<std::string> list_dir(int dir, bool directories_only) {
  std::vector<std::string> names;
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return names;
  DIR* d = fdopendir(fd);
  if (!d) {
    close(fd);
    return names;
  }
  while (dirent* e = readdir(d)) {
    std::string_view name = e->d_name;
    if (name == "." || name == ".." || (directories_only && e->d_type != DT_DIR && e->d_type != DT_UNKNOWN)) continue;
    names.emplace_back(name);
  }
  closedir(d);
  return names;
}

void empty_dir(int dir) {
  for (const std::string& name : list_dir(dir)) {
    if (unlinkat(dir, name.c_str(), 0) == 0 || (errno != EISDIR && errno != EPERM)) continue;
    UniqueFd inner(openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!inner) continue;
    for (const std::string& file : list_dir(inner.get())) unlinkat(inner.get(), file.c_str(), 0);
    unlinkat(dir, name.c_str(), AT_REMOVEDIR);
  }
}

uint64_t random_u64() {
  uint64_t x = 0;
  while (getrandom(&x, sizeof x, 0) != static_cast<ssize_t>(sizeof x)) {
  }
  return x;
}

void punch_hole(int fd, uint64_t offset, uint64_t size) {
  if (size) fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
}

}  // namespace gw::queue_detail
