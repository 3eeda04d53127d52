// Recovery of the root: after a boot, and after the death of an owner. Every step may be repeated.
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "../diag.hpp"
#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

Result<std::optional<std::array<uint8_t, 16>>> RootImpl::queue_uuid(const std::string& name) const {
  using Uuid = std::array<uint8_t, 16>;
  std::string path = shown("queues/" + name + "/meta");
  auto fd = open_beneath(queues_.get(), name + "/meta", O_RDONLY | O_NONBLOCK, 0, path);
  if (!fd) {
    if (fd.error().sys_errno == ENOENT) return std::optional<Uuid>();
    return std::move(fd).error();
  }
  for (uint64_t offset : {uint64_t{0}, uint64_t{page_bytes}}) {
    GW_TRY_ASSIGN(auto meta, read_record<MetaRecord>(fd->get(), offset, path));
    if (meta.head.magic != meta_magic || meta.head.crc != crc32c(0, reinterpret_cast<const char*>(&meta) + 8, sizeof meta - 8)) continue;
    Uuid uuid;
    memcpy(uuid.data(), meta.uuid, uuid.size());
    return std::optional<Uuid>(uuid);
  }
  return Error{ExitCode::system, 0, "'" + path + "' is damaged and the commit log speaks of this queue: restore the file or remove the queue's directory"};
}

Result<void> RootImpl::boot_recovery() {
  // Holds the membership byte exclusively: nobody else is here. The identity is written last, so a crash in between repeats all of it.
  GW_TRY(open_commit_files());
  GW_TRY_ASSIGN(FormatRecord record, read_format());
  epoch_ = (((record.epoch >> 32) + 1) << 32) | (random_u64() & 0xffffffff);
  GW_TRY(make_root_shared(epoch_));
  GW_TRY(map_root_shared());
  uint64_t next_number = 1;
  for (auto& name : list_dir(queues_.get())) {
    if (name.starts_with(".new-")) {  // of a create that a power loss cut short; nobody else is here
      unlinkat(queues_.get(), (name + "/meta").c_str(), 0);
      unlinkat(queues_.get(), name.c_str(), AT_REMOVEDIR);
    }
    if (!queue_name_ok(name)) continue;
    auto fd = open_beneath(queues_.get(), name + "/meta", O_RDONLY | O_NONBLOCK, 0, shown("queues/" + name + "/meta"));
    if (!fd) continue;
    for (uint64_t offset : {uint64_t{0}, uint64_t{page_bytes}})
      if (auto meta = read_record<MetaRecord>(fd->get(), offset, name); meta && meta->head.magic == meta_magic)
        next_number = std::max<uint64_t>(next_number, uint64_t{meta->number} + 1);
  }
  shared().next_queue_number.store(next_number);
  // By name and uuid: a queue that was removed and made again is another one, what was decided for the old one is finished.
  std::map<std::pair<std::string, std::array<uint8_t, 16>>, Decisions> decisions;
  GW_TRY(read_commits([&](uint64_t, const CommitRecord& commit) -> Result<void> {
    for (auto& ref : commit.targets) decisions[{ref.queue, ref.uuid}].targets[ref.seq] = ref.after;
    for (auto& ref : commit.sources) decisions[{ref.queue, ref.uuid}].sources.insert({ref.seq, {ref.before, ref.after}});
    return {};
  }));
  for (auto& [key, what] : decisions) {
    auto& [name, uuid] = key;
    if (!queue_name_ok(name)) continue;
    GW_TRY_ASSIGN(auto found, queue_uuid(name));
    if (found && *found == uuid) GW_TRY(QueueImpl::open(*this, name, &what));
  }
  for (unsigned i = 0; i < commit_files; i++) {
    CommitFileHeader empty{};
    GW_TRY(write_at(commit_fds_[i].get(), std::string_view(reinterpret_cast<const char*>(&empty), sizeof empty), 0, shown("commit")));
    GW_TRY(sync_data(commit_fds_[i].get(), shown("commit")));
  }
  record.epoch = epoch_;
  GW_TRY(fill_identity(record));
  return write_format(record);
}

namespace {
/// Is there anything left to do for this record of a dead owner?
Result<bool> unapplied(RootImpl& root, const CommitRecord& record) {
  for (auto* refs : {&record.targets, &record.sources})
    for (auto& ref : *refs) {
      auto q = root.queue(ref.queue);
      if (!q && q.error().code == ExitCode::no_input) continue;  // removed since
      if (!q) return std::move(q).error();
      GW_TRY_ASSIGN(SegmentPtr s, (*q)->segment_of_ref(ref));
      if (!s) continue;
      uint64_t claim = s->claim(ref.seq).load();
      State state = s->state(s->entry(ref.seq).word.load());
      bool open = refs == &record.targets ? state == State::staged : claim_incarnation(claim) == record.incarnation && claim_leaving(claim) && state != State::done;
      if (open) return true;
    }
  return false;
}
}  // namespace

