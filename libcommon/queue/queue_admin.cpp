// Creating, opening and removing a queue; its durable settings.
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <climits>

#include "../diag.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {
constexpr uint64_t record_offsets[2] = {0, page_bytes};

uint32_t record_crc(const MetaRecord& r) { return crc32c(0, reinterpret_cast<const char*>(&r) + 8, sizeof r - 8); }
}  // namespace

Result<MetaRecord> QueueImpl::read_meta() const {
  std::optional<MetaRecord> best;
  for (uint64_t offset : record_offsets) {
    GW_TRY_ASSIGN(auto record, read_record<MetaRecord>(meta_.get(), offset, shown("meta")));
    if (record.head.magic != meta_magic || record.head.crc != record_crc(record)) continue;
    if (!best || record.head.generation > best->head.generation) best = record;
  }
  if (!best) return Error{ExitCode::system, 0, "'" + shown("meta") + "' is not the description of a queue: a foreign or damaged file"};
  if (best->version != format_version)
    return Error{ExitCode::system, 0, "queue '" + name_ + "' has format version " + std::to_string(best->version) + ", this program knows " + std::to_string(format_version)};
  return *best;
}

Result<void> QueueImpl::write_meta(MetaRecord& meta) {
  // Into the older of the two copies: a torn write leaves the other one.
  meta.head.generation++;
  meta.head.crc = record_crc(meta);
  uint64_t offset = record_offsets[meta.head.generation % 2];
  GW_TRY(write_at(meta_.get(), std::string_view(reinterpret_cast<const char*>(&meta), sizeof meta), offset, shown("meta")));
  return sync_data(meta_.get(), shown("meta"));
}

Result<void> QueueImpl::create(RootImpl& root, const std::string& name, const QueueConfig& config) {
  std::string temporary = ".new-" + std::to_string(random_u64());
  std::string path = root.path() + "/queues/" + name;
  GW_TRY(make_dir(root.queues_dir(), temporary, root.modes(), path));
  auto build = [&]() -> Result<void> {
    GW_TRY_ASSIGN(UniqueFd dir, open_beneath(root.queues_dir(), temporary, O_RDONLY | O_DIRECTORY, 0, path));
    MetaRecord meta{};
    meta.head.magic = meta_magic;
    meta.version = format_version;
    meta.number = static_cast<uint32_t>(root.shared().next_queue_number.fetch_add(1));
    uint64_t random[2] = {random_u64(), random_u64()};
    memcpy(meta.uuid, random, 16);
    meta.max_bytes = config.max_bytes;
    meta.journal = config.journal;
    meta.removed_below = 1;
    meta.head.crc = record_crc(meta);
    std::string head(reinterpret_cast<const char*>(&meta), sizeof meta);
    GW_TRY(create_filled(dir.get(), "meta", head, 2 * page_bytes, root.modes(), true, path + "/meta"));
    GW_TRY(sync_file(dir.get(), path));
    if (renameat2(root.queues_dir(), temporary.c_str(), root.queues_dir(), name.c_str(), RENAME_NOREPLACE) < 0) {
      if (errno != EEXIST) return errno_error("create queue", path, errno);
      unlinkat(dir.get(), "meta", 0);
      unlinkat(root.queues_dir(), temporary.c_str(), AT_REMOVEDIR);
      return {};  // somebody else made it meanwhile
    }
    return sync_file(root.queues_dir(), root.path() + "/queues");
  };
  auto built = build();
  if (!built) {
    unlinkat(root.queues_dir(), (temporary + "/meta").c_str(), 0);
    unlinkat(root.queues_dir(), temporary.c_str(), AT_REMOVEDIR);
    if (built.error().code == ExitCode::system) built.error().code = ExitCode::cannot_create;
  }
  return built;
}

