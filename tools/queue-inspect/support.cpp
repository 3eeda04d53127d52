#include "support.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>

#include "config.hpp"
#include "databus.hpp"
#include "diag.hpp"
#include "failure.hpp"
#include "hash.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw::inspect {

Result<Queue> open_queue(Root& root, const std::string& name) {
  auto queue = root.queue(name);
  if (queue || queue.error().code != ExitCode::no_input) return queue;
  Error error = std::move(queue).error();
  std::string hint;
  if (auto known = root.list_queues()) hint = suggest(name, *known);
  error.text = "there is no queue '" + name + "' in '" + root.path() + "'; " +
               (hint.empty() ? "'queue-inspect create " + name + "' creates it" : hint);
  return error;
}

Result<Queue> open_settled_queue(Root& root, const std::string& name) {
  GW_TRY_ASSIGN(Queue queue, open_queue(root, name));
  GW_TRY(root.recover_dead_owners());
  return queue;
}

Result<AllStatus> status_of_all(Root& root) {
  AllStatus all;
  GW_TRY(root.recover_dead_owners());
  GW_TRY_ASSIGN(auto names, root.list_queues());
  for (const std::string& name : names) {
    auto queue = root.queue(name);
    auto status = queue ? queue->status() : Result<QueueStatus>(queue.error());
    if (!status && status.error().code == ExitCode::no_input) continue;  // removed meanwhile
    if (status) {
      all.queues.push_back(*std::move(status));
    } else {
      print_error(status.error().text);
      all.code = status.error().code;
    }
  }
  return all;
}

Result<Queue> create_configured(Root& root, const std::string& name, const CommonOptions& common) {
  auto there = root.queue(name);
  if (there || there.error().code != ExitCode::no_input) return there;
  GW_TRY_ASSIGN(Config config, load_config(common.config, common.config_given));
  QueueConfig limits;
  for (const QueueSection& section : config.queues)
    if (section.name == name) limits.max_bytes = section.max_bytes.value_or(0);
  return root.create_queue(name, limits);
}

Result<void> require(const std::string& value, const char* name) {
  if (value.empty()) return Error{ExitCode::usage, 0, std::string(name) + " is missing"};
  return {};
}

Result<void> require_selection(const SelectionOptions& selection) {
  if (selection.given()) return {};
  return Error{ExitCode::usage, 0, "no messages selected: name ids or :SEQ, use --where or --group, or say --all"};
}

Result<std::optional<int64_t>> deadline_of(const std::string& timeout) {
  if (timeout.empty()) return std::optional<int64_t>();
  auto ms = parse_duration_ms(timeout);
  if (!ms) return Error{ExitCode::usage, 0, "--timeout: '" + timeout + "' is not a duration, as in 30s or 1h30m"};
  return std::optional<int64_t>(monotonic_ms() + std::min(*ms, INT64_MAX / 4));
}

int64_t ms_until(const std::optional<int64_t>& deadline) {
  return deadline ? std::max<int64_t>(0, *deadline - monotonic_ms()) : INT64_MAX;
}

Result<std::vector<std::string>> read_ids(const std::vector<std::string>& words) {
  std::vector<std::string> ids;
  for (const std::string& word : words) {
    if (word != "-") {
      ids.push_back(word);
      continue;
    }
    GW_TRY_ASSIGN(auto lines, read_stdin_lines());
    ids.insert(ids.end(), lines.begin(), lines.end());
  }
  for (const std::string& id : ids)
    if (!message_id_ok(id)) return Error{ExitCode::usage, 0, "'" + id + "' is not a message id"};
  return ids;
}

void end_when_nobody_reads() {
  std::signal(SIGPIPE, [](int) { ::_exit(static_cast<int>(ExitCode::io_error)); });
}

struct EndOnSignal::State {
  std::mutex mutex;
  std::condition_variable ended;
  Root* root = nullptr;  // nullptr: the command is over
};

EndOnSignal::EndOnSignal(Root& root) : state_(std::make_shared<State>()) {
  state_->root = &root;
  Signals::on_signal([state = state_] {
    std::unique_lock<std::mutex> lock(state->mutex);
    if (!Signals::stop_requested() || !state->root) return;
    state->root->ring();
    if (!state->ended.wait_for(lock, std::chrono::seconds(8), [&] { return !state->root; })) ::_exit(static_cast<int>(ExitCode::ok));
  });
}

