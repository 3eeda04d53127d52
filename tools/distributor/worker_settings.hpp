// What a worker was told, checked.
#pragma once

#include "enlistment.hpp"
#include "handler.hpp"
#include "options.hpp"
#include "settler.hpp"
#include "tool.hpp"

namespace gw::distributor {

struct WorkerSettings {
  HandlerSettings handler;
  SettlerOptions settler;
  std::string queue;  ///< it takes from
  std::optional<EnlistmentSettings> master;
  unsigned capacity = 1;
  bool once = false, drain = false, keep_expired = false;
  bool stream = false, binary = false;
};

/// usage: options that contradict each other or cannot be read.
Result<WorkerSettings> make_worker_settings(const WorkerOptions& options, const CommonOptions& common);

}  // namespace gw::distributor
