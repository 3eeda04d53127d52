// The queue of the endpoint, as many threads use it while somebody may remove it.
#pragma once

#include <mutex>
#include <string>
#include <utility>

#include "queue.hpp"

namespace gw::listen {

class EndpointQueue {
 public:
  EndpointQueue(Root& root, std::string name) : root_(root), name_(std::move(name)) {}
  const std::string& name() const { return name_; }
  /// As it was found last. Any thread.
  Queue current() const {
    std::lock_guard<std::mutex> one(mutex_);
    return queue_;
  }
  /// Makes it and the one for replies if they are not there (any more); an event tells that they were gone. Not for connection threads.
  Result<void> find();

 private:
  Result<Queue> find_one(const std::string& name, bool known);

  Root& root_;
  const std::string name_;
  mutable std::mutex mutex_;
  Queue queue_;
};

}  // namespace gw::listen
