// Which senders know the map as it is now.
#pragma once

#include "map_senders.hpp"
#include "options.hpp"

namespace gw::instance_map {

struct SendersOptions {
  MapOptions map;
  std::string endpoint, timeout;
  bool wait = false;
};
void define_senders(CLI::App& app, SendersOptions& into);
Result<ExitCode> senders(const SendersOptions& options, const CommonOptions& common);

}  // namespace gw::instance_map
