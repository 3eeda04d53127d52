// Finding a message in a long queue without reading each one.
#pragma once

#include <cstdint>
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

}  // namespace gw
