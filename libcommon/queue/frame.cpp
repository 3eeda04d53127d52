// Frames: how messages and commit records become bytes of a log, and back.
#include <cstring>

#include "../hash.hpp"
#include "../units.hpp"
#include "impl.hpp"

namespace gw::queue_detail {

namespace {
void put_bytes(std::string& out, const void* data, size_t size) { out.append(static_cast<const char*>(data), size); }
template <class T>
void put_int(std::string& out, T value) {
  put_bytes(out, &value, sizeof value);
}
void put_short_string(std::string& out, std::string_view s) { put_int(out, static_cast<uint16_t>(s.size())); out.append(s); }

/// Reads little-endian values from the front; goes bad instead of out of bounds.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }
  std::string_view rest() const { return bytes_; }
  std::string_view take(size_t n) {
    if (!ok_ || bytes_.size() < n) {
      ok_ = false;
      return {};
    }
    auto piece = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return piece;
  }
  template <class T>
  T integer() {
    T value{};
    auto piece = take(sizeof(T));
    if (ok_) memcpy(&value, piece.data(), sizeof(T));
    return value;
  }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

std::string encode_body_ref(const BodyRef& ref) {
  std::string out;
  put_int(out, ref.bytes);
  put_int(out, ref.crc);
  put_short_string(out, ref.name);
  return out;
}

std::optional<BodyRef> decode_body_ref(std::string_view bytes) {
  Reader in(bytes);
  BodyRef ref;
  ref.bytes = in.integer<uint64_t>();
  ref.crc = in.integer<uint32_t>();
  ref.name = in.take(in.integer<uint16_t>());
  if (!in.done()) return std::nullopt;
  return ref;
}

std::string encode_blobs(const std::vector<BlobRef>& blobs) {
  std::string out;
  put_int(out, static_cast<uint16_t>(blobs.size()));
  for (const BlobRef& blob : blobs) {
    put_int(out, static_cast<uint16_t>(blob.key.size()));
    put_int(out, static_cast<uint16_t>(blob.name.size()));
    out += blob.key;
    out += blob.name;
  }
  return out;
}

std::vector<BlobRef> take_blobs(Reader& in) {
  std::vector<BlobRef> blobs;
  for (auto count = in.integer<uint16_t>(); count > 0 && in.ok(); count--) {
    auto key = in.integer<uint16_t>(), name = in.integer<uint16_t>();
    BlobRef blob;
    blob.key = in.take(key);
    blob.name = in.take(name);
    blobs.push_back(std::move(blob));
  }
  return blobs;
}

std::string encode_extra(const DedupKey& key) {
  std::string out;
  put_int(out, static_cast<uint16_t>(key.store.size()));
  put_int(out, static_cast<uint16_t>(key.scope.size()));
  put_int(out, static_cast<uint16_t>(key.id.size()));
  return out + key.store + key.scope + key.id;
}
}  // namespace

std::optional<DedupKey> parse_extra(std::string_view extra) {
  Reader in(extra);
  auto store = in.integer<uint16_t>(), scope = in.integer<uint16_t>(), id = in.integer<uint16_t>();
  DedupKey key;
  key.store = in.take(store);
  key.scope = in.take(scope);
  key.id = in.take(id);
  if (!in.done()) return std::nullopt;
  return key;
}

DraftFrame draft_message(const Message& message, FrameKind kind, Authority authority, Xid xid, const PutOptions& options, const MessageFiles& files) {
  DraftFrame draft;
  std::string headers = encode_headers(message.headers);
  std::string extra = options.dedup ? encode_extra(*options.dedup) : std::string();
  std::string blobs = files.blobs.empty() ? std::string() : encode_blobs(files.blobs);
  std::string ref = files.body ? encode_body_ref(*files.body) : std::string();
  const std::string& body = files.body ? ref : message.body.bytes();
  PayloadHead head = make_payload_head(options.failures, options.due_at_ms, options.expires_at_ms ? options.expires_at_ms : expires_at_ms(message.headers));
  draft.payload.reserve(sizeof head + extra.size() + headers.size() + blobs.size() + body.size());
  put_bytes(draft.payload, &head, sizeof head);
  draft.payload += extra;
  draft.payload += headers;
  draft.payload += blobs;
  draft.payload += body;
  FrameHeader& h = draft.header;
  h.kind = kind;
  h.authority = authority;
  h.flags = static_cast<uint16_t>((files.body ? frame_body_file : 0) | (files.blobs.empty() ? 0 : frame_blobs));
  h.xid_high = xid.high;
  h.xid_low = xid.low;
  h.headers_bytes = static_cast<uint32_t>(headers.size());
  h.extra_bytes = static_cast<uint32_t>(extra.size());
  h.put_at_ms = now_ms();
  draft.body_file = files.any();
  draft.live_bytes = draft.total() + (files.body ? files.body->bytes : 0);
  return draft;
}

void seal_frame(DraftFrame& draft, uint64_t seq, uint32_t incarnation, uint32_t crc_seed, std::string& out) {
  FrameHeader& h = draft.header;
  h.magic = frame_magic;
  h.seq = seq;
  h.incarnation = incarnation;
  h.payload_bytes = static_cast<uint32_t>(draft.payload.size());
  h.payload_crc = crc32c(crc_seed, draft.payload.data(), draft.payload.size());
  h.header_crc = crc32c(crc_seed, reinterpret_cast<const char*>(&h) + 8, sizeof h - 8);
  size_t start = out.size();
  put_bytes(out, &h, sizeof h);
  out += draft.payload;
  out.resize(start + draft.total());
}

std::optional<Frame> parse_frame(std::string_view bytes, uint32_t crc_seed) {
  if (bytes.size() < sizeof(FrameHeader)) return std::nullopt;
  Frame frame;
  memcpy(&frame.header, bytes.data(), sizeof(FrameHeader));
  const FrameHeader& h = frame.header;
  if (h.magic != frame_magic || h.header_crc != crc32c(crc_seed, bytes.data() + 8, sizeof h - 8)) return std::nullopt;
  if (h.payload_bytes > bytes.size() - sizeof h) return std::nullopt;
  std::string_view payload = bytes.substr(sizeof h, h.payload_bytes);
  if (h.payload_crc != crc32c(crc_seed, payload.data(), payload.size())) return std::nullopt;
  if (h.kind == FrameKind::commit) {
    frame.body = payload;
    return frame;
  }
  if (h.kind != FrameKind::message && h.kind != FrameKind::staged) return std::nullopt;
  Reader in(payload);
  auto head = in.take(sizeof(PayloadHead));
  frame.extra = in.take(h.extra_bytes);
  frame.headers = in.take(h.headers_bytes);
  if (h.flags & frame_blobs) frame.blobs = take_blobs(in);
  if (!in.ok()) return std::nullopt;
  memcpy(&frame.head, head.data(), sizeof frame.head);
  frame.body = in.rest();
  if (h.flags & frame_body_file) {
    frame.body_ref = decode_body_ref(frame.body);
    if (!frame.body_ref) return std::nullopt;
  }
  return frame;
}

namespace {
void put_ref(std::string& out, const Ref& ref) {
  put_int(out, ref.before);
  put_int(out, ref.after);
  put_int(out, ref.seq);
  put_bytes(out, ref.uuid.data(), ref.uuid.size());
  put_int(out, static_cast<uint8_t>(ref.queue.size()));
  out += ref.queue;
}
Ref take_ref(Reader& in) {
  Ref ref;
  ref.before = in.integer<uint64_t>();
  ref.after = in.integer<uint64_t>();
  ref.seq = in.integer<uint64_t>();
  auto uuid = in.take(16);
  if (in.ok()) memcpy(ref.uuid.data(), uuid.data(), 16);
  ref.queue = in.take(in.integer<uint8_t>());
  return ref;
}
}  // namespace

DraftFrame draft_commit(const CommitRecord& record) {
  DraftFrame draft;
  put_int(draft.payload, static_cast<uint32_t>(record.sources.size()));
  put_int(draft.payload, static_cast<uint32_t>(record.targets.size()));
  for (auto& ref : record.sources) put_ref(draft.payload, ref);
  for (auto& ref : record.targets) put_ref(draft.payload, ref);
  draft.header.kind = FrameKind::commit;
  draft.header.authority = Authority::commit_log;
  draft.header.xid_high = record.xid.high;
  draft.header.xid_low = record.xid.low;
  draft.header.put_at_ms = now_ms();
  return draft;
}

std::optional<CommitRecord> parse_commit(const Frame& frame, std::string_view payload) {
  Reader in(payload);
  CommitRecord record;
  record.xid = {frame.header.xid_high, frame.header.xid_low};
  record.incarnation = frame.header.incarnation;
  auto sources = in.integer<uint32_t>(), targets = in.integer<uint32_t>();
  if (!in.ok() || sources > transaction_targets_max || targets > transaction_targets_max) return std::nullopt;
  for (uint32_t i = 0; i < sources && in.ok(); i++) record.sources.push_back(take_ref(in));
  for (uint32_t i = 0; i < targets && in.ok(); i++) record.targets.push_back(take_ref(in));
  if (!in.done()) return std::nullopt;
  return record;
}

}  // namespace gw::queue_detail
