#include "send_on.hpp"

#include "journal.hpp"
#include "map_senders.hpp"

namespace gw::instance_map {

Result<bool> SendOn::move(const Queue& queue, const MessageInfo& info) {
  Queue source = queue;
  GW_TRY_ASSIGN(auto claim, source.claim_seq(info.seq));
  if (!claim || is_map_version_message(claim->message().headers)) return false;
  const std::string& address = addresses_[next_++ % addresses_.size()];
  GW_TRY_ASSIGN(const Destination destination, destinations_.find(address));
  PutOptions options;
  options.failures = info.failures;
  options.expires_at_ms = info.expires_at_ms;
  if (info.state == MessageState::deferred) options.due_at_ms = info.due_at_ms;
  Transaction transaction;
  Message message = claim->message();
  const std::string id = message.id();
  forget_map(message.headers);
  put_to(transaction, destination, std::move(message), std::move(options));
  transaction.ack(std::move(*claim));
  auto committed = root_.commit(std::move(transaction));
  if (!committed) return std::move(committed).error();
  ++counts_[address];
  JournalLine line;
  line.event = Happened::moved;
  line.id = id;
  line.queue = queue.name();
  line.to = destination.queue.name();
  line.seq = committed->puts.at(0).seq;
  line.reason = "decommission: goes to another instance";
  root_.journal().add(line);
  root_.journal().write();
  return true;
}

Result<uint64_t> SendOn::run(const Queue& queue) {
  std::vector<MessageInfo> found;
  GW_TRY(queue.scan([&](const MessageInfo& info) {
    if (info.state != MessageState::claimed) found.push_back(info);
    return true;
  }));
  uint64_t moved = 0;
  for (const MessageInfo& info : found) {
    GW_TRY_ASSIGN(const bool gone, move(queue, info));
    moved += gone ? 1 : 0;
  }
  return moved;
}

}  // namespace gw::instance_map
