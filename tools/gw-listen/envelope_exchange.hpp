// The call inside of an httpvnext request, as the receive pipeline wants to see calls: headers, and a body to read.
#pragma once

#include <optional>

#include "envelope.hpp"
#include "hash.hpp"
#include "channel.hpp"
#include "http.hpp"

namespace gw::listen {

class EnvelopeExchange : public Exchange {
 public:
  /// `outer` stays.
  explicit EnvelopeExchange(Exchange& outer);

  /// Reads until the headers are known. An answer if they never will be.
  std::optional<Answer> read_headers();
  Headers take_headers() { return std::move(reader_.headers()); }
  /// The MD5 of the whole request body in hexadecimal, as the original answers it. Only after read() has said end; once.
  std::string md5() { return hex(md5_.finish()); }

  const RequestHead& head() const override { return outer_.head(); }
  const std::variant<BodyPlan, WireRefusal>& plan() const override { return plan_; }
  Read read(char* into, size_t room, size_t& got) override;
  std::string fault() const override { return fault_; }
  void send_continue() override {}
  void send(const Answer& answer) override { outer_.send(answer); }

 private:
  bool fill();

  Exchange& outer_;
  std::variant<BodyPlan, WireRefusal> plan_ = BodyPlan{true, 0, false};  // how long the body is turns out at its end
  EnvelopeReader reader_;
  Digest md5_;
  std::string buffer_, message_;
  size_t message_at_ = 0;
  uint64_t outer_length_ = 0, outer_read_ = 0;
  bool outer_chunked_ = false;
  Read state_ = Read::data;
  std::string fault_;
};

}  // namespace gw::listen
