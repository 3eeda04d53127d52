// Where other sites send their replies: the header OriginatingSite of what leaves this one.
#pragma once

#include <string>
#include <vector>

#include "config.hpp"
#include "result.hpp"

namespace gw {

/// usage: not an http(s) URL, or its host is a wildcard. Empty is fine.
Result<void> check_reply_to_uri(const std::string& uri);

/// `TYPE,URL`: `reply_to_uri` if it is not empty, else what the default channel says (or the first one). A wildcard host becomes
/// the host's name, with an event. Empty if there is nothing to go by.
std::string originating_site(const std::vector<ChannelConfig>& channels, const std::string& reply_to_uri);

}  // namespace gw
