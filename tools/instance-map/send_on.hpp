// Leftovers of an instance that is out of service go to the others.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "address.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw::instance_map {

/// One thread uses it.
class SendOn {
 public:
  /// `addresses`: not empty; by turns.
  SendOn(Root& root, Destinations& destinations, std::vector<std::string> addresses)
      : root_(root), destinations_(destinations), addresses_(std::move(addresses)) {}
  /// Moves every message that nobody works on, waiting or deferred, each in a transaction of its own: it keeps its id, headers, failed
  /// attempts and the time when it is due. Gatepost.MapVersion stays. Returns how many it moved.
  Result<uint64_t> run(const Queue& queue);
  const std::map<std::string, uint64_t>& counts() const { return counts_; }

 private:
  Result<bool> move(const Queue& queue, const MessageInfo& info);
  Root& root_;
  Destinations& destinations_;
  std::vector<std::string> addresses_;
  std::map<std::string, uint64_t> counts_;
  size_t next_ = 0;
};

}  // namespace gw::instance_map
