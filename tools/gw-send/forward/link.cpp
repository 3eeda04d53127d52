#include "link.hpp"

#include "config_names.hpp"

namespace gw {

SiteConfig with_default_certificates(SiteConfig site, const ForwardSettings& settings) {
  if (to_lower(site.address.substr(0, 8)) != "https://") return site;
  if (site.ca_file.empty()) site.ca_file = settings.ca_file;
  if (site.client_cert.empty()) {
    site.client_cert = settings.client_cert;
    site.client_key = settings.client_key;
  }
  return site;
}

Result<void> check_default_certificates(const ForwardSettings& settings) {
  SiteConfig any;
  any.address = "https://any/";
  any = with_default_certificates(std::move(any), settings);
  if (link_files(any).empty()) return {};
  if (auto read = read_link_secrets(any); !read) return std::move(read).error();
  return {};
}

Result<LinkPtr> read_link(const SiteConfig& site, const std::string& config_path) {
  if (site.proxy.empty() && link_files(site).empty()) return LinkPtr();
  auto read = read_link_secrets(site);
  if (read) return LinkPtr(std::make_shared<const LinkSecrets>(*std::move(read)));
  Error error = std::move(read).error();
  error.text = key_in_words(site.key) + ": " + error.text;
  if (site.line > 0) error.text = config_path + ":" + std::to_string(site.line) + ": " + error.text;
  return error;
}

}  // namespace gw
