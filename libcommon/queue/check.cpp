// queue-inspect check: reads everything, believes nothing, on a live root.
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "../hash.hpp"
#include "../queue_search.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

void QueueImpl::check(bool repair, std::vector<Root::Finding>& findings, const std::function<void()>& checked_one) {
  auto report = [&](const char* kind, std::string detail, bool repaired) { findings.push_back({name_, kind, std::move(detail), repaired}); };
  static const std::set<std::string> known = {"meta", "q.v", "bad"};
  for (auto& file : list_dir(dir_.get())) {
    bool ours = known.count(file) || file.ends_with(".new");
    for (auto suffix : {".log", ".idx", ".v"}) ours |= parse_segment_name(file, suffix).has_value();
    if (!ours) report("foreign-file", "'" + shown(file) + "' is not a file of this queue: remove it by hand", false);
  }
  if (auto bad = open_beneath(dir_.get(), "bad", O_RDONLY | O_DIRECTORY, 0, shown("bad")); bad)
    for (auto& file : list_dir(bad->get()))
      report("set-aside", "'" + shown("bad/" + file) + "' holds a record that was damaged or torn: look at it, then remove it", true);
  auto meta = read_meta();
  if (!meta) return report("damaged", meta.error().text, false);
  QueueShared& q = shared();
  uint64_t next = std::max(meta->removed_below, q.head_base.load());
  auto walked = visit_words(meta->removed_below, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t) {
    if (seq != next) next = std::max(next, std::min(seq, q.head_base.load()));  // removed meanwhile
    if (seq != next) report("unbalanced", "messages :" + std::to_string(next) + " to :" + std::to_string(seq - 1) + " are in no segment: a segment file is missing", false);
    next = seq + 1;
    State state = segment->state(word);
    if (!word_ok(word) || (state == State::empty && segment->sealed())) {
      if (repair) mark_bad(*segment, seq, "its index word is damaged");
      report("corrupt-record", "message :" + std::to_string(seq) + ": its index word in '" + segment->shown + ".idx' is damaged", repair);
      return true;
    }
    if (state == State::bad) {
      report("corrupt-record", "message :" + std::to_string(seq) + " was damaged; what is left of it is in '" + shown("bad") + "'", true);
      return true;
    }
    if (state == State::staged) {
      uint64_t claim = segment->claim(seq).load(std::memory_order_acquire);
      bool alive = root_.slot(claim_slot(claim)).incarnation.load() == claim_incarnation(claim) && claim_incarnation(claim) != 0;
      if (!alive && segment->entry(seq).word.load() == word)
        report("undecided", "message :" + std::to_string(seq) + " was staged by a process that is gone, and its de-duplication store is missing: restore '" + root_.path() + "/dedup'", false);
    }
    if (state != State::ready && state != State::deferred) return true;
    checked_one();
    uint64_t where = segment->entry(seq).where.load();
    auto loaded = load(*segment, seq, where);
    if (loaded) check_blobs((*loaded)->frame, seq, repair, findings);
    Result<Message> message = loaded ? to_message(**loaded) : Result<Message>(loaded.error());
    std::string fault = message ? "" : message.error().text;
    if (message && message->body.is_file()) {
      uint32_t crc = 0;
      for (uint64_t at = 0; at < message->body.size() && fault.empty();) {
        auto piece = message->body.read_at(at, 1 << 20);
        if (!piece || piece->empty()) fault = piece ? "its body is too short" : piece.error().text;
        else crc = crc32c(crc, piece->data(), piece->size()), at += piece->size();
      }
      if (fault.empty() && crc != message->body.file()->crc) fault = "message :" + std::to_string(seq) + ": the checksum of its body '" + message->body.file()->path + "' is wrong";
    }
    if (fault.empty()) return true;
    // Somebody may have finished it while we read.
    if (segment->entry(seq).word.load() != word || claim_incarnation(segment->claim(seq).load()) != 0) return true;
    if (repair) mark_bad(*segment, seq, fault);
    report("corrupt-record", fault + (repair ? ": set aside" : ": repair sets it aside"), repair);
    return true;
  });
  if (!walked) report("unreadable", walked.error().text, false);
  if (repair) {
    maintenance_lock_->lock();
    int64_t live = 0;
    auto counted = visit_words(0, [&](const SegmentPtr& segment, uint64_t seq, uint64_t word, uint64_t) {
      State s = segment->state(word);
      uint64_t where = segment->entry(seq).where.load();
      if (s == State::ready || s == State::deferred || s == State::staged) {
        live += where_length(where);
        if (where & where_body_file)
          if (auto loaded = load(*segment, seq, where); loaded && (*loaded)->frame.body_ref) live += static_cast<int64_t>((*loaded)->frame.body_ref->bytes);
      }
      return true;
    });
    if (counted) q.live_bytes.store(live);
    maintenance_lock_->unlock();
  }
}

