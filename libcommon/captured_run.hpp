// Asking a program: it is run with a time limit, and what it prints is the answer.
#pragma once

#include <cstdint>
#include <string>

#include "process.hpp"
#include "result.hpp"

namespace gw {

/// How it ended, and what it wrote to stdout, of which at most the first part is kept.
struct CapturedRun {
  ChildEnd end;
  bool timed_out = false;  ///< it was killed, with all that it had started
  std::string output;
};

/// Runs `spec` with our stderr, and an empty stdin if it names none; what else it says of descriptors does not count. Fails as Child::start does. Call it from
/// a thread that lives as long as the process.
Result<CapturedRun> run_captured(ChildSpec spec, int64_t timeout_ms, size_t output_bytes_max);

/// `exit 3`, `signal 9 (SIGKILL)`, `longer than 10s`; "": it ended well.
std::string trouble_of(const CapturedRun& run, int64_t timeout_ms);

}  // namespace gw
