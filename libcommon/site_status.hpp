// How things stand with each site: what waits for it, when it was reached last, what it said.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json.hpp"
#include "outboxes.hpp"

namespace gw {

struct SiteStatus {
  std::string site, address, channel_type;
  std::string state = "up";  ///< up, down, not-ready, held
  std::string last_error;
  uint64_t waiting = 0, waiting_bytes = 0, in_flight = 0;
  int64_t oldest_put_ms = 0, last_delivered_ms = 0, next_try_ms = 0;  ///< 0: none
  int64_t age_ms(int64_t now) const;
};

/// messages: looks at each that waits. counts: in the time that Queue::status() takes; the oldest is the oldest ready one then, and
/// the next try is not that of a single message.
enum class SiteLook { messages, counts };
Result<std::vector<SiteStatus>> site_statuses(const Root& root, const std::vector<Outbox>& outboxes, SiteLook look, int64_t now_ms);
/// The members of CLI.md, `kind` and `site` first.
JsonObject site_json(const SiteStatus& status, int64_t now_ms);

/// The processes that forward for all or one of these outboxes.
struct Forwarder {
  int pid = 0;
  int64_t since_ms = 0;
};
std::vector<Forwarder> running_forwarders(const Root& root, const std::vector<Outbox>& outboxes);

}  // namespace gw
