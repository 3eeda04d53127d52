// The body of an httpvnext request, made while it is sent.
#pragma once

#include <memory>
#include <optional>

#include "hash.hpp"
#include "http_client.hpp"

namespace gw {

class EnvelopeUpload : public Upload {
 public:
  /// `digits`: of all bytes of the body as numbers (envelope_digits). The body stays until this goes.
  EnvelopeUpload(const Headers& headers, const Body& body, uint64_t digits);
  uint64_t size() const override { return size_; }
  Result<std::string> read(size_t length) override;
  void rewind() override;
  /// What the receiver answers: the MD5 of all that was read, in hexadecimal. Once.
  std::string expected_answer();

 private:
  Result<void> refill();

  const std::string begin_;
  const Body& body_;
  uint64_t size_;
  uint64_t body_at_ = 0;
  enum class Part { begin, body, end, done } part_ = Part::begin;
  std::string pending_;
  size_t pending_at_ = 0;
  std::optional<Digest> md5_;
};

}  // namespace gw
