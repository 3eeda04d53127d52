// Where `take` writes bodies: to stdout in one of four forms, or to files of a directory.
#pragma once

#include <memory>
#include <string>

#include "options.hpp"
#include "tool.hpp"

namespace gw::inspect {

class Sink {
 public:
  enum class Written { yes, refused };
  virtual ~Sink() = default;
  /// Writes one message. refused: it cannot be told from others in this form and must stay where it is.
  virtual Result<Written> write(const std::string& queue, const MessageInfo& info, const Message& message) = 0;
  /// What was written so far is out of our hands: the messages may be acked.
  virtual Result<void> settle() = 0;

  /// Opens the directory if there is one: call it before the root is opened. usage: forms that exclude each other.
  static Result<std::unique_ptr<Sink>> make(const Options& options, const CommonOptions& common);
};

/// A name for a body's file that stays inside of its directory and can be typed: `wanted`'s last part, without control bytes,
/// leading dots and dashes, at most 200 bytes; `fallback` if nothing is left.
std::string clean_file_name(std::string_view wanted, std::string_view fallback);

}  // namespace gw::inspect
