#include "channel.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include <charconv>

#include "config_names.hpp"
#include "program.hpp"

namespace gw::listen {

namespace {

constexpr const char* expected = "expected http://HOST:PORT/PATH/ or https://HOST:PORT/PATH/ with HOST a name, an IPv4 address, + or *";

Error bad(std::string_view address, const std::string& why) {
  return Error{ExitCode::config, 0, "channel '" + std::string(address) + "': " + why};
}

bool is_ipv4(const std::string& host) {
  in_addr parsed{};
  return ::inet_pton(AF_INET, host.c_str(), &parsed) == 1;
}

bool host_ok(std::string_view host) {
  if (host == "+" || host == "*") return true;
  return !host.empty() && host.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_") == std::string_view::npos;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// nullopt-like empty: an escape that is none, or NUL.
std::string percent_decode(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      if (text[i] == 0) return {};
      result += text[i];
      continue;
    }
    int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1, low = high >= 0 ? hex_value(text[i + 2]) : -1;
    if (low < 0 || (high == 0 && low == 0)) return {};
    result += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return result;
}

bool has_dot_segment(std::string_view path) {
  for (size_t at = 0; at < path.size();) {
    size_t end = path.find('/', at + 1);
    if (end == std::string_view::npos) end = path.size();
    std::string_view segment = path.substr(at + 1, end - at - 1);
    if (segment == ".." || segment == ".") return true;
    at = end;
  }
  return false;
}

}  // namespace

std::string Channel::url() const {
  if (!program.empty()) return type + "," + address;
  return (https ? "https://" : "http://") + host + ":" + std::to_string(port) + path;
}

Result<Channel> parse_channel(std::string_view address) {
  Channel channel;
  channel.address = address;
  std::string_view rest = address;
  size_t scheme = rest.find("://");
  if (scheme == std::string_view::npos) return bad(address, expected);
  std::string_view name = rest.substr(0, scheme);
  channel.https = name.size() == 5 && ::strncasecmp(name.data(), "https", 5) == 0;
  if (!channel.https && (name.size() != 4 || ::strncasecmp(name.data(), "http", 4) != 0)) return bad(address, expected);
  if (channel.https) channel.port = 443;
  rest.remove_prefix(scheme + 3);
  size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  std::string_view path = slash == std::string_view::npos ? std::string_view("/") : rest.substr(slash);
  if (!authority.empty() && authority[0] == '[') return bad(address, "IPv6 addresses cannot be listened on");
  size_t colon = authority.find(':');
  channel.host = authority.substr(0, colon);
  if (!host_ok(channel.host)) return bad(address, expected);
  if (colon != std::string_view::npos) {
    std::string_view digits = authority.substr(colon + 1);
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), channel.port);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return bad(address, "the port must be a number from 0 to 65535");
  }
  if (path.find_first_of("?#") != std::string_view::npos) return bad(address, "a channel has no query and no fragment");
  channel.path = decode_path(path);
  if (channel.path.empty()) return bad(address, "the path must not contain '.', '..' or broken escapes");
  if (channel.path.back() != '/') channel.path += '/';
  bool loopback = ::strcasecmp(channel.host.c_str(), "localhost") == 0;
  channel.bind_address = loopback ? "127.0.0.1" : is_ipv4(channel.host) ? channel.host : "0.0.0.0";
  return channel;
}

Result<Channel> parse_channel_of_type(const std::string& type, const std::string& address) {
  if (is_http_type(type)) {
    GW_TRY_ASSIGN(Channel channel, parse_channel(address));
    channel.type = type;
    return channel;
  }
  if (address.empty()) return bad(address, "a channel of type '" + type + "' without an address");
  Channel channel;
  channel.type = type;
  channel.address = address;
  channel.port = 0;
  GW_TRY_ASSIGN(channel.program, find_channel_program(type));
  return channel;
}

namespace {

bool same_tls(const Channel& a, const Channel& b) {
  return a.https == b.https && a.cert == b.cert && a.key == b.key && a.client_ca == b.client_ca && a.ciphers == b.ciphers;
}

}  // namespace

Result<void> check_channels(const std::vector<Channel>& channels) {
  for (size_t i = 0; i < channels.size(); ++i)
    for (size_t k = 0; k < i; ++k) {
      const bool both_over_http = channels[i].program.empty() && channels[k].program.empty();
      if (!both_over_http && channels[i].type == channels[k].type && channels[i].address == channels[k].address)
        return bad(channels[i].address, "is there twice");
      if (!both_over_http || channels[i].port == 0 || channels[i].port != channels[k].port) continue;
      if (channels[i].path == channels[k].path) return bad(channels[i].address, "gets the same requests as channel '" + channels[k].address + "'");
      if (!same_tls(channels[i], channels[k]))
        return bad(channels[i].address, "shares its port with channel '" + channels[k].address + "', expected the same Cert, Key, ClientCa and Ciphers");
    }
  return {};
}

std::string decode_path(std::string_view target) {
  std::string_view path = target.substr(0, target.find('?'));
  if (size_t scheme = path.find("://"); scheme != std::string_view::npos && scheme < path.find('/')) {
    // The absolute form, as sent to a proxy.
    path.remove_prefix(scheme + 3);
    size_t slash = path.find('/');
    path = slash == std::string_view::npos ? std::string_view("/") : path.substr(slash);
  }
  if (path.empty() || path[0] != '/') return {};
  std::string decoded = percent_decode(path);
  return has_dot_segment(decoded) ? std::string() : decoded;
}

bool path_matches(const Channel& channel, std::string_view path) {
  std::string_view own = channel.path;
  if (path.starts_with(own)) return true;
  own.remove_suffix(1);
  return path == own;
}

const Channel* find_channel(const std::vector<Channel>& channels, uint16_t port, std::string_view path) {
  const Channel* best = nullptr;
  for (const Channel& channel : channels)
    if (channel.program.empty() && channel.port == port && path_matches(channel, path) && (!best || channel.path.size() > best->path.size())) best = &channel;
  return best;
}

}  // namespace gw::listen
