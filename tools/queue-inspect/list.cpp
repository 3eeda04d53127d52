// list: all queues, or the messages of one.
#include <algorithm>

#include "commands.hpp"
#include "diag.hpp"
#include "overview.hpp"
#include "recent_seqs.hpp"
#include "support.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t reason_columns = 60;

Table::Titles titles_of(const CommonOptions& common) { return common.color ? Table::Titles::bold : Table::Titles::plain; }

std::string age_text(int64_t since_ms) { return since_ms == 0 ? "-" : human_duration(std::max<int64_t>(0, now_ms() - since_ms)); }

std::string flags_text(const QueueStatus& status) {
  std::string flags = queue_flags(status);
  return flags.empty() ? "-" : flags;
}

bool exceeds(const QueueStatus& status, const Limits& limits) {
  if (is_ledger(status.name)) return false;
  uint64_t count = status.ready + status.claimed + status.deferred;
  if (limits.max_count && count > *limits.max_count) return true;
  return limits.max_age_ms && status.oldest_put_at_ms != 0 && now_ms() - status.oldest_put_at_ms > *limits.max_age_ms;
}

void print_root(const Root& root, const CommonOptions& common) {
  if (common.json) {
    JsonObject object;
    object.add("root", root.path()).add("machine", root.machine()).add("free_bytes", root.free_bytes());
    out(object.str() + "\n");
  } else {
    out("root " + printable(root.path()) + "  machine " + root.machine() + "  free " + human_size(root.free_bytes()) + "\n");
  }
}

Result<ExitCode> list_queues(Root& root, const Limits& limits, const CommonOptions& common) {
  GW_TRY_ASSIGN(AllStatus status, status_of_all(root));
  auto& all = status.queues;
  bool disk_low = limits.min_free_bytes && root.free_bytes() < *limits.min_free_bytes;
  if (limits.given()) std::erase_if(all, [&](const QueueStatus& one) { return !exceeds(one, limits); });
  bool alarm = disk_low || (limits.given() && !all.empty());
  const ExitCode code = status.code != ExitCode::ok ? status.code : alarm ? ExitCode::no : ExitCode::ok;
  if (common.json) {
    if (disk_low) print_root(root, common);
    for (QueueStatus& one : all) {
      add_final_failures(root.path(), one);
      out(queue_json(one, root.machine(), now_ms()).str() + "\n");
    }
    return code;
  }
  if (limits.given() && !alarm) return code;
  print_root(root, common);
  if (limits.given() && all.empty()) return code;
  using A = Table::Align;
  Table table({{"QUEUE"}, {"READY", A::right}, {"CLAIMED", A::right}, {"DEFERRED", A::right}, {"OLDEST", A::right}, {"DISK", A::right}, {"FLAGS"}}, out,
              titles_of(common));
  for (const QueueStatus& one : all)
    table.row({one.name, std::to_string(one.ready), std::to_string(one.claimed), std::to_string(one.deferred), age_text(one.oldest_put_at_ms),
               human_size(one.disk_bytes), flags_text(one)});
  table.flush();
  return code;
}

// --- one queue's messages -----------------------------------------------------------------------------------------------------

class MessageList {
 public:
  MessageList(const Queue& queue, const CommonOptions& common)
      : queue_(queue.name()),
        json_(common.json),
        table_({{"SEQ", Table::Align::right}, {"STATE"}, {"AGE", Table::Align::right}, {"ATT", Table::Align::right},
                {"BYTES", Table::Align::right}, {"TYPE"}, {"ID"}, {"REASON"}}, out, titles_of(common)) {}

  void add(const Selected& one) {
    ++count_;
    if (json_) return out(message_json(queue_, one.info, *one.message).str() + "\n");
    const MessageInfo& info = one.info;
    std::string state(to_string(info.state));
    if (info.state == MessageState::claimed && info.owner_pid != 0) state += "(" + std::to_string(info.owner_pid) + ")";
    std::string type = message_type(one.message->headers);
    table_.row({std::to_string(info.seq), state, age_text(info.put_at_ms), std::to_string(info.failures), human_size(info.body_bytes),
                type.empty() ? "-" : type, one.message->id(),
                shortened(one.message->headers.get(header::exception_message), reason_columns)});
  }
  void flush() {
    if (!json_) table_.flush();
  }
  uint64_t count() const { return count_; }

 private:
  std::string queue_;
  bool json_;
  Table table_;
  uint64_t count_ = 0;
};

Result<void> list_some(MessageList& list, const Queue& queue, Selection& selection, const std::optional<int64_t>& older_than_ms) {
  return selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    if (!older_than_ms || now_ms() - one.info.put_at_ms > *older_than_ms) list.add(one);
    return true;
  });
}

Result<ExitCode> follow(Root& root, const Queue& queue, Selection& selection, MessageList& list, const CommonOptions& common) {
  EndOnSignal end(root);
  Signals::install();
  bool ready = false;
  RecentSeqs recent;
  while (!Signals::stop_requested()) {
    Signals::take_reload();
    uint32_t seen = root.bell();
    GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
      if (recent.is_new(one.info.seq)) list.add(one);
      return true;
    }, recent.from()));
    recent.looked_to(selection.looked_to(), monotonic_ms());
    list.flush();
    if (!ready && !common.json) GW_TRY(print_ready("ready"));
    ready = true;
    GW_TRY(flush_stdout());
    if (!Signals::stop_requested()) root.wait(seen, 1000);
  }
  return ExitCode::ok;
}

// More than --max-count selected: all of them are shown. --max-age: those that are older.
Result<ExitCode> list_limited(Root& root, const Queue& queue, Selection& selection, const Limits& limits, const CommonOptions& common) {
  uint64_t count = 0;
  GW_TRY(selection.visit(queue, Selection::Read::if_needed, [&](Selected&) -> Result<bool> {
    ++count;
    return true;
  }));
  bool too_many = limits.max_count && count > *limits.max_count;
  bool disk_low = limits.min_free_bytes && root.free_bytes() < *limits.min_free_bytes;
  if (disk_low) print_root(root, common);
  MessageList list(queue, common);
  if (too_many || limits.max_age_ms) {
    std::optional<int64_t> older_than;
    if (!too_many) older_than = limits.max_age_ms;
    GW_TRY(list_some(list, queue, selection, older_than));
  }
  if (list.count() > 0) list.flush();
  return disk_low || list.count() > 0 ? ExitCode::no : ExitCode::ok;
}

}  // namespace

Result<ExitCode> list(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(Limits limits, Limits::parse(options.limits));
  if (options.queue.empty() && (options.selection.given() || options.selection.max || options.follow))
    return Error{ExitCode::usage, 0, "QUEUE is missing: a selection and --follow are for the messages of one queue"};
  if (options.follow && limits.given()) return Error{ExitCode::usage, 0, "--follow and limits exclude each other"};
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  if (!options.follow) selection.search_in(*root);
  end_when_nobody_reads();
  if (options.queue.empty()) return list_queues(*root, limits, common);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  if (limits.given()) return list_limited(*root, queue, selection, limits, common);
  MessageList list(queue, common);
  if (options.follow) return follow(*root, queue, selection, list, common);
  GW_TRY(list_some(list, queue, selection, std::nullopt));
  list.flush();
  return report_missing(selection, queue.name(), list.count() > 0);
}

}  // namespace gw::inspect
