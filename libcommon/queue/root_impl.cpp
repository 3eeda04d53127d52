// The root directory: layout, identity, epoch, owner slots, waiting.
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <csignal>

#include "../diag.hpp"
#include "../gw_assert.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {

// A mapped page that cannot be read any more (bad sector, file cut by a foreign hand): nothing can go on.
void on_sigbus(int) {
  static const char text[] = "a mapped queue file cannot be read (SIGBUS): bad sector, or the file was cut; run 'queue-inspect check'\n";
  ssize_t ignored = ::write(2, text, sizeof text - 1);
  (void)ignored;
  _exit(static_cast<int>(ExitCode::io_error));
}

std::string read_line(const char* path) {
  int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char text[128];
  ssize_t n = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  std::string line(text, n > 0 ? static_cast<size_t>(n) : 0);
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  return line;
}

uint32_t record_crc(const FormatRecord& r) { return crc32c(0, reinterpret_cast<const char*>(&r) + 8, sizeof r - 8); }

void raise_descriptor_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

bool exists_at(int dir, const char* name) { return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

Result<void> make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (mkdir(path.substr(0, at).c_str(), 0777) < 0 && errno != EEXIST) return errno_error("create directory", path.substr(0, at), errno);
  return {};
}

}  // namespace

// --- opening -----------------------------------------------------------------------------------------------------------

Result<void> RootImpl::check_file_system() const {
  struct statfs fs;
  if (fstatfs(dir_.get(), &fs) < 0) return errno_error("look at the file system of", path_, errno);
  auto type = static_cast<unsigned long>(fs.f_type) & 0xffffffff;
  auto refuse = [&](const char* name) {
    return Error{ExitCode::system, 0, "'" + path_ + "' is on " + name + ": a root needs a local file system (ext4, xfs, btrfs), because locks and syncs must mean what they say"};
  };
  switch (type) {
    case NFS_SUPER_MAGIC: return refuse("NFS");
    case 0xff534d42: case 0xfe534d42: case 0x517b: return refuse("CIFS");
    case 0x01021997: return refuse("9p");
    case FUSE_SUPER_MAGIC: return refuse("FUSE");
    case CEPH_SUPER_MAGIC: return refuse("Ceph");
    case TMPFS_MAGIC: event(Level::debug, "root-on-tmpfs", {{"root", path_}, {"reason", "nothing here survives a power loss"}}); break;
    case OVERLAYFS_SUPER_MAGIC: event(Level::warn, "root-on-overlay", {{"root", path_}, {"reason", "put the root on a volume: an overlay may vanish with its container"}}); break;
    default: break;
  }
  return {};
}

Result<std::unique_ptr<RootImpl>> RootImpl::open(const std::string& path, const RootOptions& options) {
  std::unique_ptr<RootImpl> root(new RootImpl());
  root->options_ = options;
  // An absolute path without links above: events and body paths stay right when the caller changes its directory.
  root->path_ = path;
  while (root->path_.size() > 1 && root->path_.back() == '/') root->path_.pop_back();
  if (options.create) {
    GW_TRY(make_parents(path));
    if (mkdir(path.c_str(), 0700) < 0 && errno != EEXIST) {
      Error error = errno_error("create root", path, errno);
      if (error.code == ExitCode::system || error.code == ExitCode::no_input) error.code = ExitCode::cannot_create;
      return error;
    }
  }
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT) return Error{ExitCode::no_input, ENOENT, "no root directory '" + path + "': name one with --root or GW_ROOT; the first message or queue creates it"};
    return errno_error("open root", path, errno);
  }
  root->dir_ = UniqueFd(fd);
  if (char* full = realpath(path.c_str(), nullptr)) {
    root->path_ = full;
    free(full);
  }
  struct stat st;
  if (fstat(fd, &st) < 0) return errno_error("stat", path, errno);
  if (st.st_mode & 0002) return Error{ExitCode::no_permission, 0, "'" + path + "' can be written by everybody: chmod o-w it"};
  root->modes_.shared = (st.st_mode & 0020) != 0;
  GW_TRY(root->check_file_system());
  raise_descriptor_limit();
  struct sigaction action = {};
  action.sa_handler = on_sigbus;
  sigaction(SIGBUS, &action, nullptr);
  if (!exists_at(fd, "format")) {
    if (!options.create)
      return Error{ExitCode::no_input, 0, "'" + path + "' is not a Gatepost root yet: the first message or 'queue-inspect create' makes one"};
    GW_TRY(root->create_layout());
  }
  GW_TRY(root->open_layout());
  root->open_journal();
  GW_TRY(root->join_epoch());
  return root;
}

