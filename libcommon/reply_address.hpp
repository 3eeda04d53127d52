// Where other sites send their replies: the header OriginatingSite of what leaves this one.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config.hpp"
#include "result.hpp"

namespace gw {

/// usage: not an http(s) URL, or its host is a wildcard. Empty is fine.
Result<void> check_reply_to_uri(const std::string& uri);

/// `TYPE,URL`: `reply_to_uri` if it is not empty, else what the default channel says (or the first one). A wildcard host becomes
/// the host's name, with an event. Empty if there is nothing to go by, or the port is 0.
std::string originating_site(const std::vector<ChannelConfig>& channels, const std::string& reply_to_uri);

/// Tells the forwarders of this root, now and later, by which address others reach `endpoint`. Durable.
Result<void> publish_originating_site(const std::string& root_path, const std::string& endpoint, const std::string& site);
/// What the listeners of this root have published: endpoint -> `TYPE,URL`. Unreadable ones are left out.
std::map<std::string, std::string> published_originating_sites(const std::string& root_path);
/// Changes when somebody publishes. Cheap.
int64_t published_stamp(const std::string& root_path);

}  // namespace gw
