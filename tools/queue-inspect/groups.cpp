// groups: failed messages by what they failed of.
#include <algorithm>
#include <map>

#include "commands.hpp"
#include "support.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t groups_max = 20'000;  ///< more are counted together
constexpr size_t reason_columns = 80, reason_bytes = 1024;

struct Group {
  uint64_t count = 0;
  int64_t first_ms = INT64_MAX, last_ms = 0;
  std::string failed_queue, type, reason, sample_id;
};

/// When it failed; for what has no such header, when it was put.
int64_t failed_at(const Selected& one) {
  const auto at = parse_nsb_time_ms(one.message->headers.get(header::time_of_failure));
  return at.value_or(one.info.put_at_ms);
}

class Groups {
 public:
  void add(const Selected& one) {
    const Message& message = *one.message;
    const std::string key = failure_group(message);
    auto known = groups_.find(key);
    if (known == groups_.end()) known = groups_.emplace(groups_.size() < groups_max ? key : std::string(), Group()).first;
    Group& group = known->second;
    const int64_t at = failed_at(one);
    if (group.count++ == 0) {
      group.sample_id = message.id();
      if (!known->first.empty()) {
        group.failed_queue = message.headers.get(header::failed_q);
        group.type = message_type(message.headers);
        group.reason = mask_reason(message.headers.get(header::exception_message).substr(0, reason_bytes));
      }
    }
    group.first_ms = std::min(group.first_ms, at);
    group.last_ms = std::max(group.last_ms, at);
  }

  /// The largest first.
  std::vector<std::pair<std::string, const Group*>> sorted() const {
    std::vector<std::pair<std::string, const Group*>> all;
    for (const auto& [key, group] : groups_) all.emplace_back(key, &group);
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second->count > b.second->count; });
    return all;
  }

 private:
  std::map<std::string, Group> groups_;  // the key "": all that came after groups_max others
};

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

void print_json(const std::string& key, const Group& group) {
  JsonObject object;
  if (!key.empty()) object.add("group", key);
  object.add("count", group.count).add_time("first_at", group.first_ms).add_time("last_at", group.last_ms);
  if (!group.failed_queue.empty()) object.add("failed_queue", group.failed_queue);
  if (!group.type.empty()) object.add("type", group.type);
  if (!group.reason.empty()) object.add("reason", group.reason);
  object.add("sample_id", group.sample_id);
  out(object.str() + "\n");
}

}  // namespace

Result<ExitCode> groups(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  die_quietly_when_nobody_reads();
  Groups all;
  GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    all.add(one);
    return true;
  }));
  const auto sorted = all.sorted();
  using A = Table::Align;
  Table table({{"GROUP"}, {"COUNT", A::right}, {"FIRST"}, {"LAST"}, {"FROM"}, {"TYPE"}, {"REASON"}}, out,
              common.color ? Table::Titles::bold : Table::Titles::plain);
  for (const auto& [key, group] : sorted) {
    if (common.json)
      print_json(key, *group);
    else
      table.row({key.empty() ? "others" : key, std::to_string(group->count), format_rfc3339(group->first_ms), format_rfc3339(group->last_ms),
                 or_dash(group->failed_queue), or_dash(group->type), or_dash(shortened(group->reason, reason_columns))});
  }
  if (!common.json) table.flush();
  return report_missing(selection, queue.name(), !sorted.empty());
}

}  // namespace gw::inspect
