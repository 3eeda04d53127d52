#include "handling_times.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <vector>

#include "state_files.hpp"
#include "unique_fd.hpp"

namespace gw {

namespace {

constexpr uint64_t magic = 0x31'73'65'6d'69'74'77'67;  // "gwtimes1"
constexpr size_t buckets = handling_time_bounds_s.size() + 1;

struct Histogram {
  std::atomic<uint64_t> in[buckets];  // each its own: one operation for a message
  std::atomic<uint64_t> sum_us;
  void add(double seconds) {
    const auto bucket = std::lower_bound(handling_time_bounds_s.begin(), handling_time_bounds_s.end(), seconds) - handling_time_bounds_s.begin();
    in[bucket].fetch_add(1, std::memory_order_relaxed);
    sum_us.fetch_add(static_cast<uint64_t>(seconds * 1e6), std::memory_order_relaxed);
  }
  void read(TimeSummary& into) const {
    uint64_t so_far = 0;
    for (size_t i = 0; i < buckets; ++i) into.up_to[i] = so_far += in[i].load(std::memory_order_relaxed);
    into.sum_s = static_cast<double>(sum_us.load(std::memory_order_relaxed)) / 1e6;
  }
};

// Both times in one word, so that they belong together. No message has the word 0.
uint64_t pack(double critical_s, double processing_s) {
  constexpr float least = 1e-9f;
  const auto high = std::bit_cast<uint32_t>(std::max(static_cast<float>(critical_s), least));
  return uint64_t{high} << 32 | std::bit_cast<uint32_t>(static_cast<float>(processing_s));
}

}  // namespace

struct HandlingTimes::File {
  std::atomic<uint64_t> magic_word;
  std::atomic<uint64_t> next;  // % handling_times_kept: where the next one's times go
  std::atomic<uint64_t> last[handling_times_kept];
  Histogram critical, processing;
  std::atomic<uint64_t> gave_up, sent_back;
};

namespace {

constexpr const char* directory = "times";

std::string path_of(const std::string& root_path, const std::string& queue) { return root_path + "/" + directory + "/" + queue; }

Result<UniqueFd> open_file(const std::string& root_path, const std::string& queue, size_t bytes) {
  const std::string path = path_of(root_path, queue);
  GW_TRY_ASSIGN(UniqueFd file, open_state_file(root_path, directory, queue));
  const ExclusiveFlock locked(file.get());
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return errno_error("stat", path, errno);
  // What is mapped must never need space later: written in full. A file of another version begins anew.
  uint64_t begins = 0;
  const bool whole = status.st_size == static_cast<off_t>(bytes) && ::pread(file.get(), &begins, sizeof begins, 0) == sizeof begins && begins == magic;
  if (!whole) {
    std::vector<char> zeros(bytes);
    if (ssize_t n = ::pwrite(file.get(), zeros.data(), bytes, 0); n != static_cast<ssize_t>(bytes)) return errno_error("write", path, n < 0 ? errno : ENOSPC);
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return errno_error("write", path, errno);
    if (::pwrite(file.get(), &magic, sizeof magic, 0) != sizeof magic) return errno_error("write", path, errno);
  }
  return file;
}

}  // namespace

Result<std::unique_ptr<HandlingTimes>> HandlingTimes::open(const std::string& root_path, const std::string& queue) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  const std::string path = path_of(root_path, queue);
  GW_TRY_ASSIGN(UniqueFd file, open_file(root_path, queue, sizeof(File)));
  void* mapped = ::mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) return errno_error("map", path, errno);
  return std::unique_ptr<HandlingTimes>(new HandlingTimes(static_cast<File*>(mapped)));
}

HandlingTimes::~HandlingTimes() { ::munmap(file_, sizeof(File)); }

void HandlingTimes::handled(double critical_s, double processing_s) {
  critical_s = std::max(critical_s, 0.0);
  processing_s = std::max(processing_s, 0.0);
  file_->critical.add(critical_s);
  file_->processing.add(processing_s);
  const uint64_t at = file_->next.fetch_add(1, std::memory_order_relaxed) % handling_times_kept;
  file_->last[at].store(pack(critical_s, processing_s), std::memory_order_relaxed);
}

void HandlingTimes::gave_up() { file_->gave_up.fetch_add(1, std::memory_order_relaxed); }
void HandlingTimes::sent_back() { file_->sent_back.fetch_add(1, std::memory_order_relaxed); }

void count_given_up(const std::string& root_path, const std::string& queue) {
  if (auto times = HandlingTimes::open(root_path, queue)) (*times)->gave_up();
}

Result<std::optional<HandlingSummary>> read_handling_times(const std::string& root_path, const std::string& queue) {
  const std::string path = path_of(root_path, queue);
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file && errno == ENOENT) return std::optional<HandlingSummary>{};
  if (!file) return errno_error("open", path, errno);
  HandlingTimes::File times{};
  const ssize_t n = ::pread(file.get(), static_cast<void*>(&times), sizeof times, 0);
  if (n < 0) return errno_error("read", path, errno);
  if (n != sizeof times || times.magic_word.load() != magic) return std::optional<HandlingSummary>{};  // just being made, or of another version
  HandlingSummary summary;
  times.critical.read(summary.critical);
  times.processing.read(summary.processing);
  summary.gave_up = times.gave_up.load();
  summary.sent_back = times.sent_back.load();
  double critical = 0, processing = 0;
  size_t count = 0;
  for (const auto& slot : times.last) {
    const uint64_t word = slot.load();
    if (word == 0) continue;
    ++count;
    critical += static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(word >> 32)));
    processing += static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(word)));
  }
  if (count > 0) {
    summary.critical.mean_s = critical / static_cast<double>(count);
    summary.processing.mean_s = processing / static_cast<double>(count);
  }
  return std::optional(summary);
}

}  // namespace gw
