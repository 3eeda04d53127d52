#include "gateway_route.hpp"

#include <algorithm>

#include "config_names.hpp"
#include "hash.hpp"
#include "queue.hpp"

namespace gw {
namespace {

constexpr std::string_view unlisted_prefix = "at-";
constexpr size_t key_address_bytes_max = 80, key_digits = 16;
constexpr const char* no_destination = "No destination found for message";

/// `text` without a last `WORD=<digits>Default=<bool>`.
std::string_view without_settings(std::string_view text) {
  for (std::string_view word : {"NumberOfWorkerThreads=", "MaxConcurrency="}) {
    const size_t at = text.rfind(word);
    if (at == std::string_view::npos) continue;
    std::string_view rest = text.substr(at + word.size());
    const size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    rest.remove_prefix(digits);
    if (digits > 0 && (rest == "Default=True" || rest == "Default=False")) return text.substr(0, at);
  }
  return text;
}

/// For comparing: scheme and host in lower case, one slash at the end.
std::string comparable(const std::string& type, const std::string& address) {
  if (!is_http_type(type)) return address;
  const size_t host = address.find("://");
  const size_t path = host == std::string::npos ? 0 : std::min(address.find('/', host + 3), address.size());
  std::string text = to_lower(std::string_view(address).substr(0, path)) + address.substr(path);
  if (!text.ends_with('/')) text += '/';
  return text;
}

/// http and https are one type: the address says which.
std::string family(const std::string& type) { return type == "https" ? "http" : type == "httpsvnext" ? "httpvnext" : type; }

bool usable(const SiteAddress& at) {
  return channel_type_ok(at.type) && !at.address.empty() && (!is_http_type(at.type) || http_url_ok(at.address, false));
}

/// The original takes raw addresses for keys.
std::optional<SiteAddress> address_in_key(const std::string& key) {
  const size_t colon = key.find(':');
  if (colon == std::string::npos) return std::nullopt;
  SiteAddress at{to_lower(key.substr(0, colon)), key};
  if (!usable(at)) return std::nullopt;
  return at;
}

/// Senders name these addresses: those that nobody has configured get HTTP requests and nothing else.
std::optional<SiteConfig> site_for(const std::vector<SiteConfig>& sites, const SiteAddress& at) {
  if (const SiteConfig* known = site_with_address(sites, at)) return *known;
  if (!is_http_type(at.type)) return std::nullopt;
  return unlisted_site(at);
}

GatewayRoute problem(std::string text) {
  GatewayRoute route;
  route.problem = std::move(text);
  return route;
}

GatewayRoute route_reply(const Headers& headers, const std::vector<SiteConfig>& sites) {
  const std::string_view text = headers.get(header::originating_site);
  if (text.empty()) return problem(no_destination);
  const auto at = parse_originating_site(text);
  if (!at) return problem("the header '" + std::string(header::originating_site) + "' is not TYPE,ADDRESS: '" + std::string(text) + "'");
  auto site = site_for(sites, *at);
  if (!site) return problem("no site with the address '" + at->type + "," + at->address + "' is configured");
  GatewayRoute route;
  route.sites.push_back(*std::move(site));
  return route;
}

}  // namespace

std::optional<SiteAddress> parse_originating_site(std::string_view text) {
  const size_t comma = text.find(',');
  if (comma == std::string_view::npos) return std::nullopt;
  SiteAddress at{to_lower(text.substr(0, comma)), std::string(without_settings(text.substr(comma + 1)))};
  if (!usable(at)) return std::nullopt;
  return at;
}

SiteConfig unlisted_site(const SiteAddress& at) {
  std::string name(std::string_view(at.address).substr(std::min(at.address.find("://"), at.address.size())));
  const bool is_url = !name.empty();
  name = is_url ? name.substr(3) : at.address;
  name.resize(std::min(name.size(), key_address_bytes_max));
  for (char& c : name)
    if (!queue_name_ok(std::string("x") + c)) c = '-';
  while (name.ends_with('-')) name.pop_back();
  const Sha256 digest = sha256(family(at.type) + "," + comparable(at.type, at.address));
  const std::string digits = hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size())).substr(0, key_digits);
  SiteConfig site;
  site.key = std::string(unlisted_prefix) + name + "-" + digits;
  site.address = at.address;
  site.channel_type = at.type;
  return site;
}

bool is_unlisted_key(std::string_view key) {
  if (!key.starts_with(unlisted_prefix) || key.size() < unlisted_prefix.size() + 1 + key_digits) return false;
  const std::string_view digits = key.substr(key.size() - key_digits);
  return key[key.size() - key_digits - 1] == '-' && digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<SiteAddress> address_of_copy(const Headers& headers) {
  if (headers.get(header::message_intent) == "Reply") return parse_originating_site(headers.get(header::originating_site));
  return address_in_key(std::string(headers.get(header::destination_sites)));
}

const SiteConfig* site_with_address(const std::vector<SiteConfig>& sites, const SiteAddress& at) {
  const std::string wanted = comparable(at.type, at.address);
  auto found = std::find_if(sites.begin(), sites.end(), [&](const SiteConfig& site) {
    return family(site.channel_type) == family(at.type) && comparable(site.channel_type, site.address) == wanted;
  });
  return found == sites.end() ? nullptr : &*found;
}

bool is_answer_to(const Headers& headers, const SiteAddress& at) {
  if (headers.get(header::message_intent) != "Reply") return false;
  const auto origin = parse_originating_site(headers.get(header::originating_site));
  return origin && family(origin->type) == family(at.type) && comparable(origin->type, origin->address) == comparable(at.type, at.address);
}

GatewayRoute route_gateway_message(const Headers& headers, const std::vector<SiteConfig>& sites) {
  if (headers.get(header::message_intent) == "Reply") return route_reply(headers, sites);
  const std::vector<std::string> keys = split_list(headers.get(header::destination_sites));
  if (keys.empty()) return problem(no_destination);
  GatewayRoute route;
  std::string missing;
  for (const std::string& key : keys) {
    auto known = std::find_if(sites.begin(), sites.end(), [&](const SiteConfig& site) { return site.key == key; });
    std::optional<SiteConfig> site;
    if (known != sites.end())
      site = *known;
    else if (const auto raw = address_in_key(key))
      site = site_for(sites, *raw);
    if (!site) {
      missing += (missing.empty() ? "" : ", ") + key;
      continue;
    }
    auto same = [&](const SiteConfig& other) { return other.key == site->key; };
    if (std::none_of(route.sites.begin(), route.sites.end(), same)) route.sites.push_back(*std::move(site));
  }
  if (missing.empty()) return route;
  route = problem("The following sites have not been configured: " + missing);
  route.unknown_site = true;
  return route;
}

}  // namespace gw
