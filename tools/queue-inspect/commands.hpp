// The commands of queue-inspect. Each checks its options, opens the root, does its work and says how it ended.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::inspect {

Result<ExitCode> create(const Options& options, const CommonOptions& common);
Result<ExitCode> remove(const Options& options, const CommonOptions& common);
Result<ExitCode> hold(const Options& options, const CommonOptions& common);
Result<ExitCode> release(const Options& options, const CommonOptions& common);
Result<ExitCode> list(const Options& options, const CommonOptions& common);
Result<ExitCode> show(const Options& options, const CommonOptions& common);
Result<ExitCode> put(const Options& options, const CommonOptions& common);
Result<ExitCode> take(const Options& options, const CommonOptions& common);
Result<ExitCode> move(const Options& options, const CommonOptions& common);
Result<ExitCode> return_messages(const Options& options, const CommonOptions& common);
Result<ExitCode> groups(const Options& options, const CommonOptions& common);
Result<ExitCode> edit(const Options& options, const CommonOptions& common);
Result<ExitCode> trace(const Options& options, const CommonOptions& common);
Result<ExitCode> purge(const Options& options, const CommonOptions& common);
Result<ExitCode> wait(const Options& options, const CommonOptions& common);
Result<ExitCode> export_queues(const Options& options, const CommonOptions& common);
Result<ExitCode> import_queues(const Options& options, const CommonOptions& common);
Result<ExitCode> check(const Options& options, const CommonOptions& common);
Result<ExitCode> watch(const Options& options, const CommonOptions& common);
Result<ExitCode> metrics(const Options& options, const CommonOptions& common);

/// Becomes gw-serve with the same words; returns only if it cannot be executed.
Error become_serve(char** argv);

/// The tool with all of these. `argv` is what main() has got.
Tool make_tool(char** argv);

}  // namespace gw::inspect
