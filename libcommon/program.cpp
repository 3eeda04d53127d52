#include "program.hpp"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace gw {

int why_not_executable(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return errno;
  if (S_ISDIR(info.st_mode)) return EISDIR;
  return ::access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

Result<std::string> find_program(const std::string& name) {
  if (name.empty()) return Error{ExitCode::config, ENOENT, "execute '': no command is given"};
  if (name.find('/') != std::string::npos) {
    if (int why = why_not_executable(name); why != 0)
      return Error{ExitCode::config, why, "execute '" + name + "': " + strerrordesc_np(why)};
    return name;
  }
  const char* variable = std::getenv("PATH");
  std::string path = variable ? variable : "/usr/local/bin:/usr/bin:/bin";
  int first_reason = ENOENT;
  for (size_t at = 0; at <= path.size();) {
    size_t end = std::min(path.find(':', at), path.size());
    std::string dir = path.substr(at, end - at);
    std::string candidate = (dir.empty() ? "." : dir) + "/" + name;
    int why = why_not_executable(candidate);
    if (why == 0) return candidate;
    if (why == EACCES && first_reason == ENOENT) first_reason = why;
    at = end + 1;
  }
  return Error{ExitCode::config, first_reason, "execute '" + name + "': " + strerrordesc_np(first_reason) + " (looked for in PATH)"};
}

Result<std::string> libexec_directory() {
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  if (length <= 0 || length == sizeof self) return errno_error("readlink", "/proc/self/exe", errno);
  std::string dir(self, static_cast<size_t>(length));
  dir.erase(dir.rfind('/'));
  // A helper looks for another one beside itself, a tool in BIN/../libexec/gatepost, so that an installed tree can be moved.
  return dir.ends_with("/libexec/gatepost") ? dir : dir + "/../libexec/gatepost";
}

Result<std::string> find_helper(const std::string& name) {
  GW_TRY_ASSIGN(std::string dir, libexec_directory());
  std::string installed = dir + "/" + name;
  return why_not_executable(installed) == 0 ? Result<std::string>(installed) : find_program(name);
}

Result<std::string> find_channel_program(const std::string& type) {
  const std::string name = "gw-channel-" + type;
  auto found = find_helper(name);
  if (found) return found;
  auto dir = libexec_directory();
  return Error{ExitCode::config, ENOENT,
               "channel type '" + type + "' is not built in, and there is no program '" + name + "' in '" + (dir ? *dir : "the libexec directory") +
                   "' or PATH"};
}

}  // namespace gw