Result<void> RootImpl::recover_owner(unsigned n) {
  // We hold its byte: no thread and no system call of it is left.
  OwnerSlot& s = slot(n);
  uint32_t dead = s.incarnation.load();
  std::vector<CommitRecord> open;
  commit_append_->lock();
  auto repaired = repair_commit_log();
  commit_append_->unlock();
  GW_TRY(repaired);
  GW_TRY(read_commits([&](uint64_t, const CommitRecord& record) -> Result<void> {
    if (record.incarnation != dead) return {};
    GW_TRY_ASSIGN(bool missing, unapplied(*this, record));
    if (missing) open.push_back(record);
    return {};
  }));
  if (!open.empty()) {
    // It may have died before its sync: a copy of our own, synced, is what we act on.
    for (auto& record : open) record.incarnation = dead;
    GW_TRY_ASSIGN(LogPosition position, append_commits(open));
    GW_TRY(sync_commits(position));
    for (auto& record : open) GW_TRY(apply(record));
  }
  auto recover_queue = [&](const std::shared_ptr<QueueImpl>& q) { return q->recover_owner(dead); };
  if (s.overflow.load()) {
    GW_TRY_ASSIGN(auto names, list_queues());
    for (auto& name : names) {
      auto q = queue(name);
      if (!q) {
        if (q.error().code == ExitCode::no_input) continue;
        return std::move(q).error();
      }
      GW_TRY(recover_queue(*q));
    }
  } else {
    for (auto& number : s.queues) {
      if (number.load() == 0) continue;
      auto q = queue_by_number(number.load() - 1);
      if (!q) {
        if (q.error().code == ExitCode::no_input) continue;  // removed
        return std::move(q).error();
      }
      GW_TRY(recover_queue(*q));
    }
  }
  GW_TRY(sweep_bodies(dead, nullptr, true));
  event(Level::debug, "owner-recovered", {{"pid", s.pid.load()}, {"transfers", open.size()}});
  s.incarnation.store(0);
  ring();
  return {};
}

Result<size_t> RootImpl::recover_dead_owners(bool force) {
  RootShared& r = shared();
  int64_t now = monotonic_ms(), last = r.last_reap_ms.load();
  // One process in a while is enough; monotonic time is the same for all processes of a kernel.
  if (!force && (now - last < 400 && now >= last)) return size_t{0};
  if (!r.last_reap_ms.compare_exchange_strong(last, now) && !force) return size_t{0};
  unsigned high = r.slot_high.load();
  auto dead = [&](unsigned n) {
    uint32_t who = slot(n).incarnation.load();
    return who != 0 && who != incarnation_.load() && !ofd_locked_elsewhere(lock_.get(), lock_owner_base + n);
  };
  bool any = false;
  for (unsigned n = 0; n < high && !any; n++) any = dead(n);
  if (!any) return size_t{0};
  GW_TRY(incarnation());  // before the mutex: recovery may append to the commit log
  std::lock_guard guard(reap_mutex_);
  size_t recovered = 0;
  for (unsigned n = 0; n < high; n++) {
    uint32_t who = slot(n).incarnation.load();
    if (who == 0 || who == incarnation_.load()) continue;
    if (!ofd_try_lock(lock_.get(), lock_owner_base + n, true)) continue;
    Result<void> done;
    if (slot(n).incarnation.load() != 0 && slot(n).incarnation.load() != incarnation_.load()) {
      done = recover_owner(n);
      if (done) recovered++;
    }
    ofd_unlock(lock_.get(), lock_owner_base + n);
    GW_TRY(done);
  }
  return recovered;
}

size_t RootImpl::try_recover(bool force) {
  auto recovered = recover_dead_owners(force);
  if (recovered) return *recovered;
  // What could not be recovered stays as it is and is tried again; everybody else goes on.
  event(Level::error, "owner-not-recovered", {{"root", path_}, {"reason", recovered.error().text}});
  return 0;
}

Result<void> RootImpl::maintain(bool closing) {
  RootShared& r = shared();
  if (!closing && r.sweep_bodies.load() && maintenance_->try_lock()) {
    Result<void> done;
    if (r.sweep_bodies.load()) {
      auto swept = sweep_bodies(std::nullopt, nullptr, true);
      if (swept) r.sweep_bodies.store(0);
      else done = std::move(swept).error();
    }
    maintenance_->unlock();
    GW_TRY(done);
  }
  if (!closing) GW_TRY(sweep_old_blobs());
  std::vector<std::shared_ptr<QueueImpl>> open;
  {
    std::lock_guard guard(queues_mutex_);
    for (auto it = open_queues_.begin(); it != open_queues_.end();) {
      if (auto q = it->second.lock()) {
        open.push_back(q);
        ++it;
      } else {
        it = open_queues_.erase(it);
      }
    }
  }
  keep_clock();
  int64_t now = to_root_time(now_ms());
  for (auto& q : open) {
    int64_t quiet = now - q->shared().last_put_ms.load();
    GW_TRY(q->maintain(closing || quiet > 10'000, !closing && quiet > 10'000));
  }
  return {};
}

RootImpl::~RootImpl() {
  uint32_t mine = incarnation_.load();
  if (!mine || !shared_map_.data()) return;
  if (auto kept = maintain(true); !kept) event(Level::debug, "upkeep-failed", {{"reason", kept.error().text}});
  // With a transaction in doubt the slot stays: whoever finds the byte free recovers it.
  std::lock_guard guard(xid_mutex_);
  if (xid_open_.empty()) slot(slot_).incarnation.store(0);
}

}  // namespace gw::queue_detail
