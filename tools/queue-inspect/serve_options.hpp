// The options of `queue-inspect serve`, which are read twice: by queue-inspect for --help and usage errors, and by gw-serve.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace gw::inspect {

struct ServeOptions {
  std::string listen, token_file;
};
void define_serve(CLI::App& app, ServeOptions& into);

inline constexpr const char* serve_usage = "serve --listen HOST:PORT [--token-file F]";
inline constexpr const char* serve_summary = "show queues, sites, failures and messages as web pages, read-only";
inline constexpr const char* serve_examples =
    "  queue-inspect serve --listen 127.0.0.1:8090\n"
    "  queue-inspect serve --listen +:8090 --token-file /etc/gatepost/page.tokens\n";

}  // namespace gw::inspect
