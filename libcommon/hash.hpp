// Digests. OpenSSL does the work and is loaded (dlopen) when the first digest is made: a one-shot put loads no crypto library.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "result.hpp"

namespace gw {

using Sha256 = std::array<unsigned char, 32>;
using Md5 = std::array<unsigned char, 16>;

/// A digest in progress. One thread at a time.
class Digest {
 public:
  enum class Kind { md5, sha256 };
  explicit Digest(Kind kind);
  Digest(Digest&&) noexcept;
  ~Digest();
  void update(std::string_view bytes);
  /// Ends it. 16 or 32 bytes.
  std::string finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Sha256 sha256(std::string_view bytes);
Md5 md5(std::string_view bytes);
std::string hex(std::string_view bytes);  ///< lower case
std::string base64(std::string_view bytes);
/// nullopt-like: fails with bad_data on anything that is not padded base64.
Result<std::string> unbase64(std::string_view text);
/// Comparison whose time does not depend on the contents.
bool equal_constant_time(std::string_view a, std::string_view b);

/// CRC32C (Castagnoli), hardware where there is one; `seed` chains. No library needed.
uint32_t crc32c(uint32_t seed, const void* data, size_t size);

}  // namespace gw
