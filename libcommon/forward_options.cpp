#include "forward_options.hpp"

#include <optional>

#include "address.hpp"
#include "queue.hpp"
#include "reply_address.hpp"
#include "units.hpp"

namespace gw {
namespace {

Error bad_value(const char* option, const std::string& value, const char* expected) {
  return Error{ExitCode::usage, 0, "'" + value + "' is not a value of " + option + ": expected " + expected};
}

/// The option if it was given, else what the file says, else `into` stays.
Result<void> read_duration(const char* option, const std::string& given, std::optional<int64_t> from_file, int64_t& into) {
  if (given.empty()) {
    if (from_file) into = *from_file;
    return {};
  }
  const std::optional<int64_t> value = parse_duration_ms(given);
  if (!value) return bad_value(option, given, "a duration like 500ms, 10s, 1h30m or 7d");
  into = *value;
  return {};
}

Result<void> read_number(const char* option, const std::string& given, std::optional<unsigned> from_file, unsigned& into) {
  if (given.empty()) {
    if (from_file) into = *from_file;
    return {};
  }
  unsigned value = 0;
  for (char digit : given) {
    if (digit < '0' || digit > '9' || __builtin_mul_overflow(value, 10u, &value) ||
        __builtin_add_overflow(value, static_cast<unsigned>(digit - '0'), &value))
      return bad_value(option, given, "a number");
  }
  into = value;
  return {};
}

Result<void> read_outages(const ForwardOptions& options, const Config& config, RetryPolicy& policy) {
  if (options.outages.empty()) {
    if (config.outages_wait) policy.outages = *config.outages_wait ? Outages::wait : Outages::count;
    return {};
  }
  if (options.outages != "count" && options.outages != "wait") return bad_value("--outages", options.outages, "count or wait");
  policy.outages = options.outages == "wait" ? Outages::wait : Outages::count;
  return {};
}

}  // namespace

Result<ForwardSettings> resolve_forward_settings(const ForwardOptions& options, const Config& config) {
  ForwardSettings settings;
  RetryPolicy& policy = settings.policy;
  GW_TRY(read_number("--retries", options.retries, config.retries, policy.retries));
  GW_TRY(read_duration("--retry-increment", options.retry_increment, config.retry_increment_ms, policy.increment_ms));
  GW_TRY(read_outages(options, config, policy));
  GW_TRY(read_duration("--give-up-after", options.give_up_after, config.give_up_after_ms, policy.give_up_after_ms));
  GW_TRY(read_duration("--probe-interval", options.probe_interval, std::nullopt, policy.probe_interval_ms));
  GW_TRY(read_number("--max-transfers", options.max_transfers, config.max_transfers, settings.max_transfers));
  if (settings.max_transfers == 0) return bad_value("--max-transfers", "0", "at least 1");
  GW_TRY(read_duration("--connect-timeout", options.connect_timeout, config.connect_timeout_ms, settings.connect_timeout_ms));
  GW_TRY(read_duration("--answer-timeout", options.answer_timeout, config.answer_timeout_ms, settings.answer_timeout_ms));
  settings.rate_bytes = config.rate_bytes.value_or(0);
  if (!options.rate.empty()) {
    const std::optional<uint64_t> rate = parse_rate(options.rate);
    if (!rate || *rate == 0) return bad_value("--rate", options.rate, "a rate like 2M/s");
    settings.rate_bytes = *rate;
  }
  settings.retry_policy = options.retry_policy.empty() ? config.retry_policy : options.retry_policy;
  settings.endpoint = options.endpoint.empty() ? config.endpoint : options.endpoint;
  settings.error_queue = options.error_queue.empty() ? config.error_queue : options.error_queue;
  GW_TRY(parse_address(settings.error_queue));
  if (options.cert.empty() != options.key.empty())
    return Error{ExitCode::usage, 0, options.cert.empty() ? "--key without --cert: expected both" : "--cert without --key: expected both"};
  settings.ca_file = options.cacert;
  settings.client_cert = options.cert;
  settings.client_key = options.key;
  GW_TRY(check_reply_to_uri(options.reply_to_uri));
  settings.reply_to_uri = options.reply_to_uri;
  return settings;
}

Result<Config> load_config_with_sites(const std::string& path, bool must_exist, const std::vector<std::string>& site_options) {
  GW_TRY_ASSIGN(Config config, load_config(path, must_exist));
  for (const std::string& text : site_options) GW_TRY(add_site_option(config, text));
  return config;
}

}  // namespace gw
