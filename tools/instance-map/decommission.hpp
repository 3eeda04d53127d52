// Taking an instance out of service: the six steps as one command that can be interrupted and resumed at any point.
#pragma once

#include "options.hpp"

namespace gw::instance_map {

struct DecommissionOptions {
  MapOptions map;
  std::string address, drain_timeout;
  std::vector<std::string> ignored;
  bool status = false, rollback = false;
};
void define_decommission(CLI::App& app, DecommissionOptions& into);
Result<ExitCode> decommission(const DecommissionOptions& options, const CommonOptions& common);

}  // namespace gw::instance_map
