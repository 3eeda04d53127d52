#include "envelope_exchange.hpp"

#include <algorithm>

namespace gw::listen {

namespace {
constexpr size_t read_bytes = 64 * 1024;
constexpr size_t early_message_bytes_max = 16 * 1024 * 1024;
}  // namespace

EnvelopeExchange::EnvelopeExchange(Exchange& outer) : outer_(outer), md5_(Digest::Kind::md5) {
  if (const auto* plan = std::get_if<BodyPlan>(&outer.plan())) {
    outer_length_ = plan->length;
    outer_chunked_ = plan->chunked;
    if (plan->expects_continue) outer.send_continue();
  }
  buffer_.resize(read_bytes);
}

/// Reads on. False: state_ says how it ended.
bool EnvelopeExchange::fill() {
  if (state_ != Read::data) return false;
  size_t got = 0;
  const bool at_end = !outer_chunked_ && outer_read_ == outer_length_;
  Read how = at_end ? Read::end : outer_.read(buffer_.data(), buffer_.size(), got);
  if (how == Read::data) {
    const std::string_view bytes(buffer_.data(), got);
    outer_read_ += got;
    md5_.update(bytes);
    auto fed = reader_.feed(bytes, message_);
    if (fed) return true;
    how = Read::malformed;
    fault_ = fed.error().text;
  } else if (how == Read::end) {
    if (auto ended = reader_.end(); !ended) {
      how = Read::malformed;
      fault_ = ended.error().text;
    }
  }
  state_ = how;
  return false;
}

std::optional<Answer> EnvelopeExchange::read_headers() {
  Answer answer;
  answer.status = 400;
  while (!reader_.has_headers()) {
    if (message_.size() > early_message_bytes_max) {
      answer.text = "the envelope has its Headers behind a large Message; they must stand before it";
      return answer;
    }
    if (fill()) continue;
    answer.status = state_ == Read::too_slow ? 408 : 400;
    answer.text = state_ == Read::malformed ? fault_
                  : state_ == Read::too_slow ? "the body came too slowly"
                                             : "the body ended after " + std::to_string(outer_read_) + " bytes";
    return answer;
  }
  return std::nullopt;
}

Exchange::Read EnvelopeExchange::read(char* into, size_t room, size_t& got) {
  got = 0;
  while (message_at_ == message_.size()) {
    message_.clear();
    message_at_ = 0;
    if (!fill()) return state_;
  }
  got = std::min(room, message_.size() - message_at_);
  std::copy_n(message_.data() + message_at_, got, into);
  message_at_ += got;
  return Read::data;
}

}  // namespace gw::listen