EndOnSignal::~EndOnSignal() {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->root = nullptr;
  state_->ended.notify_all();
}

ExitCode report_missing(const Selection& selection, const std::string& queue, bool found_any) {
  for (const std::string& word : selection.missing()) print_error("there is no message '" + word + "' in queue '" + queue + "'");
  for (const auto& [seq, why] : selection.unreadable())
    print_error("message :" + std::to_string(seq) + " in queue '" + queue + "' is damaged: " + why + "; see 'queue-inspect check'");
  if (!selection.unreadable().empty()) return ExitCode::bad_data;
  return selection.missing().empty() ? ExitCode::ok : found_any ? ExitCode::no : ExitCode::no_input;
}

void print_result(const std::string& id, uint64_t seq, const char* result, const std::string& to, const CommonOptions& common) {
  if (common.json) {
    JsonObject object;
    if (!id.empty()) object.add("id", id);
    object.add("seq", seq).add("result", result);
    if (!to.empty()) object.add("to", to);
    return out(object.str() + "\n");
  }
  out((id.empty() ? ":" + std::to_string(seq) : printable(id)) + "\t" + result + (to.empty() ? "" : "\t" + printable(to)) + "\n");
}

Result<Planned> print_plan(const Queue& queue, Selection& selection, const char* would, const std::string& to, const CommonOptions& common, PlanFor states) {
  Planned planned;
  GW_TRY(selection.visit(queue, Selection::Read::always, [&](Selected& one) -> Result<bool> {
    if (states == PlanFor::ready && one.info.state != MessageState::ready) return true;
    const bool claimed = one.info.state == MessageState::claimed;
    ++(claimed ? planned.skipped : planned.would);
    print_result(one.message->id(), one.info.seq, claimed ? "would-skip" : would, to, common);
    return true;
  }));
  return planned;
}

bool is_text(std::string_view bytes) {
  bool plain = std::none_of(bytes.begin(), bytes.end(), [](char c) {
    unsigned char b = static_cast<unsigned char>(c);
    return (b < 0x20 && c != '\t' && c != '\n' && c != '\r') || b == 0x7f;
  });
  return plain && utf8_ok(bytes);
}

JsonObject message_json(const std::string& queue, const MessageInfo& info, const Message& message) {
  const Headers& headers = message.headers;
  JsonObject object;
  object.add("queue", queue).add("seq", info.seq).add("id", message.id()).add("state", to_string(info.state));
  if (std::string type = message_type(headers); !type.empty()) object.add("type", type);
  object.add_time("put_at", info.put_at_ms).add_time("due_at", info.due_at_ms).add_time("expires_at", info.expires_at_ms);
  object.add("attempts", info.failures).add("body_bytes", info.body_bytes);
  if (info.owner_pid != 0) object.add("owner_pid", info.owner_pid);
  const std::string* failed_queue = headers.find(header::failed_q);
  const std::string* reason = headers.find(header::exception_message);
  if (failed_queue) object.add("failed_queue", *failed_queue);
  if (reason) object.add("reason", *reason);
  if (failed_queue || reason) object.add("group", failure_group(message));
  JsonObject members;
  Headers room;
  for (const auto& [name, value] : without_mark(headers, room).entries()) members.add(name, value);
  object.add_raw("headers", members.str());
  return object;
}

void add_attachments(JsonObject& object, const Headers& headers, const std::string& root_path) {
  std::string list;
  for (const Attachment& attachment : attachments_of(headers, root_path)) {
    JsonObject one;
    one.add("key", attachment.name);
    if (attachment.bytes) one.add("bytes", *attachment.bytes);
    list += (list.empty() ? "" : ",") + one.add("path", attachment.path).str();
  }
  if (!list.empty()) object.add_raw("attachments", "[" + list + "]");
}

Result<bool> add_small_body(JsonObject& object, const Body& body) {
  if (body.size() > inline_body_bytes_max) return false;
  GW_TRY_ASSIGN(std::string bytes, body.read_all());
  if (utf8_ok(bytes))
    object.add("body", bytes);
  else
    object.add("body_base64", base64(bytes));
  return true;
}

Result<void> write_body(const Body& body) {
  if (!body.is_file()) {
    out(body.bytes());
    return {};
  }
  GW_TRY(flush_stdout());
  return body.copy_to(1);
}

}  // namespace gw::inspect
