// The commit log: one log per root, four files in turn. A checksummed, synced record IS the commit of a transaction that touches
// more than one message; its effects on index words may follow at any time and be applied by anybody.
#include <fcntl.h>
#include <string.h>

#include <algorithm>

#include "../diag.hpp"
#include "../hash.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {
unsigned file_of(uint64_t position) { return static_cast<unsigned>(position / commit_file_bytes % commit_files); }
uint32_t seed_of(uint64_t uuid) { return static_cast<uint32_t>(uuid ^ (uuid >> 32)); }
std::string name_of(unsigned index) { return std::to_string(index); }

Result<CommitFileHeader> read_header(int fd, const std::string& shown) {
  GW_TRY_ASSIGN(auto h, read_record<CommitFileHeader>(fd, 0, shown));
  if (h.magic != commit_magic || h.crc != crc32c(0, reinterpret_cast<const char*>(&h) + 8, sizeof h - 8)) h.uuid = 0;
  return h;
}

Result<void> write_header(int fd, uint64_t uuid, uint64_t start, const std::string& shown) {
  CommitFileHeader h{commit_magic, 0, uuid, start};
  h.crc = crc32c(0, reinterpret_cast<const char*>(&h) + 8, sizeof h - 8);
  GW_TRY(write_at(fd, std::string_view(reinterpret_cast<const char*>(&h), sizeof h), 0, shown));
  return sync_data(fd, shown);
}
}  // namespace

Result<void> RootImpl::open_commit_files() {
  for (unsigned i = 0; i < commit_files; i++)
    if (!commit_fds_[i]) {
      std::string name = "commit/" + name_of(i);
      GW_TRY_ASSIGN(commit_fds_[i], open_beneath(dir_.get(), name, O_RDWR | O_NONBLOCK, 0, shown(name)));
    }
  return {};
}

/// Visits the whole records of the file that holds `position`, up to `end`.
static Result<void> visit_file(int fd, uint64_t first, uint64_t end, const std::string& shown,
                               const std::function<Result<void>(uint64_t, const CommitRecord&)>& visit) {
  GW_TRY_ASSIGN(CommitFileHeader header, read_header(fd, shown));
  if (header.uuid == 0 || header.start != first) return {};
  GW_TRY_ASSIGN(std::string bytes, read_at(fd, 0, commit_file_bytes, shown));
  for (uint64_t at = frame_align; at + sizeof(FrameHeader) <= bytes.size() && first + at < end;) {
    auto frame = parse_frame(std::string_view(bytes).substr(at), seed_of(header.uuid));
    // A torn record never committed; whole ones may stand behind it (two appenders, one sync).
    if (!frame || frame->header.kind != FrameKind::commit || frame->header.seq != first + at) {
      at += frame_align;
      continue;
    }
    if (auto record = parse_commit(*frame, frame->body)) GW_TRY(visit(first + at, *record));
    at += (sizeof(FrameHeader) + frame->header.payload_bytes + frame_align - 1) / frame_align * frame_align;
  }
  return {};
}

Result<void> RootImpl::read_commits(const std::function<Result<void>(uint64_t, const CommitRecord&)>& visit) {
  // By start position, so also right after a boot, when the shared positions are not known.
  std::map<uint64_t, unsigned> order;
  for (unsigned i = 0; i < commit_files; i++) {
    GW_TRY_ASSIGN(CommitFileHeader h, read_header(commit_fds_[i].get(), shown("commit/" + name_of(i))));
    if (h.uuid != 0) order.emplace(h.start, i);
  }
  uint64_t end = shared().commit_appended.load();
  for (auto& [start, i] : order) GW_TRY(visit_file(commit_fds_[i].get(), start, end ? end : UINT64_MAX, shown("commit/" + name_of(i)), visit));
  return {};
}

Result<void> RootImpl::apply(const CommitRecord& record) {
  // We may die between a word and its hint: with the queue in our set, our recovery lowers the hint.
  auto open = [this](const std::string& name) -> Result<std::shared_ptr<QueueImpl>> {
    auto q = queue(name);
    if (!q && q.error().code == ExitCode::no_input) return std::shared_ptr<QueueImpl>();  // removed since
    if (q) GW_TRY(mark_queue((*q)->number()));
    return q;
  };
  for (auto& ref : record.targets) {
    GW_TRY_ASSIGN(auto q, open(ref.queue));
    if (q) GW_TRY(q->apply_target(ref));
  }
  for (auto& ref : record.sources) {
    GW_TRY_ASSIGN(auto q, open(ref.queue));
    if (q) GW_TRY(q->apply_source(ref, record.incarnation));
  }
  return {};
}

