#include <CLI/CLI.hpp>

#include "serve_options.hpp"

namespace gw::inspect {

void define_serve(CLI::App& app, ServeOptions& into) {
  app.add_option("--listen", into.listen, "where pages are asked for, over HTTP; port 0: any")->type_name("HOST:PORT");
  app.add_option("--token-file", into.token_file, "demand one of the tokens in this private file, one a line")->type_name("F");
}

}  // namespace gw::inspect
