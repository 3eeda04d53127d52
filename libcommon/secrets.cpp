#include "secrets.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "config_names.hpp"
#include "tls_files.hpp"
#include "unique_fd.hpp"

namespace gw {

namespace {

constexpr size_t file_bytes_max = 1 << 20;

Error bad(std::string text, int error_number = 0) { return Error{ExitCode::config, error_number, std::move(text)}; }

Result<std::string> read_all(int fd, const std::string& path) {
  std::string text;
  char block[16 * 1024];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", path, errno);
    if (n == 0) return text;
    text.append(block, static_cast<size_t>(n));
    if (text.size() > file_bytes_max) return bad("'" + path + "' is larger than 1 MiB");
  }
}

// What is checked is what is read: a path may mean another file a moment later.
Result<std::string> read_file(const std::string& path, bool secret) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!fd) {
    Error error = errno_error("open", path, errno);
    if (error.code == ExitCode::no_input || error.sys_errno == ENOTDIR) error.code = ExitCode::config;
    return error;
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return errno_error("stat", path, errno);
  if (!S_ISREG(info.st_mode)) return bad("'" + path + "' is not a file");
  const mode_t mode = info.st_mode & 07777;
  if (secret && mode != 0400 && mode != 0440 && mode != 0600) {
    char octal[8];
    std::snprintf(octal, sizeof octal, "%04o", static_cast<unsigned>(mode));
    return Error{ExitCode::no_permission, 0, "'" + path + "' is not private: its mode is " + octal + ", expected 0400, 0440 or 0600"};
  }
  if (secret && info.st_uid != ::geteuid() && info.st_uid != 0)
    return Error{ExitCode::no_permission, 0,
                 "'" + path + "' is not private: it belongs to user " + std::to_string(info.st_uid) + ", expected user " + std::to_string(::geteuid())};
  return read_all(fd.get(), path);
}

std::string_view next_word(std::string_view& line) {
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return line = {};
  const size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
  std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

// What may stand in a header line (RFC 6750 allows less; other issuers allow more).
bool token_ok(std::string_view word) {
  for (char c : word)
    if (c <= 0x20 || c >= 0x7f) return false;
  return !word.empty();
}

bool is_https(std::string_view url) { return to_lower(url.substr(0, 8)) == "https://"; }

/// Runs a reader of files into `into`; empty paths leave it empty.
template <class Read>
Result<void> read_into(std::string& into, const std::string& path, Read read) {
  if (path.empty()) return {};
  GW_TRY_ASSIGN(into, read(path));
  return {};
}

}  // namespace

Result<std::string> read_named_file(const std::string& path) { return read_file(path, false); }
Result<std::string> read_secret_file(const std::string& path) { return read_file(path, true); }

Result<std::vector<Token>> parse_tokens(const std::string& path, std::string_view text) {
  std::vector<Token> tokens;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view first = next_word(line), second = next_word(line);
    if (first.empty() || first[0] == '#') continue;
    const std::string_view secret = second.empty() ? first : second, name = second.empty() ? std::string_view() : first;
    if (!next_word(line).empty()) return bad("'" + path + "' line " + std::to_string(number) + ": more than two words, expected a token, or a name and a token");
    if (!token_ok(secret) || (!name.empty() && !token_ok(name)))
      return bad("'" + path + "' line " + std::to_string(number) + ": bytes that no header line carries, expected printable ASCII");
    tokens.push_back({std::string(name), std::string(secret)});
  }
  if (tokens.empty()) return bad("'" + path + "' has no token, expected one a line");
  return tokens;
}

TokenSet::TokenSet(std::vector<Token> tokens) {
  for (Token& token : tokens) known_.push_back({std::move(token.name), sha256(token.secret)});
}

// Every digest is compared to its end.
const std::string* TokenSet::find(std::string_view secret) const {
  const Sha256 given = sha256(secret);
  const std::string* found = nullptr;
  for (const Known& known : known_) {
    unsigned difference = 0;
    for (size_t i = 0; i < given.size(); ++i) difference |= static_cast<unsigned>(given[i] ^ known.digest[i]);
    if (difference == 0 && !found) found = &known.name;
  }
  return found;
}

Result<LinkSecrets> read_link_secrets(const SiteConfig& site) {
  const bool https = is_https(site.address);
  if (!https && (!site.client_cert.empty() || !site.ca_file.empty()))
    return bad(std::string(site.client_cert.empty() ? "CaFile" : "ClientCert") + " with the address '" + site.address + "', expected https://");
  if (site.proxy.empty() && !site.proxy_user_file.empty()) return bad("ProxyUserFile without Proxy, expected both or none");
  LinkSecrets secrets;
  secrets.proxy = site.proxy;
  GW_TRY(read_into(secrets.ca_pem, site.ca_file, read_named_file));
  GW_TRY(read_into(secrets.cert_pem, site.client_cert, read_named_file));
  GW_TRY(read_into(secrets.key_pem, site.client_key, read_secret_file));
  if (!site.ca_file.empty()) GW_TRY(check_ca(site.ca_file, secrets.ca_pem));
  if (!site.client_cert.empty()) GW_TRY(check_certificate(site.client_cert, secrets.cert_pem, site.client_key, secrets.key_pem));
  if (!site.token_file.empty()) {
    GW_TRY_ASSIGN(std::string text, read_secret_file(site.token_file));
    GW_TRY_ASSIGN(auto tokens, parse_tokens(site.token_file, text));
    secrets.token = std::move(tokens.front().secret);
  }
  if (!site.proxy_user_file.empty()) {
    GW_TRY_ASSIGN(secrets.proxy_user, read_secret_file(site.proxy_user_file));
    secrets.proxy_user.resize(std::min(secrets.proxy_user.find_first_of("\r\n"), secrets.proxy_user.size()));
    if (secrets.proxy_user.find(':') == std::string::npos) return bad("'" + site.proxy_user_file + "' has no ':' in its first line, expected USER:PASSWORD");
  }
  return secrets;
}

