// The outboxes of a root and the sites they belong to.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config.hpp"
#include "queue.hpp"

namespace gw {

/// A site and its outbox; a site may have none yet, an outbox no configured site any more.
struct Outbox {
  std::string site;
  std::optional<SiteConfig> config;
  Queue queue;  ///< null: nothing was ever sent there
};

/// Those of `to` (keys, patterns, groups, machines as @NAME), or all: the configured ones in their order, then what else lies in the root.
Result<std::vector<Outbox>> find_outboxes(Root& root, const Config& config, const std::string& to);

/// The process that forwards for this site: the one for the whole root, or one that was given this site.
Root::SingletonInfo forwarder_of(const Root& root, const std::string& site);

}  // namespace gw
