// Which sites a command line means: keys, shell patterns and groups, and --site on top of the file.
#include <fnmatch.h>

#include <algorithm>

#include "config.hpp"
#include "config_names.hpp"
#include "program.hpp"
#include "queue.hpp"
#include "suggest.hpp"

namespace gw {

namespace {

bool is_pattern(std::string_view word) {
  return word.find_first_of("*?[") != std::string_view::npos;
}

bool means(const std::string& word, const SiteConfig& site) {
  if (word == site.key) return true;
  if (is_machine_key(site.key)) return is_machine_key(word) && fnmatch(word.c_str(), site.key.c_str(), FNM_CASEFOLD) == 0;
  if (std::find(site.groups.begin(), site.groups.end(), word) != site.groups.end()) return true;
  return is_pattern(word) && fnmatch(word.c_str(), site.key.c_str(), 0) == 0;
}

// What helps when no site has that name.
std::string hint_at_sites(const Config& config, const std::string& missing) {
  if (!config.missing_path.empty()) return "; there is no file '" + config.missing_path + "' (use --config FILE or --site KEY=URL)";
  std::vector<std::string> known;
  for (const SiteConfig& site : config.sites) {
    known.push_back(site.key);
    known.insert(known.end(), site.groups.begin(), site.groups.end());
  }
  const std::string hint = suggest(missing, known);
  return hint.empty() ? "" : "; " + hint;
}

Error bad_site(const std::string& text, const std::string& why) {
  return Error{ExitCode::usage, 0, "--site '" + text + "': " + why + ", expected KEY=URL[,TYPE]"};
}

}  // namespace

Result<void> add_site_option(Config& config, const std::string& text) {
  size_t equals = text.find('=');
  if (equals == std::string::npos) return bad_site(text, "no '='");
  std::string key = text.substr(0, equals), address = text.substr(equals + 1), type = "http";
  if (key.size() + sizeof "site." - 1 > queue_name_bytes_max || !queue_name_ok(key))
    return bad_site(text, "'" + key + "' is no site key (letters, digits, dots, underscores, dashes)");
  if (std::string named = split_channel_type(address); !named.empty()) type = std::move(named);
  if (address.empty() || (is_http_type(type) && !http_url_ok(address, false))) return bad_site(text, "'" + address + "' is no address");
  if (!is_http_type(type))
    if (auto program = find_channel_program(type); !program) return bad_site(text, program.error().text);
  auto same = std::find_if(config.sites.begin(), config.sites.end(), [&](const SiteConfig& s) { return s.key == key; });
  SiteConfig& site = same != config.sites.end() ? *same : config.sites.emplace_back();
  site.key = key;
  site.address = address;
  site.channel_type = type;
  return {};
}

namespace {

/// Those that are meant, in their order, each once. `missing`: words that mean none.
std::vector<const SiteConfig*> meant_by(const std::vector<std::string>& words, const std::vector<const SiteConfig*>& known, std::string& missing) {
  std::vector<bool> meant(known.size());
  for (const std::string& word : words) {
    bool any = false;
    for (size_t i = 0; i < known.size(); ++i)
      if (means(word, *known[i])) meant[i] = any = true;
    if (!any) missing += (missing.empty() ? "" : ", ") + word;
  }
  std::vector<const SiteConfig*> found;
  for (size_t i = 0; i < known.size(); ++i)
    if (meant[i]) found.push_back(known[i]);
  return found;
}

Error not_configured(const Config& config, const std::string& missing) {
  return Error{ExitCode::usage, 0, "the following sites have not been configured: " + missing + hint_at_sites(config, missing)};
}

}  // namespace

Result<std::vector<const SiteConfig*>> resolve_sites(const Config& config, const std::string& sites) {
  const std::vector<std::string> words = split_list(sites);
  if (words.empty()) return Error{ExitCode::usage, 0, "no site is named, expected keys, patterns or groups, separated by commas"};
  std::vector<const SiteConfig*> known;
  for (const SiteConfig& site : config.sites) known.push_back(&site);
  std::string missing;
  auto found = meant_by(words, known, missing);
  if (!missing.empty()) return not_configured(config, missing);
  return found;
}

Result<std::vector<const SiteConfig*>> resolve_links(const Config& config, const std::string& text) {
  std::vector<std::string> sites = split_list(text);
  const auto first = std::stable_partition(sites.begin(), sites.end(), [](const std::string& word) { return !is_machine_key(word); });
  const std::vector<std::string> machines(first, sites.end());
  if (machines.empty()) return resolve_sites(config, text);
  sites.erase(first, sites.end());
  std::vector<const SiteConfig*> known, known_machines;
  for (const SiteConfig& site : config.sites) known.push_back(&site);
  for (const MachineConfig& machine : config.machines) known_machines.push_back(&machine.link);
  std::string missing;
  auto found = meant_by(sites, known, missing);
  if (!missing.empty()) return not_configured(config, missing);
  const auto found_machines = meant_by(machines, known_machines, missing);
  if (!missing.empty()) return Error{ExitCode::usage, 0, "the following machines have not been configured: " + missing};
  found.insert(found.end(), found_machines.begin(), found_machines.end());
  return found;
}

}  // namespace gw
