// Where programs are that we start.
#pragma once

#include <string>

#include "result.hpp"

namespace gw {

/// An errno that says why `path` cannot be executed; 0 if it can.
int why_not_executable(const std::string& path);

/// Where the program `name` is: itself if it has a slash, else the first executable of that name in PATH.
/// config: there is none, or it cannot be executed; the text says which.
Result<std::string> find_program(const std::string& name);

/// The installation's own directory of helper programs (PREFIX/libexec/gatepost), found from the running program.
Result<std::string> libexec_directory();

/// A helper program: in the installation's libexec directory, else in PATH. config: there is none.
Result<std::string> find_helper(const std::string& name);

/// The program that carries messages over channels of this type (gw-channel(7)): gw-channel-TYPE, found as helpers are. config: there
/// is none, naming where it was looked for.
Result<std::string> find_channel_program(const std::string& type);

}  // namespace gw
