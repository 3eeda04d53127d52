// export: messages of one queue, or a whole root, as a tar archive (archive_reader.hpp has its form).
//
// A root is read while others work on it. A message that moves meanwhile may be seen in its old queue, in its new one, or in both; or, if
// its new queue was read before, in none: so the queues are read again for what has come since, until nothing has. What is in the
// archive and had left its queue at the end is listed, so that import can tell a message that moved from two messages.
#include <algorithm>
#include <map>

#include "archive_blobs.hpp"
#include "archive_reader.hpp"
#include "archive_state.hpp"
#include "commands.hpp"
#include "diag.hpp"
#include "hash.hpp"
#include "support.hpp"
#include "tar.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr int passes_max = 8;
constexpr uint64_t looked_at_again = 4096;  // messages below the last one that was seen: some become visible later than their successors

Result<void> write_stdout(std::string_view bytes) {
  out(bytes);
  return {};
}

Result<void> export_message(TarWriter& tar, const Root& root, const std::string& queue, const Selected& one) {
  const Message& message = *one.message;
  const std::string base = queue + "/" + std::to_string(one.info.seq);
  GW_TRY_ASSIGN(auto blob_records, export_blobs(tar, root.path(), message.headers, base, one.info.put_at_ms, flush_stdout));
  TarMember body{base + ".body", message.body.size(), one.info.put_at_ms, '0', {}};
  Digest digest(Digest::Kind::sha256);
  GW_TRY(tar.begin(body));
  for (uint64_t at = 0; at < body.bytes; at += archive_chunk_bytes) {
    GW_TRY_ASSIGN(std::string chunk, message.body.read_at(at, archive_chunk_bytes));
    digest.update(chunk);
    GW_TRY(tar.data(chunk));
    if (message.body.is_file()) GW_TRY(flush_stdout());
  }
  GW_TRY(tar.end());
  const std::string text = headers_to_text(message.headers);
  TarMember headers{base + ".headers", text.size(), one.info.put_at_ms, '0', {}};
  headers.records = std::move(blob_records);
  headers.records["GATEPOST.queue"] = queue;
  headers.records["GATEPOST.seq"] = std::to_string(one.info.seq);
  headers.records["GATEPOST.state"] = to_string(one.info.state);
  headers.records["GATEPOST.put_at"] = format_rfc3339(one.info.put_at_ms);
  if (one.info.due_at_ms != 0) headers.records["GATEPOST.due_at"] = format_rfc3339(one.info.due_at_ms);
  if (one.info.expires_at_ms != 0) headers.records["GATEPOST.expires_at"] = format_rfc3339(one.info.expires_at_ms);
  headers.records["GATEPOST.failures"] = std::to_string(one.info.failures);
  headers.records["GATEPOST.body_sha256"] = hex(digest.finish());
  GW_TRY(tar.begin(headers));
  GW_TRY(tar.data(text));
  return tar.end();
}

Result<void> export_directory(TarWriter& tar, const QueueStatus& status) {
  TarMember directory{status.name + "/", 0, now_ms(), '5', {{"GATEPOST.format", archive_format}}};
  if (status.config.max_bytes > 0) directory.records["GATEPOST.max_bytes"] = std::to_string(status.config.max_bytes);
  if (status.config.journal) directory.records["GATEPOST.journal"] = "1";
  if (!status.takes_on) directory.records["GATEPOST.takes"] = "off";
  if (!status.puts_on) directory.records["GATEPOST.puts"] = "off";
  if ((!status.takes_on || !status.puts_on) && !status.hold_reason.empty()) directory.records["GATEPOST.hold_reason"] = status.hold_reason;
  GW_TRY(tar.begin(directory));
  return tar.end();
}

/// Numbers, as ranges: most of a queue is one.
class Ranges {
 public:
  bool contains(uint64_t n) const {
    auto at = ranges_.upper_bound(n);
    return at != ranges_.begin() && std::prev(at)->second >= n;
  }
  void add(uint64_t n) {
    auto after = ranges_.upper_bound(n);
    if (after != ranges_.begin() && std::prev(after)->second + 1 == n) {
      auto before = std::prev(after);
      before->second = n;
      if (after != ranges_.end() && after->first == n + 1) {
        before->second = after->second;
        ranges_.erase(after);
      }
    } else if (after != ranges_.end() && after->first == n + 1) {
      const uint64_t last = after->second;
      ranges_.erase(after);
      ranges_[n] = last;
    } else {
      ranges_[n] = n;
    }
  }
  uint64_t last() const { return ranges_.empty() ? 0 : std::prev(ranges_.end())->second; }
  const std::map<uint64_t, uint64_t>& all() const { return ranges_; }

 private:
  std::map<uint64_t, uint64_t> ranges_;  // first, last
};

class Exporter {
 public:
  Exporter(Root& root, bool quiet)
      : root_(root), tar_(write_stdout), progress_("exported", 0, quiet ? Progress::Show::never : Progress::Show::if_terminal) {}

