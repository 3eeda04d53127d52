#include "envelope_upload.hpp"

#include <algorithm>

#include "envelope.hpp"

namespace gw {
namespace {
constexpr size_t chunk_bytes = 16 * 1024;
}

EnvelopeUpload::EnvelopeUpload(const Headers& headers, const Body& body, uint64_t digits)
    : begin_(envelope_begin(headers)), body_(body), md5_(std::in_place, Digest::Kind::md5) {
  const uint64_t commas = body.size() > 0 ? body.size() - 1 : 0;
  size_ = begin_.size() + digits + commas + envelope_end.size();
}

void EnvelopeUpload::rewind() {
  part_ = Part::begin;
  body_at_ = 0;
  pending_.clear();
  pending_at_ = 0;
  md5_.emplace(Digest::Kind::md5);
}

Result<void> EnvelopeUpload::refill() {
  pending_.clear();
  pending_at_ = 0;
  switch (part_) {
    case Part::begin:
      pending_ = begin_;
      part_ = body_.size() > 0 ? Part::body : Part::end;
      break;
    case Part::body: {
      GW_TRY_ASSIGN(std::string bytes, body_.read_at(body_at_, chunk_bytes));
      if (bytes.empty()) return Error{ExitCode::io_error, 0, "the body is shorter than it was"};
      append_envelope_numbers(pending_, bytes, body_at_ == 0);
      body_at_ += bytes.size();
      if (body_at_ >= body_.size()) part_ = Part::end;
      break;
    }
    case Part::end:
      pending_ = envelope_end;
      part_ = Part::done;
      break;
    case Part::done: break;
  }
  return {};
}

Result<std::string> EnvelopeUpload::read(size_t length) {
  std::string bytes;
  while (bytes.size() < length) {
    if (pending_at_ == pending_.size()) {
      if (part_ == Part::done) break;
      GW_TRY(refill());
    }
    const size_t n = std::min(length - bytes.size(), pending_.size() - pending_at_);
    bytes.append(pending_, pending_at_, n);
    pending_at_ += n;
  }
  md5_->update(bytes);
  return bytes;
}

std::string EnvelopeUpload::expected_answer() { return hex(md5_->finish()); }

}  // namespace gw
