// `instance-map publish`: one copy of an event for each subscriber.
#pragma once

#include "send_options.hpp"

namespace gw::instance_map {

Result<ExitCode> publish(const PublishOptions& options, const CommonOptions& common);

}  // namespace gw::instance_map
