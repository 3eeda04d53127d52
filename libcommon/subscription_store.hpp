// Who wants which events: one SQLite database per root, <root>/subscriptions.db, shared by all instances of all publishers there.
//
// It is read far more often than written, so it has no write-ahead log: a rollback journal, which any process undoes after a crash,
// and synchronous=EXTRA, so that what was committed stays after a power loss.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"

namespace gw {

/// One subscriber of one type of a publisher. Addresses compare without case, everything else as it is written.
struct Subscription {
  std::string publisher, type, endpoint, address;  ///< endpoint: "" if the subscriber named none; type without its assembly
  int64_t since_ms = 0;

  bool operator==(const Subscription& other) const = default;
};

/// What became of a request.
enum class SubscriptionChange {
  made,       ///< it changed something
  known,      ///< it was so already
  outdated    ///< a later one of the same subscriber came before it: it changes nothing
};

/// One open store. One thread uses it at a time.
class SubscriptionStore {
 public:
  /// no_input if it is absent and !create. system: not ours, or a newer version.
  static Result<std::unique_ptr<SubscriptionStore>> open(const std::string& root_path, bool create);
  ~SubscriptionStore();
  SubscriptionStore(const SubscriptionStore&) = delete;
  SubscriptionStore& operator=(const SubscriptionStore&) = delete;

  /// Durable when it returns. `sent_at_ms`: when the subscriber decided so; requests may overtake each other on their way, the
  /// latest decision stays. not_now: the disk is full, nothing changed.
  Result<SubscriptionChange> subscribe(const Subscription& one, int64_t sent_at_ms);
  /// The same for the opposite; endpoint and since_ms do not matter.
  Result<SubscriptionChange> unsubscribe(const Subscription& one, int64_t sent_at_ms);
  /// Takes them out as if they had never been there, in one transaction: a later request counts whatever its time. How many were there.
  Result<size_t> remove(std::span<const Subscription> which);

  /// In the order in which they came. "": of all publishers.
  Result<std::vector<Subscription>> list(std::string_view publisher = {});
  /// Those of any of `types`, each address once, in the order in which they came.
  Result<std::vector<Subscription>> subscribers(std::string_view publisher, std::span<const std::string> types);

 private:
  class Impl;
  explicit SubscriptionStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw
