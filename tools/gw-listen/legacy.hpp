// Messages of NServiceBus 3, which come in three steps (Submit, DatabusProperty for each property, Ack): held durably in the queue
// <endpoint>.legacy until their Ack, then moved into the endpoint's queue.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "committer.hpp"
#include "data_bus.hpp"
#include "dedup_store.hpp"
#include "endpoint_queue.hpp"
#include "queue.hpp"

namespace gw::listen {

inline constexpr int64_t held_ms_max = 7 * 24 * 3600 * int64_t{1000};

class HeldMessages {
 public:
  HeldMessages(Root& root, const EndpointQueue& endpoint, DedupStore& store, StoreThread& thread, DataBus& data_bus, Committer& committer)
      : root_(root), endpoint_(endpoint), name_(endpoint_.name() + ".legacy"), store_(store), thread_(thread), data_bus_(data_bus),
        committer_(committer) {}

  /// Where they wait; made when the first one comes.
  Result<Queue> queue();
  /// Finds that queue anew if somebody has removed it.
  void look_again();

  enum class Outcome {
    released,  ///< by this call or before: it is in the endpoint's queue, or was
    unknown,   ///< never received, or dropped after seven days
    busy,      ///< somebody else is just at it
    incomplete ///< properties are missing: `missing`
  };
  struct Released {
    Outcome outcome = Outcome::released;
    std::optional<WireRefusal> missing;
  };
  /// Any thread with little stack. io_error: the store is in doubt; nothing was released by this call.
  Result<Released> release(const std::string& id);
  /// For a duplicate that needs no Ack: releases the message if it is one of those. Costs little if there are none.
  Result<Released> release_if_held(const std::string& id);
  /// Drops those that came before now - 7 d, with their ids: submitted again they are new. How many. Not for connection threads.
  Result<uint64_t> sweep(int64_t now);

 private:
  Result<Released> release_held(const std::string& id, const DedupRow& row);
  Result<Released> not_there(const std::string& id, const DedupRow& row, Queue& held);
  Result<Released> move(const std::string& id, Claim&& claim);
  Result<bool> drop(Claim&& claim);
  template <class T>
  Result<T> on_thread(const std::function<Result<T>()>& work);

  Root& root_;
  const EndpointQueue& endpoint_;
  std::string name_;
  DedupStore& store_;
  StoreThread& thread_;
  DataBus& data_bus_;
  Committer& committer_;
  std::mutex mutex_;
  Queue queue_;
};

}  // namespace gw::listen
