#include "tar.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "gw_assert.hpp"

namespace gw {

namespace {

constexpr size_t block_bytes = 512;
constexpr uint64_t octal_size_max = 0777'7777'7777;
constexpr uint64_t records_bytes_max = 4 << 20;  ///< extended records of one member

struct RawHeader {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100], magic[6], version[2];
  char uname[32], gname[32], devmajor[8], devminor[8], prefix[155], fill[12];
};
static_assert(sizeof(RawHeader) == block_bytes);

// `%0*lo` into a field that ends with a NUL.
template <size_t N>
void put_octal(char (&field)[N], uint64_t value) {
  char digits[32];
  int n = snprintf(digits, sizeof digits, "%0*llo", static_cast<int>(N - 1), static_cast<unsigned long long>(value));
  GW_ASSERT(n == static_cast<int>(N - 1));
  std::memcpy(field, digits, N);
}

unsigned checksum_of(const RawHeader& header) {
  RawHeader copy = header;
  std::memset(copy.checksum, ' ', sizeof copy.checksum);
  unsigned sum = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&copy);
  for (size_t i = 0; i < block_bytes; ++i) sum += bytes[i];
  return sum;
}

template <size_t N>
std::optional<uint64_t> get_number(const char (&field)[N]) {
  if (static_cast<unsigned char>(field[0]) == 0x80) {  // GNU: binary, big endian
    uint64_t value = 0;
    for (size_t i = 1; i < N; ++i) {
      if (value >> 56) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(field[i]);
    }
    return value;
  }
  size_t start = 0, end = strnlen(field, N);
  while (start < end && field[start] == ' ') ++start;
  while (end > start && field[end - 1] == ' ') --end;
  uint64_t value = 0;
  auto [at, error] = std::from_chars(field + start, field + end, value, 8);
  if (start == end || error != std::errc() || at != field + end) return std::nullopt;
  return value;
}

template <size_t N>
std::string get_text(const char (&field)[N]) {
  return std::string(field, strnlen(field, N));
}

// "LENGTH KEY=VALUE\n"; the length counts itself.
std::string record(std::string_view key, std::string_view value) {
  size_t rest = key.size() + value.size() + 3, length = rest + 1;
  while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
  return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

std::string seconds_text(int64_t ms) {
  char text[40];
  snprintf(text, sizeof text, "%lld.%03d", static_cast<long long>(ms / 1000), static_cast<int>(ms % 1000));
  return text;
}

}  // namespace

Result<void> TarWriter::header(const std::string& name, uint64_t bytes, int64_t modified_s, char type) {
  RawHeader raw{};
  std::memcpy(raw.name, name.data(), std::min(name.size(), sizeof raw.name));
  put_octal(raw.mode, type == '5' ? 0700 : 0600);
  put_octal(raw.uid, 0);
  put_octal(raw.gid, 0);
  put_octal(raw.size, std::min(bytes, octal_size_max));
  put_octal(raw.mtime, static_cast<uint64_t>(std::max<int64_t>(modified_s, 0)));
  raw.type = type;
  std::memcpy(raw.magic, "ustar", 6);
  std::memcpy(raw.version, "00", 2);
  snprintf(raw.checksum, sizeof raw.checksum, "%06o", checksum_of(raw));
  raw.checksum[7] = ' ';
  return write_(std::string_view(reinterpret_cast<const char*>(&raw), sizeof raw));
}

Result<void> TarWriter::pad(uint64_t bytes) {
  static constexpr char zeros[block_bytes] = {};
  size_t over = static_cast<size_t>(bytes % block_bytes);
  if (over == 0) return {};
  return write_(std::string_view(zeros, block_bytes - over));
}

Result<void> TarWriter::begin(const TarMember& member) {
  GW_ASSERT(left_ == 0);
  std::string records;
  if (member.name.size() > sizeof(RawHeader::name)) records += record("path", member.name);
  if (member.bytes > octal_size_max) records += record("size", std::to_string(member.bytes));
  if (member.modified_ms > 0) records += record("mtime", seconds_text(member.modified_ms));
  for (const auto& [key, value] : member.records) records += record(key, value);
  if (!records.empty()) {
    GW_TRY(header("PaxHeaders/" + member.name.substr(0, 80), records.size(), member.modified_ms / 1000, 'x'));
    GW_TRY(write_(records));
    GW_TRY(pad(records.size()));
  }
  left_ = size_ = member.bytes;
  return header(member.name, member.bytes, member.modified_ms / 1000, member.type);
}

Result<void> TarWriter::data(std::string_view bytes) {
  GW_ASSERT(bytes.size() <= left_);
  left_ -= bytes.size();
  return write_(bytes);
}

Result<void> TarWriter::end() {
  GW_ASSERT(left_ == 0);
  return pad(size_);
}

Result<void> TarWriter::finish() { return write_(std::string(2 * block_bytes, '\0')); }

struct TarReader::Block {
  RawHeader raw;
};