void QueueImpl::check_blobs(const Frame& frame, uint64_t seq, bool repair, std::vector<Root::Finding>& findings) const {
  if (frame.head.expires_at_ms && frame.head.expires_at_ms <= root_.clock_ms()) return;
  for (const BlobRef& blob : frame.blobs) {
    struct stat st;
    std::string path = blob_path(root_.path(), blob.key);
    if (lstat(path.c_str(), &st) == 0 || fstatat(root_.bodies_dir(), blob.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    bool repaired = repair && root_.restore_blob(blob);
    findings.push_back({name_, "missing-blob", "message :" + std::to_string(seq) + " names '" + path + "', which is gone" + (repaired ? ": restored from its own link" : ": repair restores it"), repaired});
  }
}

Result<Root::CheckReport> RootImpl::check(bool repair, const std::function<void()>& checked_one) {
  Root::CheckReport report;
  if (auto recovered = recover_dead_owners(true); !recovered) report.findings.push_back({"", "owner-not-recovered", recovered.error().text, false});
  for (auto& file : list_dir(queues_.get())) {
    if (queue_name_ok(file)) {
      struct stat st;
      if (fstatat(queues_.get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
        report.findings.push_back({"", "foreign-file", "'" + shown("queues/" + file) + "' is not a queue: remove it by hand", false});
      continue;
    }
    bool leftover = file.starts_with(".new-") || file.starts_with(".gone-");
    bool repaired = false;
    if (leftover && repair) {
      if (auto dir = open_beneath(queues_.get(), file, O_RDONLY | O_DIRECTORY, 0, shown("queues/" + file)); dir) {
        empty_dir(dir->get());
        repaired = unlinkat(queues_.get(), file.c_str(), AT_REMOVEDIR) == 0;
      }
    }
    report.findings.push_back({"", leftover ? "leftover" : "foreign-file", "'" + shown("queues/" + file) + "'" + (leftover ? " is what a killed create or remove left" : " is not a queue: remove it by hand"), repaired});
  }
  GW_TRY_ASSIGN(auto names, list_queues());
  for (auto& name : names) {
    struct stat st;
    if (fstatat(queues_.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) continue;
    auto q = queue(name);
    if (!q) {
      if (q.error().code != ExitCode::no_input) report.findings.push_back({name, "damaged", q.error().text, false});
      continue;
    }
    (*q)->check(repair, report.findings, checked_one);
    auto status = (*q)->status();
    if (!status) {
      report.findings.push_back({name, "unreadable", status.error().text, false});
      continue;
    }
    report.queues.push_back(*std::move(status));
  }
  GW_TRY(sweep_bodies(std::nullopt, &report.findings, repair));
  GW_TRY(sweep_orphan_blobs(&report.findings, repair));
  return report;
}

}  // namespace gw::queue_detail

namespace gw {

Result<Root::CheckReport> check_root(Root& root, bool repair, const std::function<void()>& checked_one) { return root.impl().check(repair, checked_one); }

}  // namespace gw
