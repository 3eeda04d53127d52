// What the cases of many files need: a directory of their own, a root in it, messages to put there.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "queue.hpp"

namespace gw {

/// A directory of a case's own, below TMPDIR. It goes with the object, and stays for a look if a requirement failed (that throws).
struct Scratch {
  std::string path = (std::filesystem::temp_directory_path() / "gatepost-unit.XXXXXX").string();

  Scratch() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Scratch() {
    std::error_code ignored;
    if (std::uncaught_exceptions() == 0) std::filesystem::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// Returns the path of the file.
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path + "/" + name, std::ios::binary) << bytes;
    return path + "/" + name;
  }
};

/// Makes the root if it is not there; machine "" is this one.
inline std::unique_ptr<Root> open_root(const std::string& path, const std::string& machine = "", uint64_t min_free_bytes = 0) {
  RootOptions options;
  options.create = true;
  options.machine = machine;
  options.min_free_bytes = min_free_bytes;
  auto root = Root::open(path, options);
  REQUIRE_MESSAGE(root, (root ? "" : root.error().text));
  return *std::move(root);
}

inline Message message_with(const std::string& id, std::string body = "body") {
  Message message;
  message.headers.set(header::message_id, id);
  message.body = Body(std::move(body));
  return message;
}

}  // namespace gw
