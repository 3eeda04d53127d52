// What the words of a command line mean; options*.cpp are the only files here that know the parser.
#pragma once

#include <string>
#include <vector>

#include "map_source.hpp"
#include "tool.hpp"

namespace CLI {
class App;
}

namespace gw::instance_map {

/// What all commands have.
struct MapOptions {
  std::string map, routing, refresh;
  bool loose = false, allow_empty = false;
};
void define_map_options(CLI::App& app, MapOptions& into);
/// With the defaults beside the configuration file. usage: a bad --refresh.
Result<MapSettings> map_settings(const MapOptions& options, const CommonOptions& common);

struct ListOptions {
  MapOptions map;
  bool follow = false;
};
void define_list(CLI::App& app, ListOptions& into);

struct ValidateOptions {
  MapOptions map;
  std::string file;
};
void define_validate(CLI::App& app, ValidateOptions& into);

struct ResolveOptions {
  MapOptions map;
  std::string type;
};
void define_resolve(CLI::App& app, ResolveOptions& into);

struct EditOptions {
  MapOptions map;
  std::string address, endpoint;
};
void define_add(CLI::App& app, EditOptions& into);
void define_remove(CLI::App& app, EditOptions& into);

}  // namespace gw::instance_map