std::vector<std::string> link_files(const SiteConfig& site) {
  std::vector<std::string> files;
  for (const std::string& path : {site.ca_file, site.client_cert, site.client_key, site.token_file, site.proxy_user_file})
    if (!path.empty()) files.push_back(path);
  return files;
}

Result<void> check_channel_security(const ChannelConfig& channel) {
  if (is_https(channel.address)) {
    if (channel.cert.empty() || channel.key.empty()) return bad("https without a certificate, expected Cert and Key (--tls-cert, --tls-key)");
    if (!channel.clients.empty() && channel.client_ca.empty()) return bad("Client elements without ClientCa, expected the CA of their certificates");
    return {};
  }
  const char* only_https = !channel.cert.empty()        ? "Cert"
                           : !channel.client_ca.empty() ? "ClientCa"
                           : !channel.ciphers.empty()   ? "Ciphers"
                           : !channel.clients.empty()   ? "Client"
                                                        : nullptr;
  if (only_https) return bad(std::string(only_https) + " with the address '" + channel.address + "', expected https://");
  return {};
}

Result<ChannelSecrets> read_channel_secrets(const ChannelConfig& channel) {
  ChannelSecrets secrets;
  GW_TRY(read_into(secrets.cert_pem, channel.cert, read_named_file));
  GW_TRY(read_into(secrets.key_pem, channel.key, read_secret_file));
  GW_TRY(read_into(secrets.client_ca_pem, channel.client_ca, read_named_file));
  if (!channel.cert.empty()) GW_TRY(check_certificate(channel.cert, secrets.cert_pem, channel.key, secrets.key_pem));
  if (!channel.client_ca.empty()) GW_TRY(check_ca(channel.client_ca, secrets.client_ca_pem));
  if (!channel.ciphers.empty()) GW_TRY(check_ciphers(channel.ciphers));
  if (!channel.token_file.empty()) {
    GW_TRY_ASSIGN(std::string text, read_secret_file(channel.token_file));
    GW_TRY_ASSIGN(secrets.tokens, parse_tokens(channel.token_file, text));
  }
  return secrets;
}

Result<void> check_config_files(const Config& config) {
  std::string lines;
  auto note = [&](int line, const std::string& element, const Error& error) {
    // Modes have been looked at already; whose files they are to be, the superuser cannot know here.
    if (error.code == ExitCode::no_permission && ::geteuid() == 0) return;
    lines += (lines.empty() ? "" : "\n") + config.path + ":" + std::to_string(line) + ": " + element + ": " + error.text;
  };
  for (const SiteConfig& site : config.sites)
    if (auto read = read_link_secrets(site); !read) note(site.line, "site '" + site.key + "'", read.error());
  for (const MachineConfig& machine : config.machines)
    if (auto read = read_link_secrets(machine.link); !read) note(machine.link.line, "machine '" + machine.name + "'", read.error());
  for (const ChannelConfig& channel : config.channels) {
    auto checked = check_channel_security(channel);
    if (checked)
      if (auto read = read_channel_secrets(channel); !read) checked = std::move(read).error();
    if (!checked) note(channel.line, "channel '" + channel.address + "'", checked.error());
  }
  if (!lines.empty()) return Error{ExitCode::config, 0, lines};
  return {};
}

std::string files_stamp(const std::vector<std::string>& paths) {
  std::string stamp;
  for (const std::string& path : paths) {
    struct stat file {};
    if (path.empty()) continue;
    if (::stat(path.c_str(), &file) == 0)
      stamp += std::to_string(file.st_dev) + "." + std::to_string(file.st_ino) + "." + std::to_string(file.st_size) + "." +
               std::to_string(file.st_mtim.tv_sec) + "." + std::to_string(file.st_mtim.tv_nsec) + "." + std::to_string(file.st_mode) + "." +
               std::to_string(file.st_ctim.tv_sec) + "." + std::to_string(file.st_ctim.tv_nsec);
    stamp += ";";
  }
  return stamp;
}

bool FilesWatch::changed(const std::vector<std::string>& paths) {
  std::string now = files_stamp(paths);
  const bool settled = now == seen_;
  seen_ = std::move(now);
  if (!settled || seen_ == used_) return false;
  used_ = seen_;
  return true;
}

}  // namespace gw
