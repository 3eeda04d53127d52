#include "endpoint_queue.hpp"

#include "diag.hpp"

namespace gw::listen {

Result<Queue> EndpointQueue::find_one(const std::string& name, bool known) {
  auto there = root_.queue(name);
  if (there || there.error().code != ExitCode::no_input) return there;
  GW_TRY_ASSIGN(Queue made, root_.create_queue(name));
  if (known) event(Level::warn, "queue-made-anew", {{"queue", name}, {"reason", "it had been removed"}});
  return made;
}

Result<void> EndpointQueue::find() {
  const bool known = static_cast<bool>(current());
  GW_TRY_ASSIGN(Queue found, find_one(name_, known));
  GW_TRY(find_one(name_ + ".gateway", known));
  std::lock_guard<std::mutex> one(mutex_);
  queue_ = std::move(found);
  return {};
}

}  // namespace gw::listen
