#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::instance_map {

void define_map_options(CLI::App& app, MapOptions& into) {
  app.add_option("--map", into.map, "the instance map [instance-mapping.xml beside the configuration file]")->type_name("FILE|URL");
  app.add_option("--routing", into.routing, "which endpoint gets which messages [routing.xml beside the configuration file]")->type_name("FILE");
  app.add_option("--refresh", into.refresh, "how often the files are read again, 1s to 1d; changes are seen at once [30s]")->type_name("T");
  app.add_flag("--loose", into.loose, "instances may have attributes that nothing knows (schema version 1)");
  app.add_flag("--allow-empty", into.allow_empty, "take a map without an endpoint that still gets messages");
}

Result<MapSettings> map_settings(const MapOptions& options, const CommonOptions& common) {
  MapSettings settings = default_map_settings(common.config);
  if (!options.map.empty()) {
    settings.map = options.map;
    settings.map_given = true;
  }
  if (!options.routing.empty()) {
    settings.routing = options.routing;
    settings.routing_given = true;
  }
  if (!options.refresh.empty()) {
    GW_TRY_ASSIGN(settings.refresh_ms, parse_refresh(options.refresh));
  }
  settings.schema = options.loose ? InstanceTable::Schema::loose : InstanceTable::Schema::strict;
  settings.allow_empty = options.allow_empty;
  settings.config_given = common.config_given;
  return settings;
}

void define_list(CLI::App& app, ListOptions& into) {
  define_map_options(app, into.map);
  app.add_flag("--follow", into.follow, "print changes of the map until told to stop");
}

void define_validate(CLI::App& app, ValidateOptions& into) {
  define_map_options(app, into.map);
  app.add_option("FILE", into.file, "an instance map or a routing file [both of the command line or the configuration]");
}

void define_resolve(CLI::App& app, ResolveOptions& into) {
  define_map_options(app, into.map);
  app.add_option("--type", into.type, "the type of the message, with or without its assembly")->type_name("T");
}

namespace {

void define_address(CLI::App& app, EditOptions& into) {
  define_map_options(app, into.map);
  app.add_option("ADDR", into.address, "QUEUE@MACHINE, or QUEUE on this machine");
}

}  // namespace

void define_add(CLI::App& app, EditOptions& into) {
  define_address(app, into);
  app.add_option("--endpoint", into.endpoint, "the endpoint that gets the instance [the queue's name]")->type_name("E");
}

void define_remove(CLI::App& app, EditOptions& into) { define_address(app, into); }

}  // namespace gw::instance_map