  Result<ExitCode> one_queue(const std::string& name, Selection& selection) {
    GW_TRY_ASSIGN(Queue queue, open_settled_queue(root_, name));
    GW_TRY_ASSIGN(QueueStatus status, queue.status());
    GW_TRY(export_directory(tar_, status));
    GW_TRY(messages(queue, selection, 0));
    queues = 1;
    return report_missing(selection, name, count > 0);
  }

  Result<ExitCode> whole_root() {
    GW_TRY_ASSIGN(auto state, RootState::take(root_));
    state_ = state.get();
    GW_TRY_ASSIGN(Selection every, Selection::parse({}));
    ExitCode code = ExitCode::ok;
    for (int pass = 0; pass < passes_max; ++pass) {
      GW_TRY_ASSIGN(auto names, root_.list_queues());
      const uint64_t before = count;
      const size_t queues_before = seen_.size();
      for (const std::string& name : names) {
        GW_TRY_ASSIGN(ExitCode one, visit_again(name, every, pass));
        if (one != ExitCode::ok) code = one;
      }
      if (pass > 0 && count == before && seen_.size() == queues_before) break;
    }
    queues = seen_.size();
    GW_TRY_ASSIGN(std::string gone, gone_meanwhile());
    GW_TRY(state->write(tar_, gone, flush_stdout));
    return code;
  }

  Result<void> finish() {
    progress_.erase();
    GW_TRY(tar_.finish());
    return flush_stdout();
  }

  uint64_t queues = 0, count = 0;

 private:
  Result<ExitCode> visit_again(const std::string& name, Selection& every, int pass) {
    auto queue = open_settled_queue(root_, name);
    if (!queue && queue.error().code == ExitCode::no_input) return ExitCode::ok;  // removed meanwhile
    if (!queue) return std::move(queue).error();
    const bool fresh = seen_.try_emplace(name).second;
    if (fresh) {
      GW_TRY_ASSIGN(QueueStatus status, queue->status());
      GW_TRY(export_directory(tar_, status));
    }
    if (workers_make_it_anew(name)) return ExitCode::ok;
    const uint64_t last = seen_[name].last();
    GW_TRY(messages(*queue, every, last > looked_at_again ? last - looked_at_again : 0));
    return pass == 0 || fresh ? report_missing(every, name, true) : ExitCode::ok;
  }

  /// Who is ready for how much work, by numbers of messages here: workers tell it when they start. The last step of messages of
  /// NServiceBus 3: their senders begin again.
  static bool workers_make_it_anew(const std::string& name) {
    return name.ends_with(".distributor.storage") || name.ends_with(".distributor.control") || name.ends_with(".legacy");
  }

  Result<void> messages(Queue& queue, Selection& selection, uint64_t from) {
    Ranges& seen = seen_[queue.name()];
    return selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
      if (seen.contains(one.info.seq)) return true;
      GW_TRY(export_message(tar_, root_, queue.name(), one));
      seen.add(one.info.seq);
      if (state_) state_->note_exported(queue.name(), one.info);
      ++count;
      progress_.add(1);
      return true;
    }, from);
  }

  /// Lines QUEUE FROM TO of messages that are in the archive and no more in their queues.
  Result<std::string> gone_meanwhile() {
    std::string lines;
    for (const auto& [name, seen] : seen_) {
      Ranges live;
      auto queue = root_.queue(name);
      if (!queue && queue.error().code != ExitCode::no_input) return std::move(queue).error();
      if (queue)
        GW_TRY(queue->scan([&](const MessageInfo& info) {
          live.add(info.seq);
          return true;
        }));
      for (const auto& [first, to] : seen.all()) {
        uint64_t from = first;
        for (auto [live_from, live_to] : live.all()) {
          if (live_to < from) continue;
          if (live_from > to) break;
          if (live_from > from) lines += name + " " + std::to_string(from) + " " + std::to_string(live_from - 1) + "\n";
          from = live_to + 1;
        }
        if (from <= to) lines += name + " " + std::to_string(from) + " " + std::to_string(to) + "\n";
      }
    }
    return lines;
  }

  Root& root_;
  TarWriter tar_;
  Progress progress_;
  RootState* state_ = nullptr;
  std::map<std::string, Ranges> seen_;
};

}  // namespace

Result<ExitCode> export_queues(const Options& options, const CommonOptions& common) {
  if (options.queue.empty() && (!options.selection.words.empty() || !options.selection.where.empty() || !options.selection.group.empty() || options.selection.max))
    return Error{ExitCode::usage, 0, "QUEUE is missing: a selection is for the messages of one queue"};
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  if (is_terminal(1)) return Error{ExitCode::usage, 0, "stdout is a terminal: send the archive to a file or a pipe"};
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  Exporter exporter(*root, common.quiet);
  GW_TRY_ASSIGN(ExitCode code, options.queue.empty() ? exporter.whole_root() : exporter.one_queue(options.queue, selection));
  GW_TRY(exporter.finish());
  event(Level::debug, "exported", {{"queues", exporter.queues}, {"messages", exporter.count}});
  return code;
}

}  // namespace gw::inspect
