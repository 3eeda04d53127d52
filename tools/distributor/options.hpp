// What the words of a command line mean; options.cpp is the only file here that knows the parser.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "selection.hpp"

namespace CLI {
class App;
}

namespace gw::distributor {

struct WorkerOptions {
  std::string queue, master, handler_timeout, retry_increment, error_queue = "error", audit, job_log, on_expire, stream;
  std::optional<unsigned> capacity;
  unsigned retries = 3, immediate_retries = 5;
  bool once = false, drain = false, body_as_argument = false;
  std::vector<std::string> command;
};
void define_worker(CLI::App& app, WorkerOptions& into);

struct RunOptions {
  std::string endpoint, lease, error_queue = "error";
  std::optional<unsigned> concurrency;
};
void define_run(CLI::App& app, RunOptions& into);

struct StatusOptions {
  std::string endpoint;
  LimitOptions limits;
};
void define_status(CLI::App& app, StatusOptions& into);

/// drain, resume and unregister.
struct OperatorOptions {
  std::string worker, timeout;
  bool wait = false;
};
void define_drain(CLI::App& app, OperatorOptions& into);
void define_operator(CLI::App& app, OperatorOptions& into);

}  // namespace gw::distributor
