// What the words of a command line mean; options.cpp is the only file here that knows the parser.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace gw::dedup {

struct Options {
  std::string endpoint, older_than;
  std::vector<std::string> ids;
  unsigned key_field = 0;  ///< 0: the whole line
  bool yes = false, repair = false;
};

void define_ids(CLI::App& app, Options& into);
void define_filter(CLI::App& app, Options& into);
void define_plain(CLI::App& app, Options& into);
void define_purge(CLI::App& app, Options& into);
void define_check(CLI::App& app, Options& into);

}  // namespace gw::dedup
