// How a site is reached beside its URL: certificates, tokens, proxies.
#pragma once

#include <memory>

#include "forward_options.hpp"
#include "secrets.hpp"

namespace gw {

using LinkPtr = std::shared_ptr<const LinkSecrets>;

/// With the certificates of the command line if it has none of its own.
SiteConfig with_default_certificates(SiteConfig site, const ForwardSettings& settings);

/// The certificates of the command line, also if no site needs them yet: a slip shows at the start. config or no_permission.
Result<void> check_default_certificates(const ForwardSettings& settings);

/// Reads the files of the site. Null: it has nothing but its URL. config or no_permission, naming FILE:LINE of the site.
Result<LinkPtr> read_link(const SiteConfig& site, const std::string& config_path);

}  // namespace gw
