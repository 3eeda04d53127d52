#include "commands.hpp"

#include <memory>

#include "command.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "store.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::dedup {

namespace {

using Define = void (*)(CLI::App&, Options&);
using Run = Result<ExitCode> (*)(const Options&, const CommonOptions&);

void add(Tool& tool, const std::shared_ptr<Options>& options, const char* usage, const char* summary, const char* examples, bool changes,
         Define define, Run run) {
  tool.commands.push_back(make_command(options, usage, summary, examples, changes, define, run));
}

std::string time_or_dash(int64_t ms) { return ms ? format_rfc3339(ms) : "-"; }

void write_row(JsonObject&& object) { out(object.str() + "\n"); }

}  // namespace

Tool make_tool() {
  Tool tool;
  tool.name = "gw-dedup";
  tool.summary = "ask and tend the memory of message ids that an endpoint has accepted";
  auto options = std::make_shared<Options>();
  add(tool, options, "seen --endpoint E ID...", "was this id accepted? exit 0: yes (all), 1: no",
      "  gw-dedup seen --endpoint Store17 0817844c-2f74-4aa4-85d0-b33e0182dd3c\n", false, define_ids, seen);
  add(tool, options, "mark --endpoint E ID...", "take ids for accepted: messages with them will be duplicates",
      "  gw-dedup mark --endpoint Store17 order-4711\n", false, define_ids, mark);
  add(tool, options, "filter --endpoint E [--key-field N]", "pass the lines of stdin whose key is new, and mark the keys",
      "  gw-dedup filter --endpoint imports --key-field 1 < orders.tsv | import-orders\n", false, define_filter, filter);
  add(tool, options, "list --endpoint E", "list the ids, oldest first", "  gw-dedup list --endpoint Store17 --json\n", false, define_plain, list);
  add(tool, options, "status --endpoint E", "print how many ids there are, since when, and the horizon", "  gw-dedup status --endpoint Store17\n",
      false, define_plain, status);
  add(tool, options, "purge --endpoint E --older-than T [--yes]", "forget old ids; messages of their time are refused from then on",
      "  gw-dedup purge --endpoint Store17 --older-than 7d\n  gw-dedup purge --endpoint Store17 --older-than 30d --dry-run\n", true, define_purge,
      purge);
  add(tool, options, "check --endpoint E [--repair]", "check the store, and repair it", "  gw-dedup check --endpoint Store17\n", false,
      define_check, check);
  return tool;
}

Result<ExitCode> seen(const Options& options, const CommonOptions& common) {
  GW_TRY(check_ids(options.ids));
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, false));
  bool all = true;
  for (const std::string& id : options.ids) {
    GW_TRY_ASSIGN(auto row, open.store->find(open.endpoint, id));
    all &= row.has_value();
    if (common.json) {
      JsonObject object;
      object.add("id", id).add("endpoint", open.endpoint).add("seen", row.has_value());
      if (row) object.add_time("seen_at", row->seen_at_ms);
      if (row && !row->queue.empty()) object.add("queue", row->queue).add("seq", row->seq);
      write_row(std::move(object));
    } else if (options.ids.size() > 1 && !common.quiet) {
      out(printable(id) + (row ? "\tseen\n" : "\tnew\n"));
    }
  }
  return all ? ExitCode::ok : ExitCode::no;
}

Result<ExitCode> mark(const Options& options, const CommonOptions& common) {
  GW_TRY(check_ids(options.ids));
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, true));
  GW_TRY_ASSIGN(auto fresh, open.store->mark(open.endpoint, options.ids));
  for (size_t i = 0; common.json && i < options.ids.size(); ++i)
    write_row(std::move(JsonObject().add("id", options.ids[i]).add("endpoint", open.endpoint).add("new", static_cast<bool>(fresh[i]))));
  return ExitCode::ok;
}

Result<ExitCode> list(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, false));
  Table table({{"SEEN", Table::Align::left}, {"ID", Table::Align::left}, {"QUEUE", Table::Align::left}, {"SEQ", Table::Align::right}}, out);
  bool local = open.endpoint == local_dedup_store;
  GW_TRY(open.store->list([&](const DedupRow& row) {
    if (common.json) {
      JsonObject object;
      object.add("id", row.id).add("endpoint", local ? row.scope : open.endpoint).add_time("seen_at", row.seen_at_ms);
      if (!row.queue.empty()) object.add("queue", row.queue).add("seq", row.seq);
      write_row(std::move(object));
    } else {
      table.row({format_rfc3339(row.seen_at_ms), row.id, row.queue.empty() ? "-" : row.queue, row.queue.empty() ? "-" : std::to_string(row.seq)});
    }
    return true;
  }));
  if (!common.json) table.flush();
  return ExitCode::ok;
}

Result<ExitCode> status(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, false));
  GW_TRY_ASSIGN(auto status, open.store->status());
  if (common.json) {
    JsonObject object;
    object.add("endpoint", open.endpoint).add("rows", status.rows).add("disk_bytes", status.bytes);
    object.add_time("oldest_at", status.oldest_ms).add_time("newest_at", status.newest_ms).add_time("horizon_at", status.horizon_ms);
    write_row(std::move(object));
    return ExitCode::ok;
  }
  out("ids      " + std::to_string(status.rows) + "\n" + "disk     " + human_size(status.bytes) + "\n" + "oldest   " + time_or_dash(status.oldest_ms) +
      "\n" + "newest   " + time_or_dash(status.newest_ms) + "\n" + "horizon  " + time_or_dash(status.horizon_ms) + "\n");
  return ExitCode::ok;
}

Result<ExitCode> check(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(OpenStore open, open_store(options, common, false));
  GW_TRY_ASSIGN(auto findings, open.store->check(options.repair));
  for (const std::string& finding : findings) {
    if (common.json) write_row(std::move(JsonObject().add("endpoint", open.endpoint).add("detail", finding).add("repaired", options.repair)));
    else out(printable(finding) + (options.repair ? " (repaired)\n" : "\n"));
  }
  return findings.empty() || options.repair ? ExitCode::ok : ExitCode::no;
}

}  // namespace gw::dedup
