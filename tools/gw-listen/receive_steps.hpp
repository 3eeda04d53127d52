// What the steps of one request hand to each other. Private to receive*.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "address.hpp"
#include "answers.hpp"
#include "receive.hpp"

namespace gw::listen {

inline constexpr int comes_later = 0;  ///< the status of an answer that another thread gives

/// What the steps of one request share.
struct Receiver::Incoming {
  Exchange& exchange;
  const Channel& channel;
  const BodyPlan& plan;
  const WireCall& call;
  std::string_view date{};
  std::string key{};     // of de-duplication and properties
  std::string store{};   // where that is remembered
  Queue queue{};
  DataBus* data_bus = nullptr;
  HeldMessages* held = nullptr;  // null: a message of another machine
  Arrival arrival{};
  int64_t ahead_ms = 0;  // our clock before the sender's
};

/// What the answer needs to know of a message that was handed to the committer.
struct Receiver::Stored {
  std::string id, key, from;
  DataBus* data_bus = nullptr;
  uint64_t bytes = 0;
  bool hold = false, properties = false, of_machine = false;
  std::string traceparent{};
  std::string closed_queue{}, late_to{};  // of an instance that is out of service, and where the message goes instead
};

}  // namespace gw::listen
