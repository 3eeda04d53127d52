// System calls of the queue module with the details that matter: open-file-description locks behind process mutexes, shared
// futexes, mapped files without holes, files that appear whole.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw::queue_detail {

/// One byte of a file as a lock that excludes other processes (OFD lock) and other threads of this one (mutex). The file
/// is never mapped: a mapping would keep the lock alive after close.
class FileLock {
 public:
  FileLock(int fd, int64_t byte) : fd_(fd), byte_(byte) {}
  void lock();
  bool try_lock();
  void unlock();

 private:
  int fd_;
  int64_t byte_;
  std::mutex mutex_;
};

/// Raw OFD lock calls for bytes that need no thread exclusion (membership, owners).
bool ofd_try_lock(int fd, int64_t byte, bool exclusive);
void ofd_unlock(int fd, int64_t byte);
/// Would somebody else's lock hinder an exclusive lock?
bool ofd_locked_elsewhere(int fd, int64_t byte);

void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, int64_t timeout_ms);
void futex_wake_all(std::atomic<uint32_t>& word);

/// A MAP_SHARED mapping of a whole file.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& o) noexcept : data_(std::exchange(o.data_, nullptr)), size_(std::exchange(o.size_, 0)) {}
  Mapping& operator=(Mapping&& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    return *this;
  }
  ~Mapping();
  static Result<Mapping> map(int fd, size_t size, const std::string& path);
  char* data() const { return data_; }
  size_t size() const { return size_; }
  template <class T>
  T* as(size_t offset = 0) const {
    return reinterpret_cast<T*>(data_ + offset);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};

/// File modes of a root: private, or shared with the group of the root directory.
struct Modes {
  bool shared = false;
  mode_t dir() const { return shared ? 02770 : 0700; }
  mode_t file() const { return shared ? 0660 : 0600; }
};

/// openat2 beneath `dir`, no symlinks, O_CLOEXEC; `path` in the error is `shown`.
Result<UniqueFd> open_beneath(int dir, const std::string& name, int flags, mode_t mode, const std::string& shown);
/// How a new file is filled. The kernel keeps what one write brought as one folio, and a store through a mapping makes the
/// next sync write all of its folio: what is mapped and synced is filled page by page (measured: 90 us an ack instead of 300).
enum class Fill { fast, by_page };
/// Creates `name` (replacing a leftover of that name), writes `head`, then zeros up to `size`; with `sync` fsyncs it.
Result<UniqueFd> create_filled(int dir, const std::string& name, std::string_view head, uint64_t size, Modes modes, bool sync,
                               const std::string& shown, Fill fill = Fill::fast);
Result<void> write_at(int fd, std::string_view bytes, uint64_t offset, const std::string& shown);
/// Exactly `size` bytes, or io_error ("short read").
Result<std::string> read_at(int fd, uint64_t offset, size_t size, const std::string& shown);
Result<void> read_into(int fd, uint64_t offset, void* into, size_t size, const std::string& shown);
/// A structure as it lies in a file.
template <class T>
Result<T> read_record(int fd, uint64_t offset, const std::string& shown) {
  T record;
  GW_TRY(read_into(fd, offset, &record, sizeof record, shown));
  return record;
}
Result<void> sync_data(int fd, const std::string& shown);   // fdatasync
Result<void> sync_file(int fd, const std::string& shown);   // fsync
Result<uint64_t> file_size(int fd, const std::string& shown);
Result<void> rename_at(int dir, const std::string& from, const std::string& to, const std::string& shown);
Result<void> make_dir(int dir, const std::string& name, Modes modes, const std::string& shown);  // EEXIST is fine
std::vector<std::string> list_dir(int dir, bool directories_only = false);  // without . and ..
void empty_dir(int dir);  // of files, and of directories that hold nothing but files; what cannot be removed stays

uint64_t random_u64();
/// Deallocates; best effort.
void punch_hole(int fd, uint64_t offset, uint64_t size);

}  // namespace gw::queue_detail
