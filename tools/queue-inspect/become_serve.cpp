// serve: becomes gw-serve, a program of its own, because an HTTP server is much to load for commands that end at once.
#include <unistd.h>

#include <cerrno>

#include "commands.hpp"
#include "program.hpp"

namespace gw::inspect {

Error become_serve(char** argv) {
  auto dir = libexec_directory();
  if (!dir) return dir.error();
  const std::string path = *dir + "/gw-serve";
  ::execv(path.c_str(), argv);
  Error error = errno_error("execute", path, errno);
  error.code = ExitCode::system;
  error.text += "; it belongs to the installation";
  return error;
}

}  // namespace gw::inspect
