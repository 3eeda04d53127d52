#include "gw_assert.hpp"

#include <unistd.h>

#include <string>

#include "exit_code.hpp"

namespace gw {

void assertion_failed(const char* what, const char* file, int line) {
  // Nothing may be trusted any more: no destructors, no buffers, one write.
  std::string text = std::string("bug: assertion '") + what + "' failed at " + file + ":" + std::to_string(line) + "\n";
  [[maybe_unused]] auto written = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(static_cast<int>(ExitCode::bug));
}

}  // namespace gw
