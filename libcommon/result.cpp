#include "result.hpp"

#include <cerrno>
#include <cstring>

namespace gw {

namespace {

ExitCode class_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EAGAIN:
      return ExitCode::not_now;
    case EACCES:
    case EPERM:
    case EROFS:
      return ExitCode::no_permission;
    case ENOENT:
      return ExitCode::no_input;
    case EIO:
    case EBADF:  // a standard descriptor that was closed when we started
      return ExitCode::io_error;
    default:
      return ExitCode::system;
  }
}

}  // namespace

Error errno_error(const char* verb, const std::string& path, int error_number) {
  const char* text = strerrordesc_np(error_number);  // no locale, no static buffer
  std::string why = text ? std::string(text) : "error " + std::to_string(error_number);
  return Error{class_of(error_number), error_number, std::string(verb) + " '" + path + "': " + why};
}

}  // namespace gw
