// What the words of a command line mean; options.cpp is the only file here that knows the parser.
#pragma once

#include <string>
#include <vector>

#include "message_options.hpp"
#include "selection.hpp"

namespace CLI {
class App;
}

namespace gw::inspect {

struct ReturnOptions {
  std::string to, rate, ramp, settle, stop_on_failures;
};

struct Options {
  std::vector<std::string> queues;
  std::string queue, target;
  SelectionOptions selection;
  LimitOptions limits;
  MessageOptions message;
  bool journal = false, force = false, puts = false, create = false, repair = false;
  bool wait = false, follow = false, lines = false, nul = false;
  bool headers_only = false, body_only = false;
  ReturnOptions returning;
  bool remote = false;
  std::vector<std::string> ids;
  std::string exec;
  std::string max_bytes, reason, condition, timeout, to_dir, interval;
};

void define_create(CLI::App& app, Options& into);
void define_remove(CLI::App& app, Options& into);
void define_list(CLI::App& app, Options& into);
void define_show(CLI::App& app, Options& into);
void define_put(CLI::App& app, Options& into);
void define_take(CLI::App& app, Options& into);
void define_move(CLI::App& app, Options& into);
void define_return(CLI::App& app, Options& into);
void define_groups(CLI::App& app, Options& into);
void define_edit(CLI::App& app, Options& into);
void define_trace(CLI::App& app, Options& into);
void define_purge(CLI::App& app, Options& into);
void define_hold(CLI::App& app, Options& into);
void define_release(CLI::App& app, Options& into);
void define_wait(CLI::App& app, Options& into);
void define_export(CLI::App& app, Options& into);
void define_import(CLI::App& app, Options& into);
void define_check(CLI::App& app, Options& into);
void define_watch(CLI::App& app, Options& into);

}  // namespace gw::inspect
