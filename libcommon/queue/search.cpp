// Looking for bytes in a queue's logs.
#include <string.h>

#include <algorithm>
#include <optional>

#include "../gw_assert.hpp"
#include "../queue_search.hpp"
#include "impl.hpp"

namespace gw {

namespace queue_detail {

namespace {

constexpr size_t piece_bytes = 1 << 20;

/// Where the messages of a segment lie in its log.
class Places {
 public:
  Places(const Segment& segment, uint64_t end) : segment_(segment) {
    for (uint64_t seq = segment.base; seq < end; seq++) {
      const uint64_t where = segment.entry(seq).where.load(std::memory_order_acquire);
      if (where_length(where) > 0) at_.push_back({where_offset(where), where_offset(where) + where_length(where), seq});
    }
    if (!std::is_sorted(at_.begin(), at_.end())) std::sort(at_.begin(), at_.end());
  }
  struct Place {
    uint64_t offset, end, seq;
    bool operator<(const Place& other) const { return offset < other.offset; }
  };
  /// The message that this byte belongs to; nullptr: none.
  const Place* at(uint64_t offset) const {
    auto after = std::upper_bound(at_.begin(), at_.end(), Place{offset, 0, 0});
    if (after == at_.begin() || offset >= (after - 1)->end) return nullptr;
    return &*(after - 1);
  }
  bool live(uint64_t seq) const {
    const State state = segment_.state(segment_.entry(seq).word.load(std::memory_order_acquire));
    return state == State::ready || state == State::deferred;
  }

 private:
  const Segment& segment_;
  std::vector<Place> at_;
};

Result<void> search_segment(const Segment& segment, uint64_t end_seq, std::string_view bytes, std::vector<uint64_t>& into) {
  std::optional<Places> places;  // most segments have none of these bytes
  std::string piece(piece_bytes + bytes.size(), '\0');
  uint64_t skip_to = 0;
  const uint64_t last = segment.entry(end_seq - 1).where.load(std::memory_order_acquire), log_end = where_offset(last) + where_length(last);
  for (uint64_t at = where_offset(segment.entry(segment.base).where.load(std::memory_order_acquire)); at < log_end; at += piece_bytes) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(piece.size(), log_end - at));
    GW_TRY(read_into(segment.log.get(), at, piece.data(), wanted, segment.shown + ".log"));
    for (const char* from = piece.data();;) {
      const char* end = piece.data() + wanted;
      const void* hit = memmem(from, static_cast<size_t>(end - from), bytes.data(), bytes.size());
      if (!hit) break;
      from = static_cast<const char*>(hit) + 1;
      const uint64_t offset = at + static_cast<uint64_t>(static_cast<const char*>(hit) - piece.data());
      if (offset < skip_to) continue;
      if (!places) places.emplace(segment, end_seq);
      const Places::Place* place = places->at(offset);
      if (!place) continue;
      if (places->live(place->seq)) into.push_back(place->seq);
      skip_to = place->end;
    }
  }
  return {};
}

}  // namespace

Result<std::vector<uint64_t>> QueueImpl::search(std::string_view bytes) const {
  GW_ASSERT(!bytes.empty());
  QueueShared& q = shared();
  std::vector<uint64_t> found;
  const uint64_t limit = q.log.durable.load(std::memory_order_acquire);
  uint64_t seq = q.head_base.load(std::memory_order_acquire);
  while (seq != 0 && seq < limit) {
    auto segment = segment_of(seq);
    if (!segment) {
      const uint64_t head = q.head_base.load(std::memory_order_acquire);
      if (head <= seq) return std::move(segment).error();
      seq = head;
      continue;
    }
    const uint64_t end = std::min(limit, (*segment)->sealed() ? (*segment)->end_seq() : limit);
    GW_TRY(search_segment(**segment, end, bytes, found));
    seq = end;
  }
  return found;
}

}  // namespace queue_detail

Result<std::vector<uint64_t>> search_queue(Root& root, const Queue& queue, std::string_view bytes) {
  GW_TRY_ASSIGN(auto impl, root.impl().queue(queue.name()));
  return impl->search(bytes);
}

Result<uint64_t> end_of_queue(Root& root, const Queue& queue) {
  GW_TRY_ASSIGN(auto impl, root.impl().queue(queue.name()));
  return impl->shared().log.durable.load(std::memory_order_acquire);
}

}  // namespace gw
