// What the words of a command line mean; options.cpp is the only file here that knows the parser.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace gw::distributor {

struct WorkerOptions {
  std::string queue, handler_timeout;
  unsigned capacity = 1;
  bool once = false, drain = false;
  std::vector<std::string> command;
};
void define_worker(CLI::App& app, WorkerOptions& into);

}  // namespace gw::distributor
