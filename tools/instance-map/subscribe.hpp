// `instance-map subscribe`, `unsubscribe` and `subscriptions`.
#pragma once

#include "send_options.hpp"

namespace gw::instance_map {

Result<ExitCode> subscribe(const SubscribeOptions& options, const CommonOptions& common);
Result<ExitCode> unsubscribe(const SubscribeOptions& options, const CommonOptions& common);
Result<ExitCode> subscriptions(const SubscriptionsOptions& options, const CommonOptions& common);

}  // namespace gw::instance_map
