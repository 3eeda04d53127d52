// A command whose words are kept in an object of the tool's own type.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "tool.hpp"

namespace gw {

/// `usage` begins with the command's name. `define` says which words there are and where in `options` they go, `run` gets them read.
/// `changes`: it changes something by selection.
template <class Options>
Command make_command(std::shared_ptr<Options> options, std::string usage, const char* summary, const char* examples, bool changes,
                     void (*define)(CLI::App&, Options&), Result<ExitCode> (*run)(const Options&, const CommonOptions&)) {
  Command command;
  command.name = usage.substr(0, usage.find(' '));
  command.usage = std::move(usage);
  command.summary = summary;
  command.examples = examples;
  command.changes_by_selection = changes;
  command.define = [options, define](CLI::App& app) { define(app, *options); };
  command.run = [options, run](const CommonOptions& common) { return run(*options, common); };
  return command;
}

}  // namespace gw
