#include "failure_groups.hpp"

#include <algorithm>

#include "units.hpp"

namespace gw {
namespace {

constexpr size_t reason_bytes = 1024;

}  // namespace

void FailureGroups::add(const MessageInfo& info, const Message& message) {
  const std::string key = failure_group(message);
  auto known = groups_.find(key);
  if (known == groups_.end()) known = groups_.emplace(groups_.size() < failure_groups_max ? key : std::string(), FailureGroup()).first;
  FailureGroup& group = known->second;
  // What is no failure has no such header.
  const int64_t at = parse_nsb_time_ms(message.headers.get(header::time_of_failure)).value_or(info.put_at_ms);
  if (group.count++ == 0) {
    group.group = known->first;
    group.sample_id = message.id();
    if (!group.group.empty()) {
      group.failed_queue = message.headers.get(header::failed_q);
      group.type = message_type(message.headers);
      group.reason = mask_reason(message.headers.get(header::exception_message).substr(0, reason_bytes));
    }
  }
  group.first_ms = std::min(group.first_ms, at);
  group.last_ms = std::max(group.last_ms, at);
}

std::vector<FailureGroup> FailureGroups::sorted() const {
  std::vector<FailureGroup> all;
  for (const auto& [key, group] : groups_) all.push_back(group);
  std::stable_sort(all.begin(), all.end(), [](const FailureGroup& a, const FailureGroup& b) { return a.count > b.count; });
  return all;
}

Result<std::vector<FailureGroup>> failure_groups(const Queue& queue) {
  FailureGroups groups;
  GW_TRY(queue.scan([&](const MessageInfo& info) {
    if (auto found = queue.read(info.seq); found && *found) groups.add((*found)->first, (*found)->second);
    return true;
  }));
  return groups.sorted();
}

}  // namespace gw