Error TarReader::bad(const std::string& what) const {
  return Error{ExitCode::bad_data, 0, last_name_.empty() ? what + " at the start" : what + " after the member '" + last_name_ + "'"};
}

// False at the end of the input.
Result<bool> TarReader::read_block(Block& into) {
  char* at = reinterpret_cast<char*>(&into.raw);
  for (size_t have = 0; have < block_bytes;) {
    GW_TRY_ASSIGN(size_t n, read_(at + have, block_bytes - have));
    if (n == 0 && have == 0) return false;
    if (n == 0) return bad("the archive is cut off");
    have += n;
  }
  return true;
}

Result<size_t> TarReader::read(char* into, size_t size) {
  size = static_cast<size_t>(std::min<uint64_t>(size, left_));
  if (size == 0) return size_t{0};
  GW_TRY_ASSIGN(size_t n, read_(into, size));
  if (n == 0) return bad("the archive is cut off");
  left_ -= n;
  return n;
}

Result<void> TarReader::skip() {
  char buffer[block_bytes * 8];
  left_ += padding_;
  padding_ = 0;
  while (left_ > 0) GW_TRY(read(buffer, sizeof buffer));
  return {};
}

Result<std::string> TarReader::read_small(uint64_t bytes) {
  if (bytes > records_bytes_max) return bad("extended records of more than 4 MiB");
  std::string text(static_cast<size_t>(bytes), '\0');
  for (size_t have = 0; have < text.size();) {
    GW_TRY_ASSIGN(size_t n, read(text.data() + have, text.size() - have));
    have += n;
  }
  GW_TRY(skip());
  return text;
}

Result<void> TarReader::read_records(uint64_t bytes, std::map<std::string, std::string>& into) {
  GW_TRY_ASSIGN(std::string text, read_small(bytes));
  std::string_view rest = text;
  while (!rest.empty()) {
    size_t length = 0;
    auto [at, error] = std::from_chars(rest.data(), rest.data() + rest.size(), length);
    size_t digits = static_cast<size_t>(at - rest.data());
    if (error != std::errc() || length > rest.size() || length < digits + 3 || rest[digits] != ' ' || rest[length - 1] != '\n')
      return bad("a damaged extended record");
    std::string_view pair = rest.substr(digits + 1, length - digits - 2);
    size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return bad("a damaged extended record");
    into[std::string(pair.substr(0, equals))] = pair.substr(equals + 1);
    rest.remove_prefix(length);
  }
  return {};
}

Result<std::optional<TarMember>> TarReader::next() {
  GW_TRY(skip());
  std::map<std::string, std::string> records = global_;
  std::string long_name;
  for (;;) {
    Block block;
    GW_TRY_ASSIGN(bool there, read_block(block));
    if (!there) return bad(last_name_.empty() ? "no archive: nothing there" : "the archive is cut off");
    const char* bytes = reinterpret_cast<const char*>(&block.raw);
    if (std::all_of(bytes, bytes + block_bytes, [](char c) { return c == 0; })) return std::optional<TarMember>();
    auto sum = get_number(block.raw.checksum), size = get_number(block.raw.size);
    if (!sum || *sum != checksum_of(block.raw)) return bad("not a tar archive, or a damaged one: wrong checksum of a header");
    if (!size) return bad("a damaged size");
    left_ = *size;
    padding_ = (block_bytes - *size % block_bytes) % block_bytes;
    if (block.raw.type == 'x' || block.raw.type == 'g') {
      GW_TRY(read_records(*size, block.raw.type == 'x' ? records : global_));
      if (block.raw.type == 'g') records.insert(global_.begin(), global_.end());
      continue;
    }
    if (block.raw.type == 'L') {
      GW_TRY_ASSIGN(long_name, read_small(*size));
      long_name.resize(strnlen(long_name.data(), long_name.size()));
      continue;
    }
    TarMember member;
    std::string prefix = std::memcmp(block.raw.magic, "ustar", 6) == 0 ? get_text(block.raw.prefix) : "";
    member.name = !long_name.empty() ? long_name : prefix.empty() ? get_text(block.raw.name) : prefix + "/" + get_text(block.raw.name);
    member.type = block.raw.type == '\0' || block.raw.type == '7' ? '0' : block.raw.type;
    member.modified_ms = static_cast<int64_t>(std::min<uint64_t>(get_number(block.raw.mtime).value_or(0), INT64_MAX / 1000)) * 1000;
    if (auto path = records.extract("path")) member.name = path.mapped();
    if (auto declared = records.extract("size")) {
      auto [at, error] = std::from_chars(declared.mapped().data(), declared.mapped().data() + declared.mapped().size(), left_);
      if (error != std::errc() || *at != '\0') return bad("a damaged size");
      padding_ = (block_bytes - left_ % block_bytes) % block_bytes;
    }
    member.bytes = left_;
    member.records = std::move(records);
    last_name_ = member.name;
    return std::optional(std::move(member));
  }
}

}  // namespace gw
