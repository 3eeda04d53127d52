// create, remove, hold, release.
#include <unistd.h>

#include "commands.hpp"
#include "support.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

Result<std::vector<Queue>> open_all(Root& root, const std::vector<std::string>& names) {
  std::vector<Queue> queues;
  for (const std::string& name : names) {
    GW_TRY_ASSIGN(Queue queue, open_queue(root, name));
    queues.push_back(std::move(queue));
  }
  return queues;
}

Result<void> require_queues(const Options& options) {
  if (options.queues.empty()) return Error{ExitCode::usage, 0, "QUEUE is missing"};
  for (const std::string& name : options.queues) GW_TRY(check_queue_name(name));
  return {};
}

}  // namespace

Result<ExitCode> create(const Options& options, const CommonOptions& common) {
  GW_TRY(require_queues(options));
  std::optional<uint64_t> max_bytes;
  if (!options.max_bytes.empty()) {
    max_bytes = parse_size(options.max_bytes);
    if (!max_bytes) return Error{ExitCode::usage, 0, "--max-bytes: '" + options.max_bytes + "' is not a size, as in 500M or 1G"};
  }
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  for (const std::string& name : options.queues) {
    GW_TRY_ASSIGN(Queue queue, create_configured(*root, name, common));
    if (!max_bytes && !options.journal) continue;
    GW_TRY_ASSIGN(QueueStatus status, queue.status());
    status.config.max_bytes = max_bytes.value_or(status.config.max_bytes);
    status.config.journal = status.config.journal || options.journal;
    GW_TRY(queue.configure(status.config));
  }
  return ExitCode::ok;
}

Result<ExitCode> remove(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY(open_queue(*root, options.queue));
  auto removed = root->remove_queue(options.queue, options.force);
  if (!removed) return std::move(removed).error();
  ::unlink((root->path() + "/times/" + options.queue).c_str());  // a later queue of this name counts from 0
  return ExitCode::ok;
}

Result<ExitCode> hold(const Options& options, const CommonOptions& common) {
  GW_TRY(require_queues(options));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(auto queues, open_all(*root, options.queues));
  for (Queue& queue : queues) {
    GW_TRY_ASSIGN(QueueStatus now, queue.status());
    bool takes_on = options.puts && now.takes_on, puts_on = !options.puts && now.puts_on;
    GW_TRY(queue.hold(takes_on, puts_on, options.reason.empty() ? now.hold_reason : options.reason));
  }
  return ExitCode::ok;
}

Result<ExitCode> release(const Options& options, const CommonOptions& common) {
  GW_TRY(require_queues(options));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(auto queues, open_all(*root, options.queues));
  for (Queue& queue : queues) GW_TRY(queue.hold(true, true, ""));
  return ExitCode::ok;
}

}  // namespace gw::inspect