Result<std::shared_ptr<QueueImpl>> QueueImpl::open(RootImpl& root, const std::string& name, const Decisions* decisions) {
  std::shared_ptr<QueueImpl> queue(new QueueImpl(root, name));
  auto dir = open_beneath(root.queues_dir(), name, O_RDONLY | O_DIRECTORY, 0, queue->shown(""));
  if (!dir && dir.error().sys_errno == ENOENT)
    return Error{ExitCode::no_input, ENOENT, "no queue '" + name + "' in '" + root.path() + "': see 'queue-inspect list' and 'queue-inspect create'"};
  if (!dir) return std::move(dir).error();
  queue->dir_ = *std::move(dir);
  GW_TRY_ASSIGN(queue->meta_, open_beneath(queue->dir_.get(), "meta", O_RDWR | O_NONBLOCK, 0, queue->shown("meta")));
  GW_TRY_ASSIGN(uint64_t size, file_size(queue->meta_.get(), queue->shown("meta")));
  if (size < page_bytes + sizeof(MetaRecord))
    return Error{ExitCode::system, 0, "'" + queue->shown("meta") + "' is not the description of a queue: a foreign or damaged file"};
  GW_TRY_ASSIGN(MetaRecord meta, queue->read_meta());
  queue->number_ = meta.number;
  memcpy(queue->uuid_.data(), meta.uuid, 16);
  int fd = queue->meta_.get();
  queue->append_lock_ = std::make_unique<FileLock>(fd, lock_append);
  queue->log_leader_ = std::make_unique<FileLock>(fd, lock_log_leader);
  queue->maintenance_lock_ = std::make_unique<FileLock>(fd, lock_maintenance);
  queue->recover_lock_ = std::make_unique<FileLock>(fd, lock_recover);
  auto map = [&]() -> Result<bool> {
    auto file = open_beneath(queue->dir_.get(), "q.v", O_RDWR | O_NONBLOCK, 0, queue->shown("q.v"));
    if (!file) {
      if (file.error().sys_errno == ENOENT) return false;
      return std::move(file).error();
    }
    GW_TRY_ASSIGN(uint64_t bytes, file_size(file->get(), queue->shown("q.v")));
    if (bytes < page_bytes) return false;
    GW_TRY_ASSIGN(queue->shared_map_, Mapping::map(file->get(), page_bytes, queue->shown("q.v")));
    QueueShared& q = queue->shared();
    return q.magic == queue_shared_magic && q.epoch == root.epoch();
  };
  GW_TRY_ASSIGN(bool valid, map());
  if (!valid || decisions) {
    queue->recover_lock_->lock();
    auto again = map();
    Result<void> done;
    if (!again) done = std::move(again).error();
    else if (!*again || decisions) done = queue->recover(decisions);
    if (done) {
      again = map();
      if (!again) done = std::move(again).error();
    }
    queue->recover_lock_->unlock();
    GW_TRY(done);
  }
  GW_TRY(queue->settle_removal());
  GW_TRY(queue->settle_settings(meta));
  return queue;
}

