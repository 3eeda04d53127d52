// show: headers and bodies, which stay where they are.
#include "commands.hpp"
#include "databus.hpp"
#include "failure.hpp"
#include "support.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

Result<void> show_json(const Root& root, const std::string& queue, const Selected& one) {
  const Message& message = *one.message;
  JsonObject object = message_json(queue, one.info, message);
  add_attachments(object, message.headers, root.path());
  GW_TRY_ASSIGN(bool added, add_small_body(object, message.body));
  if (!added && message.body.is_file()) object.add("body_file", message.body.file()->path);
  out(object.str() + "\n");
  return {};
}

Result<void> show_body_for_people(const Body& body) {
  bool small = body.size() <= inline_body_bytes_max;
  GW_TRY_ASSIGN(std::string bytes, body.read_at(0, inline_body_bytes_max));
  bool text = is_text(bytes);
  if (small && text) {
    out(bytes);
    if (!bytes.empty() && bytes.back() != '\n') out("\n");
  } else {
    out("[body: " + human_size(body.size()) + (text ? " text" : " binary") + "; --body writes it]\n");
  }
  return {};
}

void show_attachments(const Headers& headers, const std::string& root_path) {
  for (const Attachment& attachment : attachments_of(headers, root_path))
    out("[attachment " + attachment.name + ": " + (attachment.bytes ? human_size(*attachment.bytes) + " in " : "gone: ") + attachment.path + "]\n");
}

Result<void> show_one(const Options& options, const Root& root, const Selected& one, bool first) {
  const Message& message = *one.message;
  if (options.body_only) return write_body(message.body);
  if (!first) out("\n");
  Headers room;
  out(headers_to_text(without_mark(message.headers, room)));
  if (options.headers_only) return {};
  out("\n");
  GW_TRY(show_body_for_people(message.body));
  show_attachments(message.headers, root.path());
  return {};
}

}  // namespace

Result<ExitCode> show(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(require_selection(options.selection));
  if (options.headers_only && options.body_only) return Error{ExitCode::usage, 0, "--headers and --body exclude each other"};
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  end_when_nobody_reads();
  bool any = false;
  auto show_each = [&](Selected& one) -> Result<bool> {
    GW_TRY(common.json && !options.body_only ? show_json(*root, queue.name(), one) : show_one(options, *root, one, !any));
    any = true;
    return true;
  };
  GW_TRY(selection.visit(queue, Selection::Read::always, show_each));
  ExitCode missing = report_missing(selection, queue.name(), any);
  return missing != ExitCode::ok ? missing : any ? ExitCode::ok : ExitCode::no;
}

}  // namespace gw::inspect
