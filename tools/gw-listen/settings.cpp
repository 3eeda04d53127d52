// Options and configuration together.
#include <algorithm>

#include "config_names.hpp"
#include "listen_address.hpp"
#include "options.hpp"
#include "reply_address.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

Error at_line(const Config& config, int line, const std::string& text) {
  return Error{ExitCode::config, 0, config.path + ":" + std::to_string(line) + ": " + text};
}

/// Where else it can stand; says so if there is no file at all.
std::string in_the_file(const Config& config) {
  if (!config.path.empty()) return "'" + config.path + "'";
  return "the configuration file '" + config.missing_path + "', which is not there (--config FILE names another one)";
}

Result<uint64_t> size_option(const char* name, const std::string& text) {
  auto size = parse_size(text);
  if (!size) return usage("'" + text + "' is not a size for " + name + ": expected a number of bytes, or with K, M, G or T");
  return *size;
}

Result<std::vector<Channel>> channels_of_file(const Config& config) {
  std::vector<Channel> channels;
  for (const ChannelConfig& entry : config.channels) {
    auto channel = parse_channel_of_type(entry.channel_type, entry.address);
    if (!channel) return at_line(config, entry.line, channel.error().text);
    channel->max_concurrency = entry.max_concurrency;
    if (entry.max_concurrency) channel->slots = std::make_shared<Slots>(*entry.max_concurrency);
    if (entry.max_body) channel->max_body_bytes = *entry.max_body;
    channel->is_default = entry.is_default;
    channel->reply_to_uri = entry.reply_to_uri;
    channel->web_clients = entry.web_clients;
    channel->cors_origins = entry.cors_origins;
    channel->line = entry.line;
    channel->header_names = HeaderNames(split_list(entry.header_names));
    channel->cert = entry.cert;
    channel->key = entry.key;
    channel->client_ca = entry.client_ca;
    channel->ciphers = entry.ciphers;
    channel->token_file = entry.token_file;
    channel->clients = entry.clients;
    channel->allow_endpoints = entry.allow_endpoints;
    channels.push_back(*std::move(channel));
  }
  return channels;
}

// Options win over the file. What only https has stays away from channels of the file that are http.
Result<void> set_security(const Options& options, std::vector<Channel>& channels) {
  if (options.tls_cert.empty() != options.tls_key.empty())
    return usage(std::string(options.tls_cert.empty() ? "--tls-key without --tls-cert" : "--tls-cert without --tls-key") + ": expected both");
  const bool any_https = std::any_of(channels.begin(), channels.end(), [](const Channel& channel) { return channel.https; });
  for (auto [name, value] : {std::pair("--tls-cert", &options.tls_cert), {"--tls-client-ca", &options.tls_client_ca}, {"--tls-ciphers", &options.tls_ciphers}})
    if (!value->empty() && !any_https) return usage(std::string(name) + ": no channel is https");
  auto replace = [](std::string& value, const std::string& option) {
    if (!option.empty()) value = option;
  };
  for (Channel& channel : channels) {
    replace(channel.token_file, options.token_file);
    if (!channel.https) continue;
    replace(channel.cert, options.tls_cert);
    replace(channel.key, options.tls_key);
    replace(channel.client_ca, options.tls_client_ca);
    replace(channel.ciphers, options.tls_ciphers);
  }
  return {};
}

Result<void> check_machine_name(const std::string& name) {
  if (!queue_name_ok(outbox_of_site(key_of_machine(name))))
    return usage("--machine: '" + name + "' is not the name of a machine: expected letters, digits, '.', '_' and '-'");
  return {};
}

}  // namespace

Result<void> load_security(std::vector<Channel>& channels, const Config& config) {
  for (Channel& channel : channels) {
    auto loaded = load_security(channel);
    if (loaded) continue;
    Error error = std::move(loaded).error();
    error.text = "channel '" + channel.address + "': " + error.text;
    if (channel.line > 0) error.text = config.path + ":" + std::to_string(channel.line) + ": " + error.text;
    return error;
  }
  return {};
}

Result<Settings> resolve_settings(const Options& options, const Config& config) {
  Settings settings;
  if (!options.admin.empty()) GW_TRY(parse_listen_address(options.admin, "--admin"));
  settings.endpoint = options.endpoint.empty() ? config.endpoint : options.endpoint;
  GW_TRY(check_reply_to_uri(options.reply_to_uri));
  settings.reply_to_uri = options.reply_to_uri;
  settings.machine = options.machine;
  settings.allow_queues = options.allow_queues;
  // A machine's listener may share its configuration with the endpoint's: it is only that of the endpoint if it is told so.
  if (!options.machine.empty()) settings.endpoint = options.endpoint;
  if (!options.machine.empty()) GW_TRY(check_machine_name(options.machine));
  if (options.machine.empty() && !options.allow_queues.empty()) return usage("--allow-queue without --machine: expected --machine NAME, too");
  if (settings.endpoint.empty() && settings.machine.empty())
    return usage("no endpoint: give --endpoint E or --machine NAME, or Endpoint in " + in_the_file(config));
  if (!settings.endpoint.empty()) {
    GW_TRY(check_queue_name(settings.endpoint));
    GW_TRY(check_queue_name(settings.endpoint + ".gateway"));
  }
  if (!options.min_free.empty()) {
    GW_TRY_ASSIGN(settings.min_free_bytes, size_option("--min-free", options.min_free));
  }
  if (options.channels.empty()) {
    GW_TRY_ASSIGN(settings.channels, channels_of_file(config));
  }
  for (const std::string& text : options.channels) {
    std::string address = text, type = split_channel_type(address);
    auto channel = parse_channel_of_type(type.empty() ? "http" : type, address);
    if (!channel) return usage(channel.error().text);
    settings.channels.push_back(*std::move(channel));
  }
  if (settings.channels.empty()) return usage("no channel: give --channel URL[,TYPE], or a Channel element in " + in_the_file(config));
  for (Channel& channel : settings.channels) {
    if (!options.max_body.empty()) {
      GW_TRY_ASSIGN(channel.max_body_bytes, size_option("--max-body", options.max_body));
    }
    channel.web_clients |= options.web_clients;
    if (!options.allow_endpoints.empty()) channel.allow_endpoints = options.allow_endpoints;
  }
  GW_TRY(set_security(options, settings.channels));
  if (auto checked = check_channels(settings.channels); !checked) {
    if (!options.channels.empty()) return usage(checked.error().text);
    return at_line(config, settings.channels.back().line, checked.error().text);
  }
  return settings;
}

}  // namespace gw::listen
