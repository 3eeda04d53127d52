// One address that messages come in by: http(s)://HOST:PORT/PATH/, compared the way http.sys compares its prefixes, or what a channel
// program understands.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "http_tls.hpp"
#include "result.hpp"
#include "slots.hpp"
#include "wire_codec.hpp"

namespace gw::listen {

using namespace http;  // what requests come by

struct Channel {
  std::string type = "http";  ///< in lower case
  std::string program;        ///< of a channel whose messages a program brings; what is below up to `path` is not used then
  std::string address;        ///< as configured
  std::string host;           ///< as written: a name, an IPv4 address, + or *
  std::string bind_address;   ///< IPv4 address to bind to
  bool https = false;
  uint16_t port = 80;         ///< 443 with https; 0: any; set to the real one once the server runs
  std::string path = "/";     ///< begins with a slash, ends with one
  std::optional<unsigned> max_concurrency;  ///< messages at once; without: as many as connections, or one program
  std::shared_ptr<Slots> slots;             ///< of a channel over HTTP with max_concurrency
  uint64_t max_body_bytes = UINT64_MAX;
  std::vector<std::string> allow_endpoints;  ///< empty: all
  HeaderNames header_names;                  ///< that get their case back
  bool is_default = false;
  std::string reply_to_uri;                  ///< how others reach it; empty: by its address
  bool web_clients = false;                  ///< messages in query strings
  std::vector<std::string> cors_origins;     ///< of pages that may send messages
  std::vector<ClientConfig> clients;         ///< whose certificates are let in; empty: all that the CA has signed
  std::string cert, key, client_ca, ciphers, token_file;  ///< as configured
  int line = 0;               ///< in the configuration file; 0: from the command line

  // What was in those files: load_security().
  std::shared_ptr<const TlsContext> tls;
  std::shared_ptr<const TokenSet> tokens;  ///< null: none is needed

  /// The address with the port that is really listened on; TYPE,ADDRESS if it is no URL.
  std::string url() const;
};

/// Loopback names and addresses listen on loopback only; + and *, and names of other machines (as http.sys does), on all addresses.
/// config: what is wrong with it and what is expected.
Result<Channel> parse_channel(std::string_view address);
/// Of any type. config: also if there is no program for the type.
Result<Channel> parse_channel_of_type(const std::string& type, const std::string& address);

/// Reads the files of a channel and sets `tls` and `tokens`; they stay as they are if that fails. config or no_permission.
Result<void> load_security(Channel& channel);
/// The files that it read.
std::vector<std::string> security_files(const Channel& channel);

/// Two channels that would get the same requests, or that share a port and want different TLS on it. config, naming both.
Result<void> check_channels(const std::vector<Channel>& channels);

/// The path of a request target without query, percent-decoded once. Refused (empty): not absolute, `..`, NUL.
std::string decode_path(std::string_view target);

/// Is `path` the channel's path or below it? Case counts; the last slash may be missing.
bool path_matches(const Channel& channel, std::string_view path);

/// The channel with the longest path that matches among those of this port; nullptr: none.
const Channel* find_channel(const std::vector<Channel>& channels, uint16_t port, std::string_view path);

}  // namespace gw::listen
