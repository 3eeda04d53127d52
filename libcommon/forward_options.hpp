// The options of `gw-send forward`: gw-send shows and checks them, the program it starts obeys them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config.hpp"
#include "result.hpp"
#include "retry_policy.hpp"

namespace CLI {
class App;
}

namespace gw {

inline constexpr unsigned max_transfers_default = 256;
inline constexpr int64_t connect_timeout_default_ms = 10'000;
inline constexpr int64_t answer_timeout_default_ms = 100'000;

/// --cacert, --cert, --key.
void define_tls_options(CLI::App& app, std::string& cacert, std::string& cert, std::string& key);

/// What the command line said; empty: not given.
struct ForwardOptions {
  bool once = false, drain = false;
  std::string to, endpoint, error_queue;
  std::vector<std::string> sites;
  std::string retries, retry_increment, retry_policy, outages, give_up_after, probe_interval;
  std::string max_transfers, rate, connect_timeout, answer_timeout;
  std::string reply_to_uri;
  std::string cacert, cert, key;
  bool listed = false;  ///< take only the messages that stdin lists, end when they are done (gw-send --wait)
};
/// The options of `gw-send probe`, which the same program runs.
struct ProbeOptions {
  std::string to, size, endpoint, connect_timeout, answer_timeout, cacert, cert, key;
  std::vector<std::string> sites, headers;
};
void define_probe_options(CLI::App& app, ProbeOptions& into);
extern const char probe_usage[];
extern const char probe_examples[];

/// The one word of `gw-forward fetch`.
void define_fetch_options(CLI::App& app, std::string& url);

void define_forward_options(CLI::App& app, ForwardOptions& into);
extern const char forward_usage[];
extern const char forward_examples[];

/// Options and configuration together.
struct ForwardSettings {
  RetryPolicy policy;
  std::string endpoint, error_queue = "error";
  std::string retry_policy;  ///< a program; empty: the schedule
  std::string reply_to_uri;  ///< of the command line; empty: what the channels say
  std::string ca_file, client_cert, client_key;  ///< for https sites without their own
  unsigned max_transfers = max_transfers_default;
  uint64_t rate_bytes = 0;  ///< per second, 0: no limit
  int64_t connect_timeout_ms = connect_timeout_default_ms, answer_timeout_ms = answer_timeout_default_ms;
};
/// Command-line options win over the file. usage: a value that cannot be read, naming the option.
Result<ForwardSettings> resolve_forward_settings(const ForwardOptions& options, const Config& config);

/// The configuration with the sites of --site in it.
Result<Config> load_config_with_sites(const std::string& path, bool must_exist, const std::vector<std::string>& site_options);

}  // namespace gw
