// groups: failed messages by what they failed of.
#include "commands.hpp"
#include "failure_groups.hpp"
#include "support.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t reason_columns = 80;

std::string or_dash(std::string text) { return text.empty() ? "-" : text; }

void print_json(const FailureGroup& group) {
  JsonObject object;
  auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) object.add(key, value);
  };
  text("group", group.group);
  object.add("count", group.count).add_time("first_at", group.first_ms).add_time("last_at", group.last_ms);
  text("failed_queue", group.failed_queue);
  text("type", group.type);
  text("reason", group.reason);
  out(object.add("sample_id", group.sample_id).str() + "\n");
}

}  // namespace

Result<ExitCode> groups(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  end_when_nobody_reads();
  FailureGroups all;
  GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    all.add(one.info, *one.message);
    return true;
  }));
  const auto sorted = all.sorted();
  using A = Table::Align;
  Table table({{"GROUP"}, {"COUNT", A::right}, {"FIRST"}, {"LAST"}, {"FROM"}, {"TYPE"}, {"REASON"}}, out,
              common.color ? Table::Titles::bold : Table::Titles::plain);
  for (const FailureGroup& group : sorted) {
    if (common.json)
      print_json(group);
    else
      table.row({group.group.empty() ? "others" : group.group, std::to_string(group.count), format_rfc3339(group.first_ms),
                 format_rfc3339(group.last_ms), or_dash(group.failed_queue), or_dash(group.type), or_dash(shortened(group.reason, reason_columns))});
  }
  if (!common.json) table.flush();
  return report_missing(selection, queue.name(), !sorted.empty());
}

}  // namespace gw::inspect