Result<void> RootImpl::retire_commit_file(unsigned index) {
  // Under the append lock. Evidence outlives its effects: every word that follows from a record here is synced first.
  std::string path = shown("commit/" + name_of(index));
  std::map<std::string, std::vector<uint64_t>> touched;
  GW_TRY_ASSIGN(CommitFileHeader header, read_header(commit_fds_[index].get(), path));
  GW_TRY(visit_file(commit_fds_[index].get(), header.start, UINT64_MAX, path, [&](uint64_t, const CommitRecord& record) -> Result<void> {
    if (xid_in_use(record.xid)) GW_TRY(apply(record));  // a transaction is finished once its effects are in all words
    for (auto* refs : {&record.sources, &record.targets})
      for (auto& ref : *refs) touched[ref.queue].push_back(ref.seq);
    return {};
  }));
  for (auto& [name, seqs] : touched) {
    auto q = queue(name);
    if (!q) {
      if (q.error().code == ExitCode::no_input) continue;  // removed since
      return std::move(q).error();
    }
    std::sort(seqs.begin(), seqs.end());
    GW_TRY((*q)->sync_indexes(seqs));
  }
  return write_header(commit_fds_[index].get(), 0, 0, path);
}

Result<void> RootImpl::enter_commit_file(uint64_t position) {
  uint64_t generation = position / commit_file_bytes;
  unsigned index = file_of(position);
  GW_TRY(retire_commit_file(index));
  return write_header(commit_fds_[index].get(), random_u64() | 1, generation * commit_file_bytes, shown("commit/" + name_of(index)));
}

Result<void> RootImpl::repair_commit_log() {
  // An appender died here. Its record may be whole in the file, but it was not published, so it counts as not committed, and that
  // must be durable before its targets are voided or its sources given back: after a power loss a whole record would be believed.
  RootShared& r = shared();
  uint64_t at = r.commit_appended.load(), end = r.commit_end.load();
  if (end == at) return {};
  std::string path = shown("commit/" + name_of(file_of(at)));
  GW_TRY(write_at(commit_fds_[file_of(at)].get(), std::string(end - at, '\0'), at % commit_file_bytes, path));
  GW_TRY(sync_data(commit_fds_[file_of(at)].get(), path));
  r.commit_end.store(at);
  return {};
}

Result<RootImpl::LogPosition> RootImpl::append_commits(const std::vector<CommitRecord>& records) {
  GW_TRY_ASSIGN(uint32_t me, incarnation());
  RootShared& r = shared();
  commit_append_->lock();
  LogPosition result;
  result.failures_seen = r.commit.failures.load();
  auto append = [&]() -> Result<void> {
    GW_TRY(repair_commit_log());
    uint64_t at = r.commit_appended.load();
    bool broken = r.commit_broken.load();
    uint32_t seed = 0;  // of the file of `at`; 0: not read yet
    std::string bytes;  // whole records that follow `at` in its file: one write for all
    auto write = [&]() -> Result<void> {
      if (bytes.empty()) return {};
      const unsigned index = file_of(at);
      r.commit_end.store(at + bytes.size());
      GW_TRY(write_at(commit_fds_[index].get(), bytes, at % commit_file_bytes, shown("commit/" + name_of(index))));
      at += bytes.size();
      bytes.clear();
      r.commit_appended.store(at);
      return {};
    };
    for (auto& record : records) {
      DraftFrame draft = draft_commit(record);
      // At 0 in a file: the last record filled its file to the last byte, and this one has no header yet.
      uint64_t used = (at + bytes.size()) % commit_file_bytes;
      if (broken || used == 0 || used + draft.total() > commit_file_bytes) {
        GW_TRY(write());
        uint64_t next = used == 0 ? at : (at / commit_file_bytes + 1) * commit_file_bytes;
        unsigned last = file_of(at ? at - 1 : 0);
        if (at && !broken)
          if (auto synced = sync_data(commit_fds_[last].get(), shown("commit/" + name_of(last))); !synced) {
            r.commit_broken.store(1);  // what of it was lost, no later sync would say
            r.commit.failures.fetch_add(1);
            return synced;
          }
        GW_TRY(enter_commit_file(next));
        if (at && !broken) raise_to(r.commit.durable, at);
        at = next + frame_align;
        broken = false;
        seed = 0;
        r.commit_broken.store(0);
        r.commit_end.store(at);
        r.commit_appended.store(at);
      }
      if (seed == 0) {
        const unsigned index = file_of(at);
        GW_TRY_ASSIGN(CommitFileHeader header, read_header(commit_fds_[index].get(), shown("commit/" + name_of(index))));
        seed = seed_of(header.uuid);
      }
      seal_frame(draft, at + bytes.size(), record.incarnation ? record.incarnation : me, seed, bytes);
    }
    GW_TRY(write());
    result.end = at;
    return {};
  };
  auto done = append();
  commit_append_->unlock();
  GW_TRY(done);
  return result;
}

Result<void> RootImpl::sync_commits(const LogPosition& position) {
  RootShared& r = shared();
  uint64_t covered = 0;
  auto sync = [&]() -> Result<void> {
    auto done = sync_data(commit_fds_[file_of(covered ? covered - 1 : 0)].get(), shown("commit"));
    if (!done) r.commit_broken.store(1);
    return done;
  };
  return group_sync(
      r.commit, *commit_leader_, position.end, position.failures_seen, [&] { return covered = r.commit_appended.load(std::memory_order_acquire); }, sync);
}

}  // namespace gw::queue_detail
