#include "machine_door.hpp"

#include <fnmatch.h>

#include <algorithm>

#include "config_names.hpp"
#include "diag.hpp"

namespace gw::listen {

std::string machine_store(std::string_view machine) { return outbox_of_site(key_of_machine(machine)); }

bool queue_allowed(const std::vector<std::string>& allowed, const std::string& queue) {
  if (allowed.empty()) return !site_of_outbox(queue);
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), queue.c_str(), 0) == 0; });
}

Result<std::unique_ptr<MachineDoor>> MachineDoor::open(Root& root, std::string name, std::vector<std::string> allowed, StoreThread& thread,
                                                       std::function<void(const Error&)> on_doubt) {
  std::unique_ptr<MachineDoor> door(new MachineDoor(root, std::move(name), std::move(allowed), thread));
  GW_TRY_ASSIGN(door->store_, DedupStore::open(root.path(), door->store_name_, true));
  door->data_bus_.emplace(root.path(), door->store_name_, *door->store_, thread, std::move(on_doubt));
  return door;
}

Result<Queue> MachineDoor::find(const std::string& queue) {
  {
    std::lock_guard<std::mutex> one(mutex_);
    // Open already: only asked whether it is still there.
    if (queues_.contains(queue)) return root_.queue(queue);
  }
  std::optional<Result<Queue>> found;
  thread_.run([&] { found.emplace(root_.queue(queue)); });
  if (*found) {
    std::lock_guard<std::mutex> one(mutex_);
    queues_.insert_or_assign(queue, **found);
  }
  return *std::move(found);
}

std::optional<Queue> MachineDoor::open(const std::string& queue) {
  std::string why;
  if (!queue_name_ok(queue)) {
    why = "that is no queue's name";
  } else if (!queue_allowed(allowed_, queue)) {
    why = allowed_.empty() ? "an outbox is allowed only by name (--allow-queue)" : "it is not among those of --allow-queue";
  } else {
    auto found = find(queue);
    if (found) return *std::move(found);
    why = found.error().text;
    // It may be made again.
    std::lock_guard<std::mutex> one(mutex_);
    queues_.erase(queue);
  }
  event(Level::warn, "queue-not-allowed", {{"queue", queue}, {"reason", why}});
  return std::nullopt;
}

}  // namespace gw::listen
