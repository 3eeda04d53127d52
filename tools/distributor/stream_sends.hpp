// Messages that a streaming handler sends with its answers.
#pragma once

#include <map>
#include <optional>

#include "address.hpp"
#include "config.hpp"
#include "handler.hpp"
#include "held_sends.hpp"
#include "map_router.hpp"
#include "queue.hpp"
#include "stream_codec.hpp"

namespace gw::distributor {

class StreamSends {
 public:
  StreamSends(Root& root, const HandlerSettings& settings)
      : root_(root), settings_(settings), destinations_(root, settings.config, !settings.config.empty()) {}
  /// What `answer` sends on account of `incoming`, ready to be put. Any error: it cannot be sent, and why (an unknown site or queue, a
  /// bad header).
  Result<std::vector<HeldSend>> build(const Answer& answer, const Message& incoming);
  /// Now and then, so that a worker that sends nothing does not use the map of before for ever.
  Result<void> look_again();

 private:
  Result<Message> message_of(const AnswerSend& send, const Message& incoming) const;
  Result<void> add_sites(const AnswerSend& send, Message message, std::vector<HeldSend>& into);
  Result<HeldSend> by_map(Message message);
  Root& root_;
  const HandlerSettings& settings_;
  Destinations destinations_;
  std::unique_ptr<Router> router_;  // read when a type alone is named first
  std::optional<Config> config_;  // read when a site is named first
  int64_t loaded_at_ms_ = 0;      // monotonic
};

}  // namespace gw::distributor
