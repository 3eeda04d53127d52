// Files that keep a link private: certificates, keys, tokens, passwords. Secrets are read from private files only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "hash.hpp"
#include "result.hpp"

namespace gw {

/// A whole file of at most 1 MiB. config: not there, not a file, too large; no_permission: not readable.
Result<std::string> read_named_file(const std::string& path);
/// The same for a secret. no_permission, naming it, unless its mode is 0400, 0440 or 0600 and the caller (or root) owns it.
Result<std::string> read_secret_file(const std::string& path);

/// One line of a token file: `token` or `name token`.
struct Token {
  std::string name, secret;
};
/// Empty lines and lines that begin with # do not count. config, naming the line, if there is no token or a line is malformed.
Result<std::vector<Token>> parse_tokens(const std::string& path, std::string_view text);

/// Tells whether a token is one of several, in a time that says nothing about them.
class TokenSet {
 public:
  explicit TokenSet(std::vector<Token> tokens);
  /// The token's name (may be empty); nullptr: none of ours.
  const std::string* find(std::string_view secret) const;

 private:
  struct Known {
    std::string name;
    Sha256 digest;
  };
  std::vector<Known> known_;
};

/// What a site's requests need beside its address; empty: nothing.
struct LinkSecrets {
  std::string ca_pem, cert_pem, key_pem;
  std::string token;       ///< the first one of its file
  std::string proxy, proxy_user;  ///< its URL; user:password
};
/// Reads and checks all files of a site: that they are there, private, and fit each other. config or no_permission.
Result<LinkSecrets> read_link_secrets(const SiteConfig& site);

/// The files that it reads.
std::vector<std::string> link_files(const SiteConfig& site);

/// The same for a channel that we listen on.
struct ChannelSecrets {
  std::string cert_pem, key_pem, client_ca_pem;
  std::vector<Token> tokens;
};
Result<ChannelSecrets> read_channel_secrets(const ChannelConfig& channel);
/// Attributes that need each other: https a certificate, Client elements a ClientCa, ... config.
Result<void> check_channel_security(const ChannelConfig& channel);

/// Every file that the configuration names, and what belongs together. config with one "FILE:LINE: what, expected what" per line.
Result<void> check_config_files(const Config& config);

/// Changes when one of the files does: which they are, how large, when changed.
std::string files_stamp(const std::vector<std::string>& paths);

/// Notices files that are other ones, once they have stopped changing: a certificate comes before its key. Ask once a second.
class FilesWatch {
 public:
  void begin(const std::vector<std::string>& paths) { used_ = seen_ = files_stamp(paths); }
  /// True once after a change.
  bool changed(const std::vector<std::string>& paths);

 private:
  std::string used_, seen_;
};

}  // namespace gw
