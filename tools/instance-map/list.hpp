// Looking at the map: list, validate, resolve.
#pragma once

#include "options.hpp"

namespace gw::instance_map {

Result<ExitCode> list(const ListOptions& options, const CommonOptions& common);
Result<ExitCode> validate(const ValidateOptions& options, const CommonOptions& common);
Result<ExitCode> resolve(const ResolveOptions& options, const CommonOptions& common);

}  // namespace gw::instance_map
