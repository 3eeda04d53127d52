#include "archive_reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr uint64_t headers_text_bytes_max = 4 * headers_bytes_max;  // every byte may be percent-encoded

std::string_view bytes_of(const Sha256& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

std::optional<std::string> find(const TarMember& member, const char* key) {
  auto at = member.records.find(key);
  return at == member.records.end() ? std::nullopt : std::optional(at->second);
}

Result<int64_t> time_record(const TarMember& member, const char* key) {
  auto text = find(member, key);
  if (!text) return int64_t{0};
  auto ms = parse_time_ms(*text, 0);
  if (!ms) return bad_member(member.name, "'" + *text + "' is not a time");
  return *ms;
}

Result<uint64_t> number_record(const TarMember& member, const char* key, const char* what) {
  auto text = find(member, key).value_or("");
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return bad_member(member.name, std::string("no ") + what);
  return number;
}

Result<void> check_format(const TarMember& member) {
  if (auto format = find(member, "GATEPOST.format"); format && *format != archive_format)
    return Error{ExitCode::system, 0, "member '" + member.name + "': archive format " + *format + ", this version reads " + archive_format};
  return {};
}

/// A path below the root, of names that are neither hidden nor lead out of it.
bool state_path_ok(std::string_view path) {
  for (size_t at = 0; at <= path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    std::string_view name = path.substr(at, slash - at);
    if (name.starts_with('+')) name.remove_prefix(1);
    if (name.empty() || name[0] == '.' || name.find('\0') != std::string_view::npos) return false;
    at = slash + 1;
  }
  return true;
}

}  // namespace

Error bad_member(const std::string& member, const std::string& what) { return Error{ExitCode::bad_data, 0, "member '" + member + "': " + what}; }

Result<void> ArchiveReader::read(int fd, const Visitor& visitor) {
  if (::lseek(fd, 0, SEEK_SET) != 0) return errno_error("seek", "stdin", errno);
  ArchiveReader reader(fd, visitor);
  return reader.run();
}

ArchiveReader::ArchiveReader(int fd, const Visitor& visitor)
    : visitor_(visitor), buffer_(archive_chunk_bytes, '\0'), tar_([this, fd](char* into, size_t size) { return fill(fd, into, size); }) {}

// The headers of members are small: they are read ahead together.
Result<size_t> ArchiveReader::fill(int fd, char* into, size_t size) {
  if (at_ == end_) {
    ssize_t n;
    do n = ::read(fd, buffer_.data(), buffer_.size());
    while (n < 0 && errno == EINTR);
    if (n < 0) return errno_error("read", "stdin", errno);
    at_ = 0;
    end_ = static_cast<size_t>(n);
  }
  size_t n = std::min(size, end_ - at_);
  std::copy_n(buffer_.data() + at_, n, into);
  at_ += n;
  return n;
}

Result<void> ArchiveReader::run() {
  for (;;) {
    GW_TRY_ASSIGN(auto member, tar_.next());
    if (!member) break;
    GW_TRY(one_member(*member));
  }
  if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
  if (!blobs_of_.empty()) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
  return {};
}

Result<void> ArchiveReader::one_member(const TarMember& member) {
  if (member.name.starts_with(archive_state_prefix)) return root_member(member);
  size_t slash = member.name.find('/');
  std::string queue = member.name.substr(0, slash);
  if (slash == std::string::npos || !queue_name_ok(queue)) return bad_member(member.name, "not part of an export of queues");
  std::string_view rest = std::string_view(member.name).substr(slash + 1);
  if (rest.empty() && member.type == '5') return queue_member(member, queue);
  size_t dot = rest.find('.');
  std::string base = member.name.substr(0, slash + 1 + std::min(dot, rest.size()));
  std::string_view kind = dot == std::string_view::npos ? "" : rest.substr(dot);
  if (member.type == '0' && kind == ".blob." + std::to_string(blob_sums_.size() + 1)) return blob_member(member, base);
  if (member.type != '0' || (kind != ".body" && kind != ".headers")) return bad_member(member.name, "not part of an export of queues");
  if (kind == ".body") return body_member(member, base);
  return headers_member(member, base, queue);
}

Result<void> ArchiveReader::root_member(const TarMember& member) {
  const std::string path = member.name.substr(archive_state_prefix.size());
  if (path.empty() && member.type == '5') {
    GW_TRY(check_format(member));
    GW_TRY_ASSIGN(int64_t exported_at_ms, time_record(member, "GATEPOST.exported_at"));
    return visitor_.on_root(find(member, "GATEPOST.machine").value_or(""), exported_at_ms);
  }
  if (member.type != '0' || !state_path_ok(path)) return bad_member(member.name, "not part of an export of queues");
  return state_member(member, path);
}

Result<void> ArchiveReader::state_member(const TarMember& member, const std::string& path) {
  GW_TRY(visitor_.on_state(path));
  GW_TRY_ASSIGN(std::string sum, contents(member, visitor_.on_state_bytes));
  auto stored = find(member, "GATEPOST.sha256");
  if (!stored || *stored != hex(sum)) return bad_member(member.name, "it is damaged: its SHA-256 is not the one that was stored");
  return visitor_.on_state_end();
}

