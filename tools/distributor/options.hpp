// What the words of a command line mean; options.cpp is the only file here that knows the parser.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace gw::distributor {

struct WorkerOptions {
  std::string queue, handler_timeout, retry_increment, error_queue = "error", audit, job_log, on_expire, stream;
  std::optional<unsigned> capacity;
  unsigned retries = 3, immediate_retries = 5;
  bool once = false, drain = false, body_as_argument = false;
  std::vector<std::string> command;
};
void define_worker(CLI::App& app, WorkerOptions& into);

}  // namespace gw::distributor
