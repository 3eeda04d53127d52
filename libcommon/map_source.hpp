// Where the instance map and the routing come from: files, or http(s) addresses (fetched by a helper program: libcurl stays out of here).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "instance_table.hpp"
#include "result.hpp"
#include "routing_table.hpp"

namespace gw {

inline constexpr int64_t map_refresh_default_ms = 30'000, map_refresh_min_ms = 1'000, map_refresh_max_ms = 24ll * 3600 * 1000;

/// What a command line says of them.
struct MapSettings {
  std::string map, routing;  ///< paths or URLs
  bool map_given = false, routing_given = false;  ///< named by an option: then they must be there
  int64_t refresh_ms = map_refresh_default_ms;
  InstanceTable::Schema schema = InstanceTable::Schema::strict;
  std::string config;         ///< the configuration file, which knows the machines
  bool config_given = false;  ///< then it must be there
  bool allow_empty = false;  ///< a map without an endpoint that still gets messages is taken all the same
};

/// instance-mapping.xml and routing.xml beside the configuration file.
MapSettings default_map_settings(const std::string& config_path);

/// 1s to 1d. usage: out of range, in the original's words, or not a duration.
Result<int64_t> parse_refresh(const std::string& text);

bool is_url(std::string_view source);
/// The path made absolute (by the current directory), a URL as it is.
std::string absolute_source(const std::string& source);

/// The text at a path or URL, without a byte order mark. no_input: there is none. unavailable: the server does not answer with 200.
Result<std::string> read_source(const std::string& source);

/// The name of this machine: <root>/machine, else the host's name.
std::string machine_name(const std::string& root_path);

/// What is there now, and nothing else: no last good ones. no_input: "The specified instance mapping file does not exist." config: with
/// the original's text before "FILE:LINE:COLUMN: ...".
Result<InstanceTable> load_instances(const MapSettings& settings, const std::string& this_machine);
Result<InstanceTable> parse_instances(const MapSettings& settings, const std::string& text, const std::string& this_machine);
/// A table without routes if the default file is not there.
Result<RoutingTable> load_routes(const MapSettings& settings);
Result<RoutingTable> parse_routes(const MapSettings& settings, const std::string& text);
/// The file is not there (and not: it cannot be read).
bool is_missing(const Error& error);

/// Says in events what was read all the same: unknown attributes, mappings of the original. Once for each source, until it has others. Any
/// thread may call it.
void tell_map_warnings(const std::string& source, const std::vector<MapWarning>& warnings, bool falling_back);

}  // namespace gw