void RootImpl::open_journal() {
  Journal::Place place;
  place.root_path = path_;
  place.machine = machine_;
  place.shared = modes_.shared;
  // It goes on where puts are refused already, but leaves room for what takes and acknowledgements may need.
  place.has_room = [this] { return free_bytes() >= reserve_bytes() / 4; };
  place.may_purge = [this] { return clock().may_purge; };
  journal_ = std::make_unique<Journal>(std::move(place));
}

namespace {

// The name of a host need not be one that an address can have: a machine that was never told is called '(none)'.
std::string machine_of_host(std::string host) {
  auto fits = [](char c) { return isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-'; };
  if (host.empty() || host == "(none)") return "localhost";
  std::replace_if(host.begin(), host.end(), [&](char c) { return !fits(c); }, '-');
  host.erase(0, host.find_first_not_of(".-"));
  return host.empty() ? "localhost" : host;
}

}  // namespace

Result<void> RootImpl::create_layout() {
  // One creator at a time, by a lock on the directory itself. 'format' comes last: without it there is no root.
  flock(dir_.get(), LOCK_EX);
  struct Unlock {
    int fd;
    ~Unlock() { flock(fd, LOCK_UN); }
  } unlock{dir_.get()};
  if (exists_at(dir_.get(), "format")) return {};
  static const std::set<std::string> ours = {"queues", "bodies", "commit", "lock", "root.v", "databus", "databus.due", "databus.open", "dedup", "machine", "clock", "format.new", "root.v.new", "lost+found", "locks", "journal"};
  for (auto& name : list_dir(dir_.get()))
    if (!ours.count(name) && !name.starts_with("."))
      return Error{ExitCode::cannot_create, 0, "'" + path_ + "' is neither empty nor a root (there is '" + name + "' in it): name another directory"};
  for (auto name : {"queues", "bodies", "commit", "dedup", "locks"}) GW_TRY(make_dir(dir_.get(), name, modes_, shown(name)));
  GW_TRY(create_filled(dir_.get(), "lock", "", page_bytes, modes_, true, shown("lock")));
  if (!exists_at(dir_.get(), "machine")) {
    std::string machine = options_.machine;
    char host[256] = "localhost";
    if (machine.empty() && gethostname(host, sizeof host - 1) == 0) machine = machine_of_host(host);
    GW_TRY(create_filled(dir_.get(), "machine", machine + "\n", 0, modes_, true, shown("machine")));
  }
  GW_TRY(create_filled(dir_.get(), "clock", "", 2 * page_bytes, modes_, true, shown("clock")));
  GW_TRY_ASSIGN(UniqueFd commit, open_beneath(dir_.get(), "commit", O_RDONLY | O_DIRECTORY, 0, shown("commit")));
  for (unsigned i = 0; i < commit_files; i++)
    GW_TRY(create_filled(commit.get(), std::to_string(i), "", commit_file_bytes, modes_, true, shown("commit/" + std::to_string(i))));
  GW_TRY(sync_file(commit.get(), shown("commit")));
  FormatRecord record{};
  record.head.magic = format_magic;
  record.version = format_version;
  uint64_t uuid[2] = {random_u64(), random_u64()};
  memcpy(record.root_uuid, uuid, 16);
  record.epoch = 0;  // the first to join finds another identity and starts the first epoch
  record.head.crc = record_crc(record);
  std::string head(reinterpret_cast<const char*>(&record), sizeof record);
  GW_TRY(create_filled(dir_.get(), "format.new", head, 2 * page_bytes, modes_, true, shown("format")));
  GW_TRY(sync_file(dir_.get(), path_));
  GW_TRY(rename_at(dir_.get(), "format.new", "format", shown("format")));
  return sync_file(dir_.get(), path_);
}

Result<void> RootImpl::open_layout() {
  GW_TRY_ASSIGN(format_, open_beneath(dir_.get(), "format", O_RDWR | O_NONBLOCK, 0, shown("format")));
  auto queues = open_beneath(dir_.get(), "queues", O_RDONLY | O_DIRECTORY, 0, shown("queues"));
  if (!queues) {
    GW_TRY(read_format());  // a foreign 'format' explains it better
    return std::move(queues).error();
  }
  queues_ = *std::move(queues);
  GW_TRY_ASSIGN(bodies_, open_beneath(dir_.get(), "bodies", O_RDONLY | O_DIRECTORY, 0, shown("bodies")));
  GW_TRY_ASSIGN(lock_, open_beneath(dir_.get(), "lock", O_RDWR | O_NONBLOCK, 0, shown("lock")));
  commit_append_ = std::make_unique<FileLock>(lock_.get(), lock_commit_append);
  commit_leader_ = std::make_unique<FileLock>(lock_.get(), lock_commit_leader);
  maintenance_ = std::make_unique<FileLock>(lock_.get(), lock_root_maintenance);
  create_lock_ = std::make_unique<FileLock>(lock_.get(), lock_create);
  clock_lock_ = std::make_unique<FileLock>(lock_.get(), lock_clock);
  struct stat root_stat, queues_stat;
  if (fstat(dir_.get(), &root_stat) < 0 || fstat(queues_.get(), &queues_stat) < 0) return errno_error("stat", path_, errno);
  if (root_stat.st_dev != queues_stat.st_dev)
    return Error{ExitCode::system, 0, "'" + shown("queues") + "' is on another file system than '" + path_ + "': a root must be on one"};
  auto machine = open_beneath(dir_.get(), "machine", O_RDONLY | O_NONBLOCK, 0, shown("machine"));
  if (machine) {
    char text[256];
    ssize_t n = ::read(machine->get(), text, sizeof text);
    machine_.assign(text, n > 0 ? static_cast<size_t>(n) : 0);
    while (!machine_.empty() && machine_.back() == '\n') machine_.pop_back();
  }
  return {};
}

Result<FormatRecord> RootImpl::read_format() const {
  std::optional<FormatRecord> best;
  auto foreign = [&] { return Error{ExitCode::system, 0, "'" + shown("format") + "' is not the description of a root: a foreign or damaged file"}; };
  GW_TRY_ASSIGN(uint64_t size, file_size(format_.get(), shown("format")));
  if (size < page_bytes + sizeof(FormatRecord)) return foreign();
  for (uint64_t offset : {uint64_t{0}, uint64_t{page_bytes}}) {
    GW_TRY_ASSIGN(auto record, read_record<FormatRecord>(format_.get(), offset, shown("format")));
    if (record.head.magic != format_magic || record.head.crc != record_crc(record)) continue;
    if (!best || record.head.generation > best->head.generation) best = record;
  }
  if (!best) return foreign();
  if (best->version != format_version || (best->incompatible & ~known_incompatible) || (best->read_only & ~known_read_only))
    return Error{ExitCode::system, 0, "'" + path_ + "' has format version " + std::to_string(best->version) + " with features this program does not know (it knows version " +
                                          std::to_string(format_version) + "): use a newer Gatepost"};
  return *best;
}

Result<void> RootImpl::write_format(FormatRecord& record) {
  record.head.generation++;
  record.head.crc = record_crc(record);
  uint64_t offset = record.head.generation % 2 ? page_bytes : 0;
  GW_TRY(write_at(format_.get(), std::string_view(reinterpret_cast<const char*>(&record), sizeof record), offset, shown("format")));
  return sync_data(format_.get(), shown("format"));
}

// --- identity and epoch ----------------------------------------------------------------------------------------------------

Result<void> RootImpl::fill_identity(FormatRecord& record) const {
  std::string boot = read_line("/proc/sys/kernel/random/boot_id"), machine = read_line("/etc/machine-id");
  if (boot.empty())
    return Error{ExitCode::system, 0, "cannot read '/proc/sys/kernel/random/boot_id': without it a reboot cannot be told from a restart (systemd: remove ProcSubset=pid)"};
  struct stat st;
  if (fstat(dir_.get(), &st) < 0) return errno_error("stat", path_, errno);
  memset(record.boot_id, 0, sizeof record.boot_id);
  memset(record.machine_id, 0, sizeof record.machine_id);
  memcpy(record.boot_id, boot.data(), std::min(boot.size(), sizeof record.boot_id - 1));
  memcpy(record.machine_id, machine.data(), std::min(machine.size(), sizeof record.machine_id - 1));
  record.st_dev = st.st_dev;
  record.st_ino = st.st_ino;
  return {};
}

bool RootImpl::identity_equal(const FormatRecord& record, const FormatRecord& now) {
  return memcmp(now.boot_id, record.boot_id, sizeof now.boot_id) == 0 && memcmp(now.machine_id, record.machine_id, sizeof now.machine_id) == 0 &&
         now.st_dev == record.st_dev && now.st_ino == record.st_ino;
}

Result<void> RootImpl::map_root_shared() {
  GW_TRY_ASSIGN(UniqueFd fd, open_beneath(dir_.get(), "root.v", O_RDWR | O_NONBLOCK, 0, shown("root.v")));
  size_t bytes = page_bytes + owner_slots * sizeof(OwnerSlot);
  GW_TRY_ASSIGN(uint64_t size, file_size(fd.get(), shown("root.v")));
  if (size < bytes) return Error{ExitCode::system, 0, "'" + shown("root.v") + "' is damaged: stop all tools on this root and remove the file"};
  GW_TRY_ASSIGN(shared_map_, Mapping::map(fd.get(), bytes, shown("root.v")));
  return {};
}

Result<void> RootImpl::make_root_shared(uint64_t epoch) {
  std::string page(page_bytes, '\0');
  auto* r = new (page.data()) RootShared{};
  r->magic = root_shared_magic;
  r->epoch = epoch;
  r->next_incarnation.store(1);
  r->next_queue_number.store(1);
  r->sweep_bodies.store(1);
  size_t bytes = page_bytes + owner_slots * sizeof(OwnerSlot);
  unlinkat(dir_.get(), "root.v", 0);  // of another epoch: its space is needed on a full disk
  GW_TRY(create_filled(dir_.get(), "root.v.new", page, bytes, modes_, false, shown("root.v")));
  return rename_at(dir_.get(), "root.v.new", "root.v", shown("root.v"));
}

Result<void> RootImpl::join_epoch() {
  FormatRecord now{};
  GW_TRY(fill_identity(now));
  int64_t foreign_since = 0, deadline = monotonic_ms() + 120'000;
  for (;;) {
    if (ofd_try_lock(lock_.get(), lock_membership, false)) {
      GW_TRY_ASSIGN(FormatRecord record, read_format());
      if (record.epoch && identity_equal(record, now) && map_root_shared() && shared().magic == root_shared_magic && shared().epoch == record.epoch) {
        epoch_ = record.epoch;
        return {};
      }
      ofd_unlock(lock_.get(), lock_membership);
      if (ofd_try_lock(lock_.get(), lock_membership, true)) {
        GW_TRY_ASSIGN(FormatRecord again, read_format());
        if (!again.epoch || !identity_equal(again, now) || !map_root_shared() || shared().magic != root_shared_magic || shared().epoch != again.epoch)
          GW_TRY(boot_recovery());
        else
          epoch_ = again.epoch;
        GW_ASSERT(ofd_try_lock(lock_.get(), lock_membership, false));  // down to shared, atomically
        return {};
      }
      // Members of another identity are alive.
      if (!foreign_since) foreign_since = monotonic_ms();
      if (monotonic_ms() - foreign_since > 5'000)
        return Error{ExitCode::system, 0, "'" + path_ + "' is in use by another kernel or under another identity: stop the tools there first"};
    } else {
      foreign_since = 0;  // somebody recovers
      if (monotonic_ms() > deadline) return Error{ExitCode::not_now, 0, "'" + path_ + "' is being recovered by another process: try again later"};
    }
    timespec pause{0, 10'000'000};
    nanosleep(&pause, nullptr);
  }
}

// --- owner slots --------------------------------------------------------------------------------------------------------------

Result<uint32_t> RootImpl::incarnation() {
  if (uint32_t mine = incarnation_.load(std::memory_order_acquire)) return mine;
  GW_TRY_ASSIGN(uint32_t mine, take_slot());
  // What owners before us left is given back before we look for messages.
  try_recover(false);
  return mine;
}

Result<uint32_t> RootImpl::take_slot() {
  // The same mutex as recovery of the dead: open-file-description locks do not tell our threads apart.
  std::lock_guard guard(reap_mutex_);
  if (uint32_t mine = incarnation_.load()) return mine;
  GW_TRY(open_commit_files());
  RootShared& r = shared();
  for (unsigned n = 0; n < owner_slots; n++) {
    OwnerSlot& s = slot(n);
    if (s.incarnation.load() != 0 || !ofd_try_lock(lock_.get(), lock_owner_base + n, true)) continue;
    if (s.incarnation.load() != 0) {
      ofd_unlock(lock_.get(), lock_owner_base + n);
      continue;
    }
    uint32_t high = r.slot_high.load();
    while (high < n + 1 && !r.slot_high.compare_exchange_weak(high, n + 1)) {
    }
    xid_high_ = random_u64();
    s.pid.store(static_cast<uint32_t>(getpid()));
    s.xid_high.store(xid_high_);
    s.oldest_open.store(1);
    s.since_ms.store(now_ms());
    s.overflow.store(0);
    for (auto& q : s.queues) q.store(0);
    slot_ = n;
    auto mine = static_cast<uint32_t>(r.next_incarnation.fetch_add(1));
    s.incarnation.store(mine);  // first: from here on its transactions count as in use
    incarnation_.store(mine, std::memory_order_release);
    return mine;
  }
  return Error{ExitCode::not_now, 0, "'" + path_ + "': all " + std::to_string(owner_slots) + " owner slots are taken: too many processes hold messages"};
}

Result<void> RootImpl::mark_queue(uint32_t number) {
  GW_TRY(incarnation());
  OwnerSlot& s = slot(slot_);
  for (auto& q : s.queues) {
    uint32_t seen = q.load();
    if (seen == number + 1) return {};
    if (seen == 0 && q.compare_exchange_strong(seen, number + 1)) return {};
    if (seen == number + 1) return {};
  }
  s.overflow.store(1);
  return {};
}

Xid RootImpl::new_xid() {
  std::lock_guard guard(xid_mutex_);
  uint64_t low = xid_next_++;
  xid_open_.insert(low);
  slot(slot_).oldest_open.store(*xid_open_.begin());
  return {xid_high_, low};
}

void RootImpl::finished_xid(const Xid& xid) {
  std::lock_guard guard(xid_mutex_);
  xid_open_.erase(xid.low);
  slot(slot_).oldest_open.store(xid_open_.empty() ? xid_next_ : *xid_open_.begin());
}

bool RootImpl::xid_in_use(const Xid& xid) const {
  unsigned high = shared().slot_high.load();
  for (unsigned n = 0; n < high; n++) {
    OwnerSlot& s = slot(n);
    if (s.incarnation.load() && s.xid_high.load() == xid.high && xid.low >= s.oldest_open.load()) return true;
  }
  return false;
}

// --- queues ---------------------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<QueueImpl>> RootImpl::queue(std::string_view name) {
  GW_TRY(check_queue_name(name));
  std::lock_guard guard(queues_mutex_);
  auto it = open_queues_.find(name);
  if (it != open_queues_.end())
    if (auto open = it->second.lock(); open && !open->shared().removed.load()) return open;
  GW_TRY_ASSIGN(auto opened, QueueImpl::open(*this, std::string(name)));
  open_queues_[std::string(name)] = opened;
  return opened;
}

Result<std::shared_ptr<QueueImpl>> RootImpl::create_queue(std::string_view name, const QueueConfig& config) {
  GW_TRY(check_queue_name(name));
  auto there = queue(name);
  if (there || there.error().code != ExitCode::no_input) return there;
  create_lock_->lock();
  auto created = QueueImpl::create(*this, std::string(name), config);
  create_lock_->unlock();
  GW_TRY(created);
  return queue(name);
}

Result<void> RootImpl::remove_queue(std::string_view name, bool force) {
  GW_TRY_ASSIGN(auto q, queue(name));
  // Records that name it must not be applied to a later queue of that name; the uuid sees to it.
  GW_TRY(q->remove(force));
  std::lock_guard guard(queues_mutex_);
  open_queues_.erase(std::string(name));
  return {};
}

Result<std::vector<std::string>> RootImpl::list_queues() const {
  std::vector<std::string> names;
  for (auto& name : list_dir(queues_.get(), true))
    if (queue_name_ok(name)) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::shared_ptr<QueueImpl>> RootImpl::queue_by_number(uint32_t number) {
  auto find = [&]() -> std::string {
    std::lock_guard guard(numbers_mutex_);
    auto it = numbers_.find(number);
    return it == numbers_.end() ? "" : it->second;
  };
  if (std::string name = find(); !name.empty())
    if (auto q = queue(name); q && (*q)->number() == number) return q;
  GW_TRY_ASSIGN(auto names, list_queues());
  for (auto& name : names) {
    auto q = queue(name);
    if (!q) continue;
    std::lock_guard guard(numbers_mutex_);
    numbers_[(*q)->number()] = name;
  }
  std::string name = find();
  if (name.empty()) return Error{ExitCode::no_input, 0, "no queue with number " + std::to_string(number)};
  return queue(name);
}

uint64_t RootImpl::reserve_bytes() const {
  if (options_.min_free_bytes != min_free_bytes_default) return options_.min_free_bytes;
  // On a small file system the default would leave nothing: a sixteenth of it then.
  struct statvfs fs;
  if (fstatvfs(dir_.get(), &fs) < 0) return min_free_bytes_default;
  return std::min<uint64_t>(min_free_bytes_default, static_cast<uint64_t>(fs.f_blocks) * fs.f_frsize / 16);
}

uint64_t RootImpl::free_bytes() const {
  struct statvfs fs;
  if (fstatvfs(dir_.get(), &fs) < 0) return 0;
  return static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
}

// --- waiting ------------------------------------------------------------------------------------------------------------------------

void RootImpl::ring() {
  RootShared& r = shared();
  r.bell.fetch_add(1);
  if (r.waiters.load()) futex_wake_all(r.bell);
}

void RootImpl::wait(uint32_t seen, int64_t timeout_ms) {
  // A death rings no bell: at most half a second, then the owners are looked at.
  int64_t limit = std::clamp<int64_t>(timeout_ms, 0, 500);
  RootShared& r = shared();
  if (limit > 0 && r.bell.load() == seen) {
    r.waiters.fetch_add(1);
    if (r.bell.load() == seen) futex_wait(r.bell, seen, limit);
    r.waiters.fetch_sub(1);
  }
  try_recover(false);
  warn_of_jump();
  sweep_due_blobs();
  if (monotonic_ms() - last_maintain_ms_.load() > 5'000) {
    last_maintain_ms_.store(monotonic_ms());
    if (auto kept = maintain(false); !kept) event(Level::warn, "upkeep-failed", {{"reason", kept.error().text}});
  }
}

// --- singletons -----------------------------------------------------------------------------------------------------------------------

Result<std::optional<UniqueFd>> RootImpl::try_singleton(std::string_view name, int* owner_pid) {
  GW_TRY(check_queue_name(name));
  std::string file = "locks/" + std::string(name);
  GW_TRY_ASSIGN(UniqueFd fd, open_beneath(dir_.get(), file, O_RDWR | O_CREAT | O_NONBLOCK, modes_.file(), shown(file)));
  if (modes_.shared) fchmod(fd.get(), modes_.file());
  if (!ofd_try_lock(fd.get(), 0, true)) {
    if (owner_pid) *owner_pid = singleton(name).pid;
    return std::optional<UniqueFd>();
  }
  std::string text = std::to_string(getpid()) + " " + std::to_string(now_ms()) + "\n";
  // The lock is what counts: on a full disk it is held without a name.
  if (ftruncate(fd.get(), 0) < 0 || !write_at(fd.get(), text, 0, shown(file))) event(Level::debug, "pid-not-written", {{"path", shown(file)}});
  return std::optional<UniqueFd>(std::move(fd));
}

Root::SingletonInfo RootImpl::singleton(std::string_view name) const {
  Root::SingletonInfo info;
  std::string file = "locks/" + std::string(name);
  auto fd = open_beneath(dir_.get(), file, O_RDWR | O_NONBLOCK, 0, shown(file));
  if (!fd || !ofd_locked_elsewhere(fd->get(), 0)) return info;
  info.pid = 1;  // somebody, if the name could not be written
  char text[64] = "";
  if (::pread(fd->get(), text, sizeof text - 1, 0) > 0) {
    long long since = 0;
    if (sscanf(text, "%d %lld", &info.pid, &since) < 1) info.pid = 1;
    info.since_ms = since;
  }
  return info;
}

Result<DedupStore*> RootImpl::dedup_store(const std::string& name, bool create) {
  std::lock_guard guard(stores_mutex_);
  auto it = stores_.find(name);
  if (it != stores_.end()) return it->second.get();
  GW_TRY_ASSIGN(auto store, DedupStore::open(path_, name, create));
  return (stores_[name] = std::move(store)).get();
}

Result<bool> RootImpl::undecided(const DedupRow& row) {
  auto q = queue(row.queue);
  if (!q && q.error().code == ExitCode::no_input) return false;  // removed since
  GW_TRY(q);
  return (*q)->undecided(row.seq);
}

}  // namespace gw::queue_detail
