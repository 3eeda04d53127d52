#include "worker_settings.hpp"

#include <unistd.h>

#include "address.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

constexpr unsigned capacity_max = 1000, stream_capacity_default = 256;

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

Result<void> check_options(const WorkerOptions& options) {
  if (options.queue.empty() && options.master.empty()) return usage("--queue or --master is required");
  if (options.command.empty()) return usage("no command is given: expected -- CMD [ARG...]");
  if (options.once && options.drain) return usage("--once and --drain exclude each other");
  if (options.capacity.has_value() && (*options.capacity == 0 || *options.capacity > capacity_max)) return usage("--capacity: expected 1 to " + std::to_string(capacity_max));
  GW_TRY(parse_address(options.error_queue));
  if (!options.audit.empty()) GW_TRY(parse_address(options.audit));
  if (!options.on_expire.empty() && options.on_expire != "drop" && options.on_expire != "error")
    return usage("'" + options.on_expire + "' is not a value of --on-expire: expected drop or error");
  if (!options.stream.empty() && options.stream != "lines" && options.stream != "binary")
    return usage("'" + options.stream + "' is not a value of --stream: expected lines or binary");
  if (!options.stream.empty() && options.body_as_argument) return usage("--stream and --arg exclude each other: one process gets many bodies");
  if (!options.stream.empty() && !options.handler_timeout.empty())
    return usage("--stream and --handler-timeout exclude each other: one process works on many messages at once");
  const uint64_t attempts = (uint64_t{options.retries} + 1) * (uint64_t{options.immediate_retries} + 1);
  if (attempts > attempts_max)
    return usage("--retries and --immediate-retries make " + std::to_string(attempts) + " attempts: at most " + std::to_string(attempts_max));
  return {};
}

// The queue has the endpoint's name, because its messages are that endpoint's.
Result<void> set_queue(const WorkerOptions& options, WorkerSettings& settings) {
  settings.queue = options.queue;
  settings.handler.endpoint = options.queue;
  if (!options.master.empty()) {
    auto master = parse_address(options.master);
    if (!master) return Error{ExitCode::usage, 0, "--master: " + master.error().text};
    GW_TRY(check_queue_name(control_queue(master->queue)));
    if (settings.queue.empty()) settings.queue = master->queue + ".worker";
    if (settings.queue == master->queue) return usage("--queue '" + options.queue + "' is the queue of the master: a worker takes from one of its own");
    settings.handler.endpoint = master->queue;
    settings.master = EnlistmentSettings{*std::move(master), settings.queue, settings.capacity};
  }
  GW_TRY(check_queue_name(settings.queue));
  settings.handler.queue = settings.queue;
  settings.settler.endpoint = settings.handler.endpoint;
  if (options.error_queue == settings.queue || options.audit == settings.queue)
    return usage("the queue '" + settings.queue + "' cannot be its own error or audit queue");
  return {};
}

}  // namespace

Result<WorkerSettings> make_worker_settings(const WorkerOptions& options, const CommonOptions& common) {
  GW_TRY(check_options(options));
  WorkerSettings settings;
  HandlerSettings& handler = settings.handler;
  if (!options.handler_timeout.empty()) {
    auto timeout = parse_duration_ms(options.handler_timeout);
    if (!timeout || *timeout == 0) return usage("--handler-timeout '" + options.handler_timeout + "': expected a duration like 30s or 5m");
    handler.timeout_ms = *timeout;
  }
  RetrySchedule& schedule = settings.settler.schedule;
  if (!options.retry_increment.empty()) {
    auto increment = parse_duration_ms(options.retry_increment);
    if (!increment) return usage("--retry-increment '" + options.retry_increment + "': expected a duration like 10s or 5m");
    schedule.increment_ms = *increment;
  }
  schedule.delayed = options.retries;
  schedule.immediate = options.immediate_retries;
  handler.arguments = options.command;
  handler.body_as_argument = options.body_as_argument;
  // A configuration that is not there must not become one that must be there.
  handler.config_path = common.config;
  if (common.config_given || ::access(common.config.c_str(), F_OK) == 0) handler.config = common.config;
  settings.settler.command = shell_words(options.command);
  settings.settler.once = options.once;
  settings.capacity = options.capacity.has_value() ? *options.capacity : options.stream.empty() ? 1 : stream_capacity_default;
  GW_TRY(set_queue(options, settings));
  settings.once = options.once;
  settings.drain = options.drain;
  settings.keep_expired = options.on_expire == "error";
  settings.stream = !options.stream.empty();
  settings.binary = options.stream == "binary";
  return settings;
}

}  // namespace gw::distributor
