#include "instance_notes.hpp"

#include "diag.hpp"
#include "units.hpp"

namespace gw::listen {

void InstanceNotes::note(const std::string& queue, const Headers& headers) {
  if (senders_.knows(queue, headers)) return;
  thread_.run([&] {
    // Without it a decommissioning waits longer; the message is as good as ever.
    if (auto noted = senders_.note(queue, headers); !noted) event(Level::warn, "sender-not-noted", {{"queue", queue}, {"reason", noted.error().text}});
  });
}

Result<std::optional<Destination>> InstanceNotes::instead_of(const std::string& queue) {
  if (!late_.may_be_closed(queue)) return std::optional<Destination>();
  std::optional<Result<std::optional<Destination>>> found;
  thread_.run([&] {
    const std::lock_guard one(mutex_);
    auto address = late_.address(queue);
    if (!address) {
      found.emplace(address.error());
    } else if (!*address) {
      found.emplace(std::optional<Destination>());
    } else {
      auto destination = destinations_.find(**address);
      if (destination) found.emplace(std::optional(*std::move(destination)));
      else found.emplace(destination.error());
    }
  });
  return *std::move(found);
}

void InstanceNotes::sent_on(const std::string& id, const std::string& queue, const std::string& to, const std::string& from) {
  event(Level::warn, "late-arrival", {{"id", id}, {"queue", queue}, {"to", to}, {"from", from}});
  thread_.run([&] {
    const std::lock_guard one(mutex_);
    if (auto counted = late_.arrived(queue); !counted) event(Level::warn, "late-arrival-not-counted", {{"queue", queue}, {"reason", counted.error().text}});
  });
}

}  // namespace gw::listen