/// Somebody is removing it, or was killed when he was about to.
Result<void> QueueImpl::settle_removal() {
  if (!shared().removed.load()) return {};
  append_lock_->lock();
  struct stat named, opened;
  const bool still_here =
      fstatat(root_.queues_dir(), name_.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(dir_.get(), &opened) == 0 && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino;
  if (still_here) shared().removed.store(0);
  append_lock_->unlock();
  return still_here ? Result<void>() : Result<void>(removed_error());
}

/// Who was killed in the middle of hold() or configure() left what all processes look at behind what is durable and told by status().
Result<void> QueueImpl::settle_settings(const MetaRecord& seen) {
  auto agree = [this](const MetaRecord& meta) {
    QueueShared& q = shared();
    return (q.takes_off.load() != 0) == (meta.takes_off != 0) && (q.puts_off.load() != 0) == (meta.puts_off != 0) && q.max_bytes.load() == meta.max_bytes;
  };
  if (agree(seen)) return {};
  maintenance_lock_->lock();
  auto meta = read_meta();  // perhaps somebody was in the middle of it, and alive
  const bool late = meta && !agree(*meta);
  if (late) show_settings(*meta);
  maintenance_lock_->unlock();
  if (late) ring();
  return meta ? Result<void>() : Result<void>(std::move(meta).error());
}

/// To all processes. Under the maintenance lock.
void QueueImpl::show_settings(const MetaRecord& meta) {
  QueueShared& q = shared();
  q.takes_off.store(meta.takes_off);
  q.puts_off.store(meta.puts_off);
  q.max_bytes.store(meta.max_bytes);
}

Result<void> QueueImpl::hold(bool takes_on, bool puts_on, const std::string& reason) {
  maintenance_lock_->lock();
  auto change = [&]() -> Result<void> {
    GW_TRY_ASSIGN(MetaRecord meta, read_meta());
    meta.takes_off = !takes_on;
    meta.puts_off = !puts_on;
    memset(meta.hold_reason, 0, sizeof meta.hold_reason);
    if (!takes_on || !puts_on) memcpy(meta.hold_reason, reason.data(), std::min(reason.size(), sizeof meta.hold_reason - 1));
    GW_TRY(write_meta(meta));
    show_settings(meta);
    return {};
  };
  auto done = change();
  maintenance_lock_->unlock();
  ring();
  return done;
}

Result<void> QueueImpl::configure(const QueueConfig& config) {
  maintenance_lock_->lock();
  auto change = [&]() -> Result<void> {
    GW_TRY_ASSIGN(MetaRecord meta, read_meta());
    meta.max_bytes = config.max_bytes;
    meta.journal = config.journal;
    GW_TRY(write_meta(meta));
    show_settings(meta);
    return {};
  };
  auto done = change();
  maintenance_lock_->unlock();
  return done;
}

Result<void> QueueImpl::remove(bool force) {
  // Under the append lock nothing can come in; with `removed` set nothing will.
  append_lock_->lock();
  auto removal = [&]() -> Result<void> {
    std::vector<std::pair<MessageFiles, int64_t>> files;
    uint64_t live = 0, claimed = 0;
    GW_TRY(visit_words(0, [&](const SegmentPtr& segment, uint64_t, uint64_t word, uint64_t claim) {
      State s = segment->state(word);
      if (s == State::ready || s == State::deferred || s == State::staged || s == State::bad) live++;
      if (claim_incarnation(claim) != 0 && s != State::done) claimed++;
      return true;
    }));
    if (claimed) return Error{ExitCode::not_now, 0, "queue '" + name_ + "' is in use: " + std::to_string(claimed) + " of its messages are claimed"};
    if (live && !force)
      return Error{ExitCode::not_now, 0, "queue '" + name_ + "' holds " + std::to_string(live) + " messages: purge or move them, or use --force"};
    GW_TRY(visit_files(0, [&](const Owner& owner, const MessageFiles& owned) { files.emplace_back(owned, owner.expires_at_ms); }));
    // The commit: the directory loses its name. What is left of it after a crash is swept by check. Whoever has the queue open must not
    // put into it from then on, also if we are killed right behind it; killed before it, the next open() takes the word back.
    std::string gone = ".gone-" + std::to_string(random_u64());
    shared().removed.store(1);
    if (auto renamed = rename_at(root_.queues_dir(), name_, gone, shown("")); !renamed) {
      shared().removed.store(0);
      return renamed;
    }
    GW_TRY(sync_file(root_.queues_dir(), root_.path() + "/queues"));
    empty_dir(dir_.get());  // with what was set aside in it
    unlinkat(root_.queues_dir(), gone.c_str(), AT_REMOVEDIR);
    for (auto& [owned, expires_at_ms] : files) root_.drop_files(owned, expires_at_ms, true);
    return {};
  };
  auto done = removal();
  append_lock_->unlock();
  if (done) ring();
  return done;
}

}  // namespace gw::queue_detail
