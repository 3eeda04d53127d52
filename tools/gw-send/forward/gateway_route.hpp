// Where a message of a gateway queue goes: an answer to the site it answers, anything else to its DestinationSites.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "message.hpp"

namespace gw {

/// What NServiceBus calls a site: a type of channel and an address there.
struct SiteAddress {
  std::string type, address;
};
/// `TYPE,ADDRESS` of the header OriginatingSite; what NServiceBus 3 appended to it by mistake is left out. nullopt: it is not that.
std::optional<SiteAddress> parse_originating_site(std::string_view text);

/// A site that no configuration names: its key is made of the address, always the same, and can be no configured one by chance.
SiteConfig unlisted_site(const SiteAddress& at);
/// Is this key one of those?
bool is_unlisted_key(std::string_view key);
/// For the outbox of such a site: the address that the first of its messages goes to.
std::optional<SiteAddress> address_of_copy(const Headers& headers);
/// The configured site with this address, else nullptr. Case of the type and of scheme and host, and a last slash, do not matter.
const SiteConfig* site_with_address(const std::vector<SiteConfig>& sites, const SiteAddress& at);

/// Does the message say that it is the answer to a message from there?
bool is_answer_to(const Headers& headers, const SiteAddress& at);

struct GatewayRoute {
  std::vector<SiteConfig> sites;  ///< each gets a copy; not empty unless `problem` says why
  std::string problem;
  bool unknown_site = false;      ///< the problem is a key that this configuration does not have
};
GatewayRoute route_gateway_message(const Headers& headers, const std::vector<SiteConfig>& sites);

}  // namespace gw
