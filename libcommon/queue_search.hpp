// Going through all that there is: finding a message in a long queue without reading each one, and checking a whole root.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "queue.hpp"
#include "result.hpp"

namespace gw {

/// Numbers of the live messages in whose headers, or small bodies, these bytes stand, in order: read them to see which are meant. At least
/// one byte. Goes through the log as it lies on the disk, so it takes a second for some gigabytes.
Result<std::vector<uint64_t>> search_queue(Root& root, const Queue& queue, std::string_view bytes);

/// A number above those of all messages that can be seen now.
Result<uint64_t> end_of_queue(Root& root, const Queue& queue);

/// As Root::check(), for those who want to see how far it is: calls `checked_one` for each live message.
Result<Root::CheckReport> check_root(Root& root, bool repair, const std::function<void()>& checked_one);

}  // namespace gw
