// The commands of gw-dedup. Each opens the store of one endpoint; all of them work while listeners use it.
#pragma once

#include "options.hpp"
#include "tool.hpp"

namespace gw::dedup {

Tool make_tool();

Result<ExitCode> seen(const Options& options, const CommonOptions& common);
Result<ExitCode> mark(const Options& options, const CommonOptions& common);
Result<ExitCode> filter(const Options& options, const CommonOptions& common);
Result<ExitCode> list(const Options& options, const CommonOptions& common);
Result<ExitCode> status(const Options& options, const CommonOptions& common);
Result<ExitCode> purge(const Options& options, const CommonOptions& common);
Result<ExitCode> check(const Options& options, const CommonOptions& common);

/// The key of a line: its `number`th field (from 1; 0: the whole line). Empty: it has none.
std::string_view key_of_line(std::string_view line, unsigned number);

}  // namespace gw::dedup