Result<void> ArchiveReader::queue_member(const TarMember& member, const std::string& queue) {
  GW_TRY(check_format(member));
  QueueConfig config;
  if (auto limit = find(member, "GATEPOST.max_bytes")) config.max_bytes = parse_size(*limit).value_or(0);
  config.journal = find(member, "GATEPOST.journal").has_value();
  ArchivedHold hold;
  hold.takes_on = !find(member, "GATEPOST.takes");
  hold.puts_on = !find(member, "GATEPOST.puts");
  hold.reason = find(member, "GATEPOST.hold_reason").value_or("");
  return visitor_.on_queue(queue, config, hold);
}

/// Hands on what is in the member; returns its SHA-256.
Result<std::string> ArchiveReader::contents(const TarMember& member, const std::function<Result<void>(std::string_view)>& on_bytes) {
  Digest digest(Digest::Kind::sha256);
  std::string chunk(archive_chunk_bytes, '\0');
  for (;;) {
    GW_TRY_ASSIGN(size_t n, tar_.read(chunk.data(), chunk.size()));
    if (n == 0) break;
    digest.update(std::string_view(chunk.data(), n));
    auto taken = on_bytes(std::string_view(chunk.data(), n));
    if (!taken) return Error{taken.error().code, taken.error().sys_errno, "member '" + member.name + "': " + taken.error().text};
  }
  return digest.finish();
}

Result<void> ArchiveReader::blob_member(const TarMember& member, const std::string& base) {
  if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
  if (!blobs_of_.empty() && blobs_of_ != base) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
  auto property = find(member, "GATEPOST.property");
  if (!property || property->empty()) return bad_member(member.name, "no name of a property");
  blobs_of_ = base;
  GW_TRY(visitor_.on_blob(std::string(header::data_bus_prefix) + *property));
  GW_TRY_ASSIGN(std::string sum, contents(member, visitor_.on_blob_bytes));
  blob_sums_.push_back(hex(sum));
  return visitor_.on_blob_end();
}

Result<void> ArchiveReader::body_member(const TarMember& member, const std::string& base) {
  if (!body_of_.empty()) return bad_member(body_of_ + ".body", "its headers are missing");
  if (!blobs_of_.empty() && blobs_of_ != base) return bad_member(blobs_of_ + ".blob.1", "its message is missing");
  body_of_ = base;
  body_bytes_ = member.bytes;
  visitor_.on_body();
  GW_TRY_ASSIGN(std::string sum, contents(member, visitor_.on_body_bytes));
  std::copy_n(sum.begin(), sum.size(), reinterpret_cast<char*>(digest_.data()));
  return {};
}

Result<void> ArchiveReader::headers_member(const TarMember& member, const std::string& base, const std::string& queue) {
  if (body_of_ != base) return bad_member(member.name, "its body is missing");
  body_of_.clear();
  if (member.bytes > headers_text_bytes_max) return bad_member(member.name, "more than 4 MiB of headers");
  std::string text(static_cast<size_t>(member.bytes), '\0');
  for (size_t have = 0; have < text.size();) {
    GW_TRY_ASSIGN(size_t n, tar_.read(text.data() + have, text.size() - have));
    have += n;
  }
  auto headers = headers_from_text(text);
  if (!headers) return bad_member(member.name, headers.error().text);
  ArchivedMessage entry;
  entry.queue = queue;
  entry.member = member.name;
  entry.headers = std::move(*headers);
  entry.body_sha256 = digest_;
  entry.body_bytes = body_bytes_;
  if (!message_id_ok(entry.headers.get(header::message_id))) return bad_member(member.name, "no message id");
  GW_TRY(check_sums(member, base));
  GW_TRY_ASSIGN(entry.seq, number_record(member, "GATEPOST.seq", "message number"));
  entry.put_at = find(member, "GATEPOST.put_at").value_or("");
  GW_TRY_ASSIGN(entry.put_at_ms, time_record(member, "GATEPOST.put_at"));
  if (find(member, "GATEPOST.failures")) {
    GW_TRY_ASSIGN(uint64_t failures, number_record(member, "GATEPOST.failures", "count of failed attempts"));
    entry.failures = static_cast<unsigned>(std::min<uint64_t>(failures, 255));
  }
  GW_TRY_ASSIGN(entry.due_at_ms, time_record(member, "GATEPOST.due_at"));
  GW_TRY_ASSIGN(entry.expires_at_ms, time_record(member, "GATEPOST.expires_at"));
  return visitor_.on_message(std::move(entry));
}

/// Body and blobs that came before these headers are those that were exported.
Result<void> ArchiveReader::check_sums(const TarMember& member, const std::string& base) {
  auto sum = find(member, "GATEPOST.body_sha256");
  if (!sum || *sum != hex(bytes_of(digest_))) return bad_member(base + ".body", "the body is damaged: its SHA-256 is not the one that was stored");
  for (size_t i = 0; i < blob_sums_.size(); ++i) {
    const std::string number = std::to_string(i + 1);
    auto blob_sum = find(member, ("GATEPOST.blob_sha256." + number).c_str());
    if (!blob_sum || *blob_sum != blob_sums_[i]) return bad_member(base + ".blob." + number, "the blob is damaged: its SHA-256 is not the one that was stored");
  }
  if (find(member, ("GATEPOST.blob_sha256." + std::to_string(blob_sums_.size() + 1)).c_str()))
    return bad_member(member.name, "a blob of this message is missing");
  blobs_of_.clear();
  blob_sums_.clear();
  return {};
}

}  // namespace gw::inspect
