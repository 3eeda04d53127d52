#include "message.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "gw_assert.hpp"
#include "hash.hpp"
#include "json.hpp"
#include "state_files.hpp"
#include "units.hpp"

namespace gw {

namespace {

constexpr size_t copy_chunk_bytes = 256 * 1024;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Most names begin alike, so that the last character tells different ones apart; equal ones are mostly written alike.
bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  if (a.empty() || a == b) return true;
  return lower(a.back()) == lower(b.back()) && std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

bool control(char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

void Headers::set(std::string_view name, std::string_view value) {
  for (Entry& entry : entries_) {
    if (same_name(entry.name, name)) {
      entry.value = value;
      return;
    }
  }
  entries_.push_back({std::string(name), std::string(value)});
}

const std::string* Headers::find(std::string_view name) const {
  for (const Entry& entry : entries_)
    if (same_name(entry.name, name)) return &entry.value;
  return nullptr;
}

std::string_view Headers::get(std::string_view name) const {
  const std::string* value = find(name);
  return value ? std::string_view(*value) : std::string_view();
}

bool Headers::remove(std::string_view name) {
  return std::erase_if(entries_, [&](const Entry& entry) { return same_name(entry.name, name); }) > 0;
}

bool Headers::operator==(const Headers& other) const {
  return std::equal(entries_.begin(), entries_.end(), other.entries_.begin(), other.entries_.end(),
                    [](const Entry& a, const Entry& b) { return same_name(a.name, b.name) && a.value == b.value; });
}

Result<std::string> Body::read_at(uint64_t offset, size_t length) const {
  if (offset >= size()) return std::string();
  length = static_cast<size_t>(std::min<uint64_t>(length, size() - offset));
  if (!file_) return bytes_.substr(static_cast<size_t>(offset), length);
  std::string bytes(length, '\0');
  size_t have = 0;
  while (have < length) {
    ssize_t n = ::pread(file_->fd.get(), bytes.data() + have, length - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", file_->path, errno);
    // A body never shrinks: somebody else wrote to our file.
    if (n == 0)
      return Error{ExitCode::io_error, 0, "read '" + file_->path + "': the file has fewer than its " + std::to_string(file_->bytes) + " bytes"};
    have += static_cast<size_t>(n);
  }
  return bytes;
}

Result<std::string> Body::read_all(uint64_t limit) const {
  if (size() > limit)
    return Error{ExitCode::bad_data, 0, "the body has " + std::to_string(size()) + " bytes, more than " + std::to_string(limit)};
  return read_at(0, static_cast<size_t>(size()));
}

Result<UniqueFd> Body::open() const {
  if (file_) {
    // Through /proc: the name may be gone, and dup() would share the offset.
    std::string name = "/proc/self/fd/" + std::to_string(file_->fd.get());
    UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return errno_error("open", file_->path, errno);
    return fd;
  }
  UniqueFd memory(::memfd_create("gatepost-body", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return errno_error("create", "a file in memory", errno);
  GW_TRY(write_all(memory.get(), bytes_, "a file in memory"));
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return errno_error("seal", "a file in memory", errno);
  if (::lseek(memory.get(), 0, SEEK_SET) != 0) return errno_error("seek", "a file in memory", errno);
  return memory;
}

Result<void> Body::copy_to(int fd) const {
  if (!file_) return write_all(fd, bytes_, "the body");
  for (uint64_t offset = 0; offset < size();) {
    GW_TRY_ASSIGN(std::string chunk, read_at(offset, copy_chunk_bytes));
    GW_TRY(write_all(fd, chunk, "the body"));
    offset += chunk.size();
  }
  return {};
}

std::string new_message_id() {
  unsigned char random[16];
  size_t have = 0;
  while (have < sizeof random) {
    ssize_t n = ::getrandom(random + have, sizeof random - have, 0);
    GW_ASSERT(n > 0 || errno == EINTR);
    if (n > 0) have += static_cast<size_t>(n);
  }
  random[6] = static_cast<unsigned char>((random[6] & 0x0f) | 0x40);  // version 4
  random[8] = static_cast<unsigned char>((random[8] & 0x3f) | 0x80);  // variant 1
  std::string id = hex(std::string_view(reinterpret_cast<char*>(random), sizeof random));
  for (size_t at : {20u, 16u, 12u, 8u}) id.insert(at, 1, '-');
  return id;
}

bool message_id_ok(std::string_view id) {
  return !id.empty() && id.size() <= message_id_bytes_max && std::none_of(id.begin(), id.end(), control) && utf8_ok(id);
}

std::string message_type(const Headers& headers) {
  std::string_view types = headers.get(header::enclosed_message_types);
  types = types.substr(0, types.find(';'));
  return std::string(trimmed(types.substr(0, types.find(','))));
}

int64_t expires_at_ms(const Headers& headers) {
  const std::string* sent_text = headers.find(header::time_sent);
  const std::string* ttl_text = headers.find(header::time_to_be_received);
  if (!sent_text || !ttl_text) return 0;
  auto sent = parse_nsb_time_ms(*sent_text);
  auto ttl = parse_timespan_ms(*ttl_text);
  int64_t expires;
  // TimeSpan.MaxValue is "never" and does not fit; nothing negative is believed.
  if (!sent || !ttl || *ttl < 0 || __builtin_add_overflow(*sent, *ttl, &expires)) return 0;
  constexpr int64_t timespan_max_ms = 922'337'203'685'477;
  return *ttl >= timespan_max_ms ? 0 : expires;
}

namespace {

void append_encoded(std::string& text, std::string_view raw, std::string_view also) {
  for (char c : raw) {
    if (control(c) || c == '%' || also.find(c) != std::string_view::npos)
      text += "%" + hex(std::string_view(&c, 1));
    else
      text += c;
  }
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::optional<std::string> decoded(std::string_view text) {
  std::string raw;
  raw.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (control(text[i])) return std::nullopt;
    if (text[i] != '%') {
      raw += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    raw += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return raw;
}

void append_le(std::string& bytes, uint32_t value, size_t count) {
  for (size_t i = 0; i < count; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
}

uint32_t read_le(std::string_view bytes, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return value;
}

}  // namespace

std::string headers_to_text(const Headers& headers) {
  std::string text;
  for (const auto& [name, value] : headers.entries()) {
    append_encoded(text, name, ": ");
    text += ": ";
    append_encoded(text, value, "");
    text += '\n';
  }
  return text;
}

Result<Headers> headers_from_text(std::string_view text) {
  Headers headers;
  for (size_t line_number = 1; !text.empty(); ++line_number) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto bad = [&](const char* why) { return Error{ExitCode::bad_data, 0, "header line " + std::to_string(line_number) + ": " + why}; };
    size_t colon = line.find(':');
    if (colon == 0 || colon == std::string_view::npos) return bad("expected 'Name: value'");
    std::string_view value_text = line.substr(colon + 1);
    if (value_text.starts_with(' ')) value_text.remove_prefix(1);
    auto name = decoded(line.substr(0, colon));
    auto value = decoded(value_text);
    if (!name || !value) return bad("a control byte, or % without two hexadecimal digits");
    if (headers.find(*name)) return bad("the name is there already");
    headers.entries().push_back({std::move(*name), std::move(*value)});
  }
  return headers;
}

std::string encode_headers(const Headers& headers) {
  size_t size = 0;
  for (const auto& [name, value] : headers.entries()) size += 6 + name.size() + value.size();
  std::string bytes;
  bytes.reserve(size);
  for (const auto& [name, value] : headers.entries()) {
    GW_ASSERT(name.size() <= UINT16_MAX && value.size() <= UINT32_MAX);
    append_le(bytes, static_cast<uint32_t>(name.size()), 2);
    append_le(bytes, static_cast<uint32_t>(value.size()), 4);
    bytes += name;
    bytes += value;
  }
  return bytes;
}

Result<Headers> decode_headers(std::string_view bytes) {
  const auto bad = [] { return Error{ExitCode::bad_data, 0, "the headers of the record are damaged"}; };
  Headers headers;
  while (!bytes.empty()) {
    if (bytes.size() < 6) return bad();
    size_t name_size = read_le(bytes, 2), value_size = read_le(bytes.substr(2), 4);
    bytes.remove_prefix(6);
    if (name_size == 0 || name_size > bytes.size() || value_size > bytes.size() - name_size) return bad();
    headers.entries().push_back({std::string(bytes.substr(0, name_size)), std::string(bytes.substr(name_size, value_size))});
    bytes.remove_prefix(name_size + value_size);
  }
  return headers;
}

}  // namespace gw
