// Blobs of the data bus (databus.hpp) as far as the life of messages decides theirs.
//
// Every message that names a blob owns a hard link to it below bodies/, made and synced before its frame is appended and removed
// behind its DONE, by the same steps and recovered by the same rules as the name of a body. So the blob's bytes are there as long as
// such a message is, and the link count says when the last one has gone. Who looks at the count holds the file's lock exclusively,
// who raises it holds it shared.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "../databus.hpp"
#include "../diag.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {
constexpr int64_t due_sweep_every_ms = 2'000, orphan_sweep_every_ms = 3600'000;
constexpr int64_t orphan_age_ms = 7 * 24 * 3600'000ll, part_age_ms = 60'000;
constexpr size_t due_at_once = 256;

/// Is it this process's turn? One of all processes is enough. Monotonic time is the same for all processes of a kernel.
bool take_turn(std::atomic<int64_t>& last_ms, int64_t every_ms) {
  int64_t now = monotonic_ms(), last = last_ms.load();
  if (last != 0 && now >= last && now - last < every_ms) return false;
  return last_ms.compare_exchange_strong(last, now);
}

/// A blob whose time is over, locked: nobody links it now.
struct Expired {
  std::string key;
  int64_t expires_at_ms = 0;
  UniqueFd file;
  struct stat stat {};
  std::vector<std::string> links;  // below bodies/
  bool wanted = false;             // a message that has more time names it
  bool busy = false;               // who names it is being handled, or just being put
};
}  // namespace

Result<void> RootImpl::allow_blobs() {
  if (blobs_allowed_.load()) return {};
  create_lock_->lock();
  auto allow = [&]() -> Result<void> {
    GW_TRY_ASSIGN(FormatRecord record, read_format());
    if (record.incompatible & feature_blobs) return {};
    record.incompatible |= feature_blobs;
    return write_format(record);
  };
  auto done = allow();
  create_lock_->unlock();
  if (done) blobs_allowed_.store(true);
  return done;
}

Result<std::optional<BlobRef>> RootImpl::link_blob(std::string& key, const QueueImpl& target, int64_t expires_at_ms, std::set<std::string>& dirs,
                                                   std::map<std::string, std::string>& copies) {
  if (auto copy = copies.find(key); copy != copies.end()) key = copy->second;
  GW_TRY_ASSIGN(auto hold, BlobHold::take(path_, key));
  if (!hold) return std::optional<BlobRef>();
  GW_TRY(incarnation());
  GW_TRY(allow_blobs());
  BlobRef ref{key, new_body_name(target)};
  std::string dir = ref.name.substr(0, 2);
  auto link = [&] { return linkat(dir_.get(), ("databus/" + ref.key).c_str(), bodies_.get(), ref.name.c_str(), 0); };
  int linked = link();
  if (linked < 0 && errno == ENOENT) {
    GW_TRY(make_dir(bodies_.get(), dir, modes_, shown("bodies/" + dir)));
    GW_TRY(sync_file(bodies_.get(), shown("bodies")));
    linked = link();
  }
  if (linked < 0 && (errno == EMLINK || errno == EPERM)) {
    // No room for more links (65,000 on ext4), or the file of another user: the message gets a blob of its own.
    std::string copy = new_blob_key(now_ms());
    GW_TRY_ASSIGN(auto writer, BlobWriter::create(path_, copy));
    GW_TRY(writer.copy_from(hold->fd(), blob_path(path_, key)));
    GW_TRY(writer.finish());
    copies[key] = copy;
    key = ref.key = copy;
    linked = link();
  }
  if (linked < 0) return errno_error("link", blob_path(path_, ref.key), errno);
  dirs.insert(dir);
  if (expires_at_ms)
    if (auto noted = note_blob_expiry(path_, ref.key, expires_at_ms); !noted) {
      unlink_body(ref.name);
      return std::move(noted).error();
    }
  return std::optional<BlobRef>(std::move(ref));
}

Result<void> RootImpl::restore_blob(const BlobRef& blob) {
  size_t slash = blob.key.find('/');
  if (!blob_key_ok(blob.key)) return {};
  GW_TRY(make_dir(dir_.get(), "databus/" + blob.key.substr(0, slash), modes_, blob_path(path_, blob.key)));
  if (linkat(bodies_.get(), blob.name.c_str(), dir_.get(), ("databus/" + blob.key).c_str(), 0) < 0 && errno != EEXIST)
    return errno_error("link", blob_path(path_, blob.key), errno);
  return {};
}

// --- times to be received --------------------------------------------------------------------------------------------------

