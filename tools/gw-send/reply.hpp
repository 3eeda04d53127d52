// `gw-send reply`: an answer to a message, put where that message says that answers go.
#pragma once

#include <string>
#include <string_view>

#include "message.hpp"
#include "options.hpp"
#include "tool.hpp"

namespace gw {

/// The headers that make a message the answer to `incoming` and that lead it back through a gateway, as NServiceBus sets them.
/// `endpoint`: who answers; may be empty.
Headers reply_headers(const Headers& incoming, std::string_view endpoint);

Result<ExitCode> reply(const ReplyOptions& options, const CommonOptions& common);

}  // namespace gw
