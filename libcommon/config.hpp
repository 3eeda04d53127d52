// The configuration file (CLI.md section 6): ours, or the original's <configuration> with GatewayConfig, MasterNodeConfig and
// UnicastBusConfig sections. Errors name file:line, what was found and what was expected.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "result.hpp"

namespace gw {

struct SiteConfig {
  std::string key, address, channel_type = "http";  ///< type in lower case
  std::vector<std::string> groups;
  unsigned concurrency = 4;
  std::optional<uint64_t> rate_bytes;  ///< per second
  std::string window;                  ///< "22:00-05:00"
  std::string client_cert, client_key, ca_file, token_file, proxy, proxy_user_file;  ///< absolute paths
  std::string trace;                   ///< command that tells what happened to messages over there; words
  bool header_case_lower = false, legacy_mode = false;
  std::optional<int64_t> connect_timeout_ms, answer_timeout_ms;  ///< without: those of the gateway
  int line = 0;
};

struct ClientConfig {
  std::string name, san, fingerprint;
  std::vector<std::string> allow_endpoints;
  int line = 0;
};

struct ChannelConfig {
  std::string address, channel_type = "http";
  bool is_default = false;
  std::optional<unsigned> max_concurrency;  ///< messages at once; without: the channel's own limit
  std::string cert, key, client_ca, token_file, reply_to_uri, ciphers;
  std::optional<uint64_t> max_body;
  bool web_clients = false;
  std::vector<std::string> cors_origins;  ///< of web pages: scheme://host[:port]
  std::vector<std::string> allow_endpoints;  ///< empty: all
  std::string header_names;
  std::vector<ClientConfig> clients;
  int line = 0;
};

struct MachineConfig {
  std::string name;
  SiteConfig link;  ///< key = key_of_machine(name)
};

struct QueueSection {
  std::string name;
  std::optional<uint64_t> max_bytes;
  std::optional<unsigned> mode;
  int line = 0;
};

struct Config {
  std::string path;          ///< "" if there is no file
  std::string missing_path;  ///< where it would be; "" if there is one
  std::string endpoint, error_queue = "error";
  std::optional<unsigned> retries;
  std::optional<int64_t> retry_increment_ms;
  std::optional<bool> outages_wait;
  std::optional<int64_t> give_up_after_ms;
  std::string retry_policy;
  std::optional<unsigned> max_transfers;
  std::optional<uint64_t> rate_bytes;
  std::optional<int64_t> connect_timeout_ms, answer_timeout_ms;
  std::vector<SiteConfig> sites;
  std::vector<ChannelConfig> channels;
  std::vector<MachineConfig> machines;
  std::vector<QueueSection> queues;
  std::string master_node, distributor_control_address, distributor_data_address;  ///< the original's format only
};

/// How much is checked: what stands in the file, or also whether the files, commands and channel programs that it names are there.
enum class ConfigCheck { text, files };

/// Reads and checks all of it. ExitCode::config with one "FILE:LINE: what, expected what" per line of the text.
/// A file that does not exist gives an empty Config unless `must_exist`. no_permission if all is well but for files that must be private.
Result<Config> load_config(const std::string& path, bool must_exist, ConfigCheck check = ConfigCheck::text);

/// `--site KEY=URL[,TYPE]` on top of the file's sites (same key: replaces). usage error if malformed.
Result<void> add_site_option(Config& config, const std::string& text);

/// Keys, shell patterns and groups, comma-separated, to sites in the order of the configuration, each once.
/// usage: "the following sites have not been configured: X, Y".
Result<std::vector<const SiteConfig*>> resolve_sites(const Config& config, const std::string& sites);
/// The same where machines may stand, too: `@NAME` or `@PATTERN`. usage also: "the following machines have not been configured: X, Y".
Result<std::vector<const SiteConfig*>> resolve_links(const Config& config, const std::string& words);

}  // namespace gw
