// gw-serve, the half of queue-inspect that answers browsers. `queue-inspect serve` becomes this program; it parses the same words again.
#include "serve.hpp"

using namespace gw;

int main(int argc, char** argv) {
  static inspect::ServeOptions options;
  Tool tool;
  tool.name = "queue-inspect";
  tool.summary = "look into local queues, and work on them by hand and from scripts";
  Command serve;
  serve.name = "serve";
  serve.usage = inspect::serve_usage;
  serve.summary = inspect::serve_summary;
  serve.examples = inspect::serve_examples;
  serve.define = [](CLI::App& app) { inspect::define_serve(app, options); };
  serve.run = [](const CommonOptions& common) { return inspect::serve(options, common); };
  tool.commands = {std::move(serve)};
  return tool_main(argc, argv, tool);
}
