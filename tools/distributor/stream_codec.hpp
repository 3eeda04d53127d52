// The lines and frames between a worker and a streaming handler: gw-handler(7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "message.hpp"
#include "queue.hpp"
#include "result.hpp"

namespace gw::distributor {

/// One message as a JSON line, its LF included.
std::string stream_line(const MessageInfo& info, const Message& message);
/// The beginning of a frame: length and head; `body_bytes` of body follow.
std::string stream_frame_head(const MessageInfo& info, const Message& message);

/// A message that an answer sends.
struct AnswerSend {
  std::string queue, sites, type;  ///< where to; `type` may stand beside either
  Headers headers;
  std::string body;
};

struct Answer {
  enum class Result { ok, retry, fail };
  uint64_t seq = 0;
  Result result = Result::ok;
  std::string reason;
  std::optional<int64_t> delay_ms;
  std::vector<AnswerSend> sends;
};

/// Takes answers out of what a handler wrote, in pieces of any size. Lines, or frames where the handler gets frames.
class AnswerReader {
 public:
  explicit AnswerReader(bool binary) : binary_(binary) {}
  void append(std::string_view bytes) { buffer_.append(bytes); }
  /// nullopt: not complete yet. protocol: this is no answer; the text quotes it. Nothing can be read after that.
  Result<std::optional<Answer>> next();
  /// The error that says what is wrong with the answer that next() returned just now, quoting it.
  Error wrong(const std::string& what) const;

 private:
  Result<std::optional<Answer>> next_line();
  Result<std::optional<Answer>> next_frame();
  void compact();
  bool binary_;
  std::string buffer_;
  size_t at_ = 0, looked_ = 0;  // looked_: no LF before
  size_t last_at_ = 0, last_bytes_ = 0;
};

}  // namespace gw::distributor
