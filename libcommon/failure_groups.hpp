// Failed messages by what they failed of.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "selection.hpp"

namespace gw {

struct FailureGroup {
  std::string group;  ///< 8 hex digits (failure_group()); empty: all that came after failure_groups_max others
  uint64_t count = 0;
  int64_t first_ms = INT64_MAX, last_ms = 0;  ///< when they failed
  std::string failed_queue, type, reason;     ///< the reason masked
  std::string sample_id;
};

inline constexpr size_t failure_groups_max = 20'000;

/// Counts them, with memory for failure_groups_max groups.
class FailureGroups {
 public:
  void add(const MessageInfo& info, const Message& message);
  /// The largest first.
  std::vector<FailureGroup> sorted() const;

 private:
  std::map<std::string, FailureGroup> groups_;
};

/// Of a whole queue; reads every message. Damaged ones are left out.
Result<std::vector<FailureGroup>> failure_groups(const Queue& queue);

}  // namespace gw
