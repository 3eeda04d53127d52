#include "hash.hpp"

#include <dlfcn.h>
#include <openssl/evp.h>

#include <cstring>

#include "gw_assert.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#endif

namespace gw {

namespace {

// The few functions of libcrypto that we need, looked up when the first digest is made. Linking it would cost
// every short command a millisecond at its start.
struct Crypto {
  decltype(&EVP_MD_CTX_new) ctx_new = nullptr;
  decltype(&EVP_MD_CTX_free) ctx_free = nullptr;
  decltype(&EVP_DigestInit_ex) init = nullptr;
  decltype(&EVP_DigestUpdate) update = nullptr;
  decltype(&EVP_DigestFinal_ex) final = nullptr;
  // Fetched once: OpenSSL 3 looks an algorithm up, under a lock, whenever it is named.
  const EVP_MD *md5 = nullptr, *sha256 = nullptr;

  Crypto() {
    void* library = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!library) assertion_failed("libcrypto.so.3 can be loaded (package libssl3)", __FILE__, __LINE__);
    load(library, "EVP_MD_CTX_new", ctx_new);
    load(library, "EVP_MD_CTX_free", ctx_free);
    load(library, "EVP_DigestInit_ex", init);
    load(library, "EVP_DigestUpdate", update);
    load(library, "EVP_DigestFinal_ex", final);
    decltype(&EVP_MD_fetch) fetch = nullptr;
    load(library, "EVP_MD_fetch", fetch);
    md5 = fetch(nullptr, "MD5", nullptr);
    sha256 = fetch(nullptr, "SHA256", nullptr);
    if (!md5 || !sha256) assertion_failed("libcrypto offers MD5 and SHA-256", __FILE__, __LINE__);
  }

  template <class Function>
  static void load(void* library, const char* name, Function& into) {
    void* symbol = dlsym(library, name);
    GW_ASSERT(symbol != nullptr);
    into = reinterpret_cast<Function>(symbol);
  }
};

const Crypto& crypto() {
  static const Crypto instance;
  return instance;
}

template <size_t size>
std::array<unsigned char, size> digest_array(Digest::Kind kind, std::string_view bytes) {
  Digest digest(kind);
  digest.update(bytes);
  std::string text = digest.finish();
  GW_ASSERT(text.size() == size);
  std::array<unsigned char, size> result;
  std::memcpy(result.data(), text.data(), size);
  return result;
}

}  // namespace

struct Digest::Impl {
  EVP_MD_CTX* context = crypto().ctx_new();
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() { crypto().ctx_free(context); }
};

Digest::Digest(Kind kind) : impl_(std::make_unique<Impl>()) {
  const EVP_MD* algorithm = kind == Kind::md5 ? crypto().md5 : crypto().sha256;
  GW_ASSERT(impl_->context && crypto().init(impl_->context, algorithm, nullptr) == 1);
}
Digest::Digest(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::update(std::string_view bytes) { GW_ASSERT(crypto().update(impl_->context, bytes.data(), bytes.size()) == 1); }

std::string Digest::finish() {
  unsigned char buffer[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  GW_ASSERT(crypto().final(impl_->context, buffer, &size) == 1);
  return std::string(reinterpret_cast<const char*>(buffer), size);
}

Sha256 sha256(std::string_view bytes) { return digest_array<32>(Digest::Kind::sha256, bytes); }
Md5 md5(std::string_view bytes) { return digest_array<16>(Digest::Kind::md5, bytes); }

std::string hex(std::string_view bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string result;
  result.reserve(bytes.size() * 2);
  for (char c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    result += digits[byte >> 4];
    result += digits[byte & 15];
  }
  return result;
}

namespace {
constexpr char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}
}  // namespace

std::string base64(std::string_view bytes) {
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    size_t have = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < have ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) result += k <= have ? base64_digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return result;
}

Result<std::string> unbase64(std::string_view text) {
  const Error bad{ExitCode::bad_data, 0, "not base64"};
  if (text.size() % 4 != 0) return bad;
  std::string result;
  result.reserve(text.size() / 4 * 3);
  for (size_t i = 0; i < text.size(); i += 4) {
    bool last = i + 4 == text.size();
    size_t padding = !last ? 0 : text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
    uint32_t group = 0;
    for (size_t k = 0; k < 4 - padding; ++k) {
      int value = base64_value(text[i + k]);
      if (value < 0) return bad;
      group |= static_cast<uint32_t>(value) << (18 - 6 * k);
    }
    // Bits that the padding leaves over must be zero: there is one text for each value.
    if (group & ((padding == 1 ? 0xffu : padding == 2 ? 0xffffu : 0u))) return bad;
    for (size_t k = 0; k < 3 - padding; ++k) result += static_cast<char>(group >> (16 - 8 * k) & 0xff);
  }
  return result;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference = static_cast<unsigned char>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

namespace {

struct CrcTable {
  uint32_t slice[8][256];
};

constexpr CrcTable make_crc_table() {
  CrcTable table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    table.slice[0][i] = crc;
  }
  for (uint32_t i = 0; i < 256; ++i)
    for (int k = 1; k < 8; ++k) table.slice[k][i] = table.slice[k - 1][i] >> 8 ^ table.slice[0][table.slice[k - 1][i] & 0xff];
  return table;
}

uint32_t crc32c_portable(uint32_t crc, const unsigned char* data, size_t size) {
  static constexpr CrcTable table = make_crc_table();
  for (; size >= 8; data += 8, size -= 8) {
    uint32_t low = crc ^ (static_cast<uint32_t>(data[0]) | static_cast<uint32_t>(data[1]) << 8 | static_cast<uint32_t>(data[2]) << 16 |
                          static_cast<uint32_t>(data[3]) << 24);
    crc = table.slice[7][low & 0xff] ^ table.slice[6][low >> 8 & 0xff] ^ table.slice[5][low >> 16 & 0xff] ^ table.slice[4][low >> 24] ^
          table.slice[3][data[4]] ^ table.slice[2][data[5]] ^ table.slice[1][data[6]] ^ table.slice[0][data[7]];
  }
  for (; size > 0; ++data, --size) crc = crc >> 8 ^ table.slice[0][(crc ^ *data) & 0xff];
  return crc;
}

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] uint32_t crc32c_sse42(uint32_t crc, const unsigned char* data, size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; data += 8, size -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; size > 0; ++data, --size) crc = _mm_crc32_u8(crc, *data);
  return crc;
}

bool has_sse42() {
  static const bool answer = [] {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2);
  }();
  return answer;
}
#endif

}  // namespace

uint32_t crc32c(uint32_t seed, const void* data, size_t size) {
  auto bytes = static_cast<const unsigned char*>(data);
#if defined(__x86_64__)
  if (has_sse42()) return ~crc32c_sse42(~seed, bytes, size);
#endif
  return ~crc32c_portable(~seed, bytes, size);
}

}  // namespace gw
