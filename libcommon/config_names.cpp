#include "config_names.hpp"

#include <algorithm>

namespace gw {

namespace {

constexpr std::string_view site_outbox_prefix = "site.", machine_outbox_prefix = "machine.";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}

bool time_of_day_ok(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return false;
  for (size_t i : {0, 1, 3, 4})
    if (!is_digit(text[i])) return false;
  int hour = (text[0] - '0') * 10 + (text[1] - '0'), minute = (text[3] - '0') * 10 + (text[4] - '0');
  return hour < 24 && minute < 60;
}

bool port_ok(std::string_view text) {
  if (text.empty() || text.size() > 5 || !std::all_of(text.begin(), text.end(), is_digit)) return false;
  int port = 0;
  for (char c : text) port = port * 10 + (c - '0');
  return port <= 65535;
}

bool host_ok(std::string_view host, bool wildcard) {
  if (host == "+" || host == "*") return wildcard;
  if (host.starts_with("["))
    return host.size() > 2 && host.ends_with("]") && host.find_first_not_of("0123456789abcdefABCDEF:.%", 1) == host.size() - 1;
  return !host.empty() &&
         host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == std::string_view::npos;
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    size_t begin = word.find_first_not_of(" \t");
    if (begin != std::string_view::npos) words.emplace_back(word.substr(begin, word.find_last_not_of(" \t") - begin + 1));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return words;
}

bool channel_type_ok(std::string_view type) {
  if (type.empty() || type.size() > 64 || !is_lower(type[0])) return false;
  return std::all_of(type.begin(), type.end(), [](char c) { return is_lower(c) || is_digit(c) || c == '.' || c == '-'; });
}

bool is_http_type(std::string_view type) {
  return type == "http" || type == "https" || type == "httpvnext" || type == "httpsvnext";
}

std::string split_channel_type(std::string& address) {
  const size_t comma = address.rfind(',');
  if (comma == std::string::npos) return {};
  std::string word = to_lower(std::string_view(address).substr(comma + 1));
  if (!channel_type_ok(word)) return {};
  address.resize(comma);
  return word;
}

bool is_envelope_type(std::string_view type) { return type == "httpvnext" || type == "httpsvnext"; }

bool http_url_ok(std::string_view url, bool wildcard) {
  for (char c : url)
    if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f) return false;
  std::string scheme = to_lower(url.substr(0, std::min(url.find("://"), url.size())));
  if ((scheme != "http" && scheme != "https") || url.size() == scheme.size()) return false;
  std::string_view rest = url.substr(scheme.size() + 3);
  std::string_view authority = rest.substr(0, std::min(rest.find_first_of("/?#"), rest.size()));
  size_t colon = authority.rfind(':');
  // The colons of an IPv6 address are inside of brackets.
  if (colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    if (!port_ok(authority.substr(colon + 1))) return false;
    authority = authority.substr(0, colon);
  }
  return host_ok(authority, wildcard);
}

bool origin_ok(std::string_view text) {
  return http_url_ok(text, false) && text.find_first_of("/?#", text.find("://") + 3) == std::string_view::npos;
}

bool window_ok(std::string_view window) {
  return window.size() == 11 && window[5] == '-' && time_of_day_ok(window.substr(0, 5)) && time_of_day_ok(window.substr(6)) &&
         window.substr(0, 5) != window.substr(6);
}

std::string key_of_machine(std::string_view name) { return std::string("@").append(name); }

std::string key_in_words(std::string_view key) {
  const bool machine = is_machine_key(key);
  return std::string(machine ? "machine '" : "site '").append(key.substr(machine ? 1 : 0)) + "'";
}

std::string outbox_of_site(std::string_view key) {
  if (is_machine_key(key)) return std::string(machine_outbox_prefix).append(key.substr(1));
  return std::string(site_outbox_prefix).append(key);
}

std::optional<std::string> site_of_outbox(std::string_view queue) {
  auto rest = [&](std::string_view prefix) { return queue.size() > prefix.size() && queue.starts_with(prefix) ? queue.substr(prefix.size()) : std::string_view(); };
  if (const std::string_view key = rest(site_outbox_prefix); !key.empty()) return std::string(key);
  if (const std::string_view name = rest(machine_outbox_prefix); !name.empty()) return key_of_machine(name);
  return std::nullopt;
}

std::string forwarder_lock(std::string_view key) {
  return is_machine_key(key) ? "forward-" + outbox_of_site(key) : std::string("forward.").append(key);
}

bool fingerprint_ok(std::string_view text) {
  return text.size() == 71 && text.starts_with("sha256:") && text.find_first_not_of("0123456789abcdefABCDEF", 7) == std::string_view::npos;
}

}  // namespace gw
