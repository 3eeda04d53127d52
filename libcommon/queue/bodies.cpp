// What messages own outside of their frames, below <root>/bodies/: the files of bodies above inline_body_bytes_max, one name per message
// that has the body, all names hard links; and for each blob of the data bus that a message names a hard link of its own, so that
// nobody has to count (blobs.cpp).
//
// A name says who made it and where the message that owns it can only be, so that an orphan is found without a search of
// everything: <slot & 255>/<epoch>.<incarnation>.<counter>.<queue number>.<seq>: the message is in that queue at seq or behind.
// Order: file synced, name linked, directory synced, then the frame. A name goes when the DONE of its message is durable.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "../databus.hpp"
#include "../diag.hpp"
#include "../hash.hpp"
#include "impl.hpp"

namespace gw {

BodyFile::~BodyFile() {
  if (unlink_on_close && !path.empty()) ::unlink(path.c_str());
}

BodyWriter::BodyWriter(BodyWriter&&) noexcept = default;
BodyWriter::~BodyWriter() = default;

Result<void> BodyWriter::write(std::string_view bytes) {
  bytes_ += bytes.size();
  if (!file_ && memory_.size() + bytes.size() <= inline_body_bytes_max) {
    memory_.append(bytes);
    return {};
  }
  auto append = [this](std::string_view piece) -> Result<void> {
    GW_TRY(queue_detail::write_at(file_->fd.get(), piece, file_->bytes, file_->path));
    file_->bytes += piece.size();
    file_->crc = crc32c(file_->crc, piece.data(), piece.size());
    return {};
  };
  if (!file_) {
    GW_TRY_ASSIGN(file_, root_->new_body_file());
    GW_TRY(append(memory_));
    memory_.clear();
  }
  return append(bytes);
}

Result<Body> BodyWriter::finish() && {
  if (file_) return Body(std::move(file_));
  return Body(std::move(memory_));
}

namespace queue_detail {

namespace {
struct BodyName {
  uint64_t epoch = 0, counter = 0, seq = 0;
  unsigned incarnation = 0, queue = 0;
};

std::string print_name(unsigned slot, const BodyName& n) {
  char text[128];
  snprintf(text, sizeof text, "%02x/%llx.%x.%llx.%x.%llx", slot & 255, static_cast<unsigned long long>(n.epoch), n.incarnation,
           static_cast<unsigned long long>(n.counter), n.queue, static_cast<unsigned long long>(n.seq));
  return text;
}

std::optional<BodyName> parse_name(const std::string& file) {
  BodyName n;
  unsigned long long epoch = 0, counter = 0, seq = 0;
  int used = 0;
  if (sscanf(file.c_str(), "%llx.%x.%llx.%x.%llx%n", &epoch, &n.incarnation, &counter, &n.queue, &seq, &used) != 5 || static_cast<size_t>(used) != file.size())
    return std::nullopt;
  n.epoch = epoch;
  n.counter = counter;
  n.seq = seq;
  return n;
}

std::optional<std::pair<uint64_t, unsigned>> parse_part(const std::string& file) {
  unsigned long long epoch = 0, counter = 0;
  unsigned incarnation = 0;
  int used = 0;
  if (sscanf(file.c_str(), "%llx.%x.%llx.part%n", &epoch, &incarnation, &counter, &used) != 3 || static_cast<size_t>(used) != file.size()) return std::nullopt;
  return std::pair<uint64_t, unsigned>{epoch, incarnation};
}
}  // namespace

Result<std::shared_ptr<BodyFile>> RootImpl::new_body_file() {
  GW_TRY_ASSIGN(uint32_t me, incarnation());
  char dir[8], name[96];
  snprintf(dir, sizeof dir, "%02x", slot_ & 255);
  snprintf(name, sizeof name, "%s/%llx.%x.%llx.part", dir, static_cast<unsigned long long>(epoch_), me, static_cast<unsigned long long>(body_counter_.fetch_add(1)));
  auto file = std::make_shared<BodyFile>();
  file->path = shown(std::string("bodies/") + name);
  auto fd = open_beneath(bodies_.get(), name, O_RDWR | O_CREAT | O_EXCL, modes_.file(), file->path);
  if (!fd && fd.error().sys_errno == ENOENT) {
    GW_TRY(make_dir(bodies_.get(), dir, modes_, shown(std::string("bodies/") + dir)));
    GW_TRY(sync_file(bodies_.get(), shown("bodies")));
    fd = open_beneath(bodies_.get(), name, O_RDWR | O_CREAT | O_EXCL, modes_.file(), file->path);
  }
  GW_TRY_ASSIGN(file->fd, std::move(fd));
  if (modes_.shared) fchmod(file->fd.get(), modes_.file());
  file->unlink_on_close = true;
  return file;
}

Result<void> RootImpl::copy_body(const BodyFile& file, const std::string& name) {
  std::string path = shown("bodies/" + name);
  GW_TRY_ASSIGN(UniqueFd to, open_beneath(bodies_.get(), name, O_RDWR | O_CREAT | O_EXCL, modes_.file(), path));
  if (modes_.shared) fchmod(to.get(), modes_.file());
  for (uint64_t at = 0; at < file.bytes;) {
    GW_TRY_ASSIGN(std::string piece, read_at(file.fd.get(), at, static_cast<size_t>(std::min<uint64_t>(file.bytes - at, 256 * 1024)), file.path));
    GW_TRY(write_at(to.get(), piece, at, path));
    at += piece.size();
  }
  return sync_file(to.get(), path);
}

std::string RootImpl::new_body_name(const QueueImpl& target) {
  return print_name(slot_, {epoch_, body_counter_.fetch_add(1), target.shared().next_seq.load(), incarnation_.load(), target.number()});
}

Result<BodyRef> RootImpl::link_body(BodyFile& file, const QueueImpl& target, std::set<std::string>& dirs) {
  GW_TRY(incarnation());
  if (!file.synced) {
    GW_TRY(sync_file(file.fd.get(), file.path));
    file.synced = true;
  }
  BodyRef ref;
  ref.bytes = file.bytes;
  ref.crc = file.crc;
  ref.name = new_body_name(target);
  std::string dir = ref.name.substr(0, 2), prefix = path_ + "/bodies/";
  std::string from = file.path.starts_with(prefix) ? file.path.substr(prefix.size()) : "";
  // What a handler has sent lies outside until it is committed, and is a finished body file all the same.
  const bool held = file.path.starts_with(path_ + "/outbox/");
  auto link = [&] { return linkat(held ? AT_FDCWD : bodies_.get(), held ? file.path.c_str() : from.c_str(), bodies_.get(), ref.name.c_str(), 0); };
  int linked = from.empty() && !held ? -1 : link();
  if (linked < 0 && (!from.empty() || held) && errno == ENOENT) {
    GW_TRY(make_dir(bodies_.get(), dir, modes_, shown("bodies/" + dir)));
    GW_TRY(sync_file(bodies_.get(), shown("bodies")));
    linked = link();
  }
  if (linked < 0) {
    // EMLINK (65,000 links on ext4), EPERM (protected_hardlinks and another owner), or a file from elsewhere.
    GW_TRY(make_dir(bodies_.get(), dir, modes_, shown("bodies/" + dir)));
    if (auto copied = copy_body(file, ref.name); !copied) {
      unlinkat(bodies_.get(), ref.name.c_str(), 0);
      return std::move(copied).error();
    }
  }
  dirs.insert(dir);
  return ref;
}

Result<void> RootImpl::sync_body_dirs(const std::set<std::string>& dirs) {
  for (auto& dir : dirs) {
    GW_TRY_ASSIGN(UniqueFd fd, open_beneath(bodies_.get(), dir, O_RDONLY | O_DIRECTORY, 0, shown("bodies/" + dir)));
    GW_TRY(sync_file(fd.get(), shown("bodies/" + dir)));
  }
  return {};
}

void RootImpl::unlink_body(const std::string& name) {
  if (unlinkat(bodies_.get(), name.c_str(), 0) < 0 && errno != ENOENT)
    event(Level::warn, "body-not-removed", {{"path", shown("bodies/" + name)}, {"reason", strerror(errno)}});
}

void RootImpl::drop_files(const MessageFiles& files, int64_t expires_at_ms, bool release) {
  if (files.body) unlink_body(files.body->name);
  for (const BlobRef& blob : files.blobs) {
    unlink_body(blob.name);
    if (!release) continue;
    auto gone = release_blob(path_, blob.key);
    if (!gone) event(Level::warn, "blob-not-removed", {{"path", blob_path(path_, blob.key)}, {"reason", gone.error().text}});
    else if (*gone && expires_at_ms) forget_blob_expiry(path_, blob.key, expires_at_ms);
  }
}

std::map<unsigned, uint64_t> RootImpl::owners_of(const std::vector<std::string>& names) const {
  std::map<unsigned, uint64_t> from;
  for (auto& name : names)
    if (auto n = parse_name(name.substr(name.find('/') + 1))) {
      auto [it, added] = from.emplace(n->queue, n->seq);
      it->second = std::min(it->second, n->seq);
    }
  return from;
}

Result<std::shared_ptr<BodyFile>> RootImpl::open_body(const BodyRef& ref) const {
  auto file = std::make_shared<BodyFile>();
  file->path = shown("bodies/" + ref.name);
  GW_TRY_ASSIGN(file->fd, open_beneath(bodies_.get(), ref.name, O_RDONLY | O_NONBLOCK, 0, file->path));
  GW_TRY_ASSIGN(uint64_t bytes, file_size(file->fd.get(), file->path));
  if (bytes != ref.bytes)
    return Error{ExitCode::bad_data, 0, "'" + file->path + "' has " + std::to_string(bytes) + " bytes, " + std::to_string(ref.bytes) + " were stored"};
  file->bytes = ref.bytes;
  file->crc = ref.crc;
  file->synced = true;
  return file;
}

Result<size_t> RootImpl::sweep_bodies(std::optional<uint32_t> incarnation, std::vector<Root::Finding>* report, bool repair) {
  // Candidates first, then one walk per queue from the lowest seq where an owner can be.
  std::map<unsigned, std::map<std::string, uint64_t>> by_queue;
  std::vector<std::string> orphans;
  auto alive = [&](uint64_t epoch, unsigned who) {
    if (epoch != epoch_) return false;
    unsigned high = shared().slot_high.load();
    for (unsigned n = 0; n < high; n++)
      if (slot(n).incarnation.load() == who) return !incarnation || *incarnation != who;
    return false;
  };
  for (auto& dir : list_dir(bodies_.get())) {
    auto fd = open_beneath(bodies_.get(), dir, O_RDONLY | O_DIRECTORY, 0, shown("bodies/" + dir));
    if (!fd) continue;
    for (auto& file : list_dir(fd->get())) {
      std::string name = dir + "/" + file;
      if (auto part = parse_part(file)) {
        bool candidate = incarnation ? part->first == epoch_ && part->second == *incarnation : true;
        if (candidate && !alive(part->first, part->second)) orphans.push_back(name);
      } else if (auto n = parse_name(file)) {
        bool candidate = incarnation ? n->epoch == epoch_ && n->incarnation == *incarnation : true;
        if (candidate && !alive(n->epoch, n->incarnation)) by_queue[n->queue].emplace(name, n->seq);
      } else if (report) {
        report->push_back({"", "foreign-file", "'" + shown("bodies/" + name) + "' is not a body of this root: remove it by hand", false});
      }
    }
  }
  for (auto& [number, names] : by_queue) {
    uint64_t from = UINT64_MAX;
    for (auto& [name, seq] : names) from = std::min(from, seq);
    auto found = queue_by_number(number);
    if (found) {
      // Appended and not yet durable messages count, too: make them durable before we look.
      QueueImpl& queue = **found;
      uint64_t end = queue.log_end().first;
      if (end > queue.shared().log.durable.load())
        if (auto synced = queue.sync_log(end - 1, queue.shared().log.failures.load()); !synced) continue;
      GW_TRY(queue.visit_files(from, [&, &candidates = names](const QueueImpl::Owner&, const MessageFiles& owned) {
        if (owned.body) candidates.erase(owned.body->name);
        for (const BlobRef& blob : owned.blobs) candidates.erase(blob.name);
      }));
    } else if (found.error().code != ExitCode::no_input) {
      return std::move(found).error();
    }
    for (auto& [name, seq] : names) orphans.push_back(name);
  }
  for (auto& name : orphans) {
    if (report) report->push_back({"", "orphan-body", "'" + shown("bodies/" + name) + "' belongs to no message" + (repair ? ": removed" : ": repair removes it"), repair});
    if (repair) unlink_body(name);
  }
  return orphans.size();
}

}  // namespace queue_detail
}  // namespace gw