namespace {
/// Opens and locks what can be locked; notes of blobs that are gone go.
std::vector<Expired> lock_due(const std::string& root, std::vector<DueBlob>& due) {
  std::vector<Expired> expired;
  while (!due.empty() && expired.size() < due_at_once) {
    DueBlob one = std::move(due.back());
    due.pop_back();
    Expired blob{one.key, one.expires_at_ms, UniqueFd(::open(blob_path(root, one.key).c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC)), {}, {}, false, false};
    if (!blob.file && errno == ENOENT) forget_blob_expiry(root, one.key, one.expires_at_ms);
    // Two notes of one blob: the other one holds the lock; this one's turn comes.
    if (!blob.file || ::flock(blob.file.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(blob.file.get(), &blob.stat) != 0) continue;
    expired.push_back(std::move(blob));
  }
  return expired;
}

/// Where the links of these blobs are: one look at all names below bodies/.
std::map<std::string, Expired*> find_links(int bodies, std::vector<Expired>& expired) {
  std::map<ino_t, Expired*> by_inode;
  for (Expired& blob : expired)
    if (blob.stat.st_nlink > 1) by_inode[blob.stat.st_ino] = &blob;
  std::map<std::string, Expired*> found;
  if (by_inode.empty()) return found;
  for (auto& dir : list_dir(bodies, true)) {
    auto fd = open_beneath(bodies, dir, O_RDONLY | O_DIRECTORY, 0, dir);
    if (!fd) continue;
    for (auto& file : list_dir(fd->get())) {
      struct stat st;
      if (fstatat(fd->get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      auto blob = by_inode.find(st.st_ino);
      if (blob == by_inode.end() || st.st_dev != blob->second->stat.st_dev) continue;
      blob->second->links.push_back(dir + "/" + file);
      found[dir + "/" + file] = blob->second;
    }
  }
  return found;
}
}  // namespace

Result<void> RootImpl::sweep_due(std::vector<DueBlob>& due, int64_t now) {
  std::vector<Expired> expired = lock_due(path_, due);
  auto unknown = find_links(bodies_.get(), expired);
  std::vector<std::string> names;
  for (auto& [name, blob] : unknown) names.push_back(name);
  for (auto& [number, from] : owners_of(names)) {
    auto queue = queue_by_number(number);
    if (!queue && queue.error().code != ExitCode::no_input) return std::move(queue).error();
    if (!queue) continue;
    GW_TRY((*queue)->visit_files(from, [&](const QueueImpl::Owner& owner, const MessageFiles& owned) {
      for (const BlobRef& link : owned.blobs) {
        auto it = unknown.find(link.name);
        if (it == unknown.end()) continue;
        bool over = owner.expires_at_ms != 0 && owner.expires_at_ms <= now;
        (over ? it->second->busy : it->second->wanted) |= !over || owner.claimed;
        unknown.erase(it);
      }
    }));
  }
  // A link without a message: its put is under way, or was cut off and is swept soon.
  for (auto& [name, blob] : unknown) blob->busy = true;
  for (Expired& blob : expired) {
    if (!blob.wanted && blob.busy) continue;
    if (!blob.wanted) {
      // Those who still name it will never be handled; what they hold on to need not stay on the disk. (Unless somebody has a link of his own.)
      if (!blob.links.empty() && blob.stat.st_nlink == 1 + blob.links.size() && ::ftruncate(blob.file.get(), 0) < 0) continue;
      GW_TRY(remove_blob(path_, blob.key));
      event(Level::info, "blob-expired", {{"key", blob.key}, {"expires_at", format_rfc3339(to_wall_time(blob.expires_at_ms))}});
    }
    forget_blob_expiry(path_, blob.key, blob.expires_at_ms);
  }
  return {};
}

void RootImpl::sweep_due_blobs() {
  if (!take_turn(shared().last_due_sweep_ms, due_sweep_every_ms)) return;
  if (clock().behind_ms != 0) return;
  int64_t now = clock_ms();
  auto due = due_blobs(path_, now);
  Result<void> swept = due ? sweep_open_attachments(path_) : Result<void>(due.error());
  while (swept && !due->empty()) swept = sweep_due(*due, now);
  if (!swept) event(Level::warn, "blobs-not-swept", {{"root", path_}, {"reason", swept.error().text}});
}

// --- orphans ---------------------------------------------------------------------------------------------------------------

Result<size_t> RootImpl::sweep_orphan_blobs(std::vector<Root::Finding>* report, bool repair) {
  std::set<std::string> orphans;
  std::vector<std::string> parts;
  const int64_t now = now_ms();
  GW_TRY(visit_blobs(path_, [&](const BlobFile& file) {
    if (file.part && now - file.changed_ms > part_age_ms) parts.push_back(file.key);
    if (!file.part && file.links == 1 && now - file.changed_ms > orphan_age_ms) orphans.insert(file.key);
  }));
  // Messages that were put before blobs had links name theirs in headers only.
  if (!orphans.empty()) {
    GW_TRY_ASSIGN(auto names, list_queues());
    for (auto& name : names) {
      auto found = queue(name);
      if (!found && found.error().code == ExitCode::no_input) continue;
      if (!found) return std::move(found).error();
      GW_TRY((*found)->visit_headers([&](const Headers& headers) {
        for (auto& entry : headers.entries())
          if (!attachment_name(entry.name).empty()) orphans.erase(entry.value);
      }));
    }
  }
  size_t count = 0;
  auto add = [&](const std::string& path, const char* what) {
    count++;
    if (report) report->push_back({"", "orphan-blob", "'" + path + "' " + what + (repair ? ": removed" : ": repair removes it"), repair});
  };
  for (auto& key : parts) {
    GW_TRY_ASSIGN(bool abandoned, abandoned_part(path_, key, repair));
    if (abandoned) add(blob_path(path_, key) + ".part", "was being written by a process that is gone");
  }
  for (auto& key : orphans) {
    if (repair) {
      GW_TRY_ASSIGN(bool gone, release_blob(path_, key));
      if (!gone) continue;
    }
    add(blob_path(path_, key), "belongs to no message");
  }
  return count;
}

Result<void> RootImpl::sweep_old_blobs() {
  if (!take_turn(shared().last_orphan_sweep_ms, orphan_sweep_every_ms)) return {};
  if (!clock().may_purge) return {};
  GW_TRY_ASSIGN(size_t count, sweep_orphan_blobs(nullptr, true));
  if (count > 0) event(Level::info, "blobs-swept", {{"count", count}});
  return {};
}

}  // namespace gw::queue_detail
