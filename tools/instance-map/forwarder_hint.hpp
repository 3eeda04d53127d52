// What waits for another machine goes nowhere by itself.
#pragma once

#include "address.hpp"
#include "tool.hpp"

namespace gw::instance_map {

/// Says once for a command that nobody carries messages to the machine of `to`, if that is so.
class ForwarderHint {
 public:
  ForwarderHint(const Root& root, const CommonOptions& common) : root_(root), common_(common) {}
  void look(const Destination& to);

 private:
  const Root& root_;
  const CommonOptions& common_;
  std::string looked_;  ///< the machine that was looked at last
  bool told_ = false;
};

}  // namespace gw::instance_map
