// gw-listen's command line and what it becomes together with the configuration file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "channel.hpp"
#include "config.hpp"
#include "tool.hpp"

namespace gw::listen {

/// What the command line said; empty: not given.
struct Options {
  std::string endpoint, max_body, min_free;
  std::string tls_cert, tls_key, tls_client_ca, tls_ciphers, token_file;
  std::vector<std::string> channels, allow_endpoints;
  std::string reply_to_uri, admin, machine;
  std::vector<std::string> allow_queues;
  bool web_clients = false;
};

struct Settings {
  std::string endpoint;      ///< empty: only messages of other machines
  std::string machine;       ///< this machine's name; empty: none of other machines
  std::vector<std::string> allow_queues;
  std::string reply_to_uri;  ///< of the command line
  uint64_t min_free_bytes = min_free_bytes_default;
  std::vector<Channel> channels;
};

/// Options and configuration together: options win, and --channel replaces the channels of the file.
/// usage or config, naming the option or FILE:LINE.
Result<Settings> resolve_settings(const Options& options, const Config& config);

/// Reads the certificates, keys and tokens of all channels: as the user who is to read them again later. config or no_permission,
/// naming the file, and FILE:LINE of the channel if it stands in the configuration.
Result<void> load_security(std::vector<Channel>& channels, const Config& config);

Tool make_tool();

}  // namespace gw::listen
