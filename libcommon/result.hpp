// Errors are values. A function that touches the world returns Result<T>; the lowest layer says
// what failed on which path, a caller may prefix one phrase, and only tool_main prints it.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "exit_code.hpp"

namespace gw {

/// Why an operation failed. `code` says who can do something about it (and becomes the exit code),
/// `sys_errno` is 0 where no system call was involved, `text` is one line: "fsync 'q/1.log': No space left on device".
struct Error {
  ExitCode code = ExitCode::system;
  int sys_errno = 0;
  std::string text;
};

/// Error from errno: "<verb> '<path>': <strerror>". ENOSPC, EDQUOT, EAGAIN map to not_now, EACCES, EPERM and EROFS
/// to no_permission, ENOENT to no_input, EIO to io_error, everything else to system.
Error errno_error(const char* verb, const std::string& path, int error_number);

/// A value or an Error; the subset of std::expected that we use. Dropping one is a build error.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}
  explicit operator bool() const { return state_.index() == 0; }
  bool has_value() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  Error& error() & { return std::get<1>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  explicit operator bool() const { return !error_; }
  bool has_value() const { return !error_; }
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

}  // namespace gw

#define GW_CONCAT_(a, b) a##b
#define GW_CONCAT(a, b) GW_CONCAT_(a, b)
/// Returns the error of `expr` from the calling function, if there is one.
#define GW_TRY(expr) GW_TRY_(GW_CONCAT(gw_try_, __COUNTER__), expr)
#define GW_TRY_(tmp, expr)                                          \
  do {                                                              \
    if (auto tmp = (expr); !tmp) return std::move(tmp).error();     \
  } while (0)
/// `GW_TRY_ASSIGN(auto fd, open_file(...))`: the value of `expr`, or returns its error from the calling function.
#define GW_TRY_ASSIGN(decl, expr) GW_TRY_ASSIGN_(GW_CONCAT(gw_try_, __COUNTER__), decl, expr)
#define GW_TRY_ASSIGN_(tmp, decl, expr)        \
  auto tmp = (expr);                           \
  if (!tmp) return std::move(tmp).error();     \
  decl = *std::move(tmp)
