// Root::check() for those who want to see how far it has come.
#pragma once

#include <functional>

#include "queue.hpp"
#include "result.hpp"

namespace gw {

/// As Root::check(); calls `checked_one` for each live message.
Result<Root::CheckReport> check_root(Root& root, bool repair, const std::function<void()>& checked_one);

}  // namespace gw
