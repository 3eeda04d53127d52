// Texts that people, programs and archives bring.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "config.hpp"
#include "json.hpp"
#include "message.hpp"
#include "selection.hpp"
#include "tar.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "units.hpp"

namespace gw::fuzz {

namespace {

/// A file of this process that holds the input.
class InputFile {
 public:
  InputFile() {
    const char* dir = std::getenv("TMPDIR");
    path_ = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : dir ? dir : "/tmp";
    path_ += "/gatepost-fuzz.XXXXXX";
    fd_ = ::mkstemp(path_.data());
    if (fd_ < 0) std::abort();
  }
  ~InputFile() {
    ::close(fd_);
    ::unlink(path_.c_str());
  }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  const std::string& with(std::string_view bytes) {
    if (::ftruncate(fd_, 0) != 0 || ::pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) std::abort();
    return path_;
  }

 private:
  std::string path_;
  int fd_ = -1;
};

void visit(const JsonValue& value, unsigned depth = 0) {
  if (depth > 64) return;
  value.integer();
  value.number();
  value.boolean();
  if (auto text = value.string()) {
    auto again = JsonValue::parse(json_quote(*text));
    require(again && again->string() == text, "a string can be quoted");
  }
  for (const auto& [name, member] : value.members()) {
    require(value.get(name).has_value(), "a member is found by its name");
    visit(member, depth + 1);
  }
  for (const auto& item : value.items()) visit(item, depth + 1);
}

}  // namespace

void config(std::string_view input) {
  static InputFile file;
  const std::string& path = file.with(input);
  auto loaded = load_config(path, true);
  if (!loaded) {
    require(loaded.error().code == ExitCode::config || loaded.error().code == ExitCode::no_permission, "a bad configuration is 78 or 77");
    require(loaded.error().text.find(path) != std::string::npos, "an error names the file");
    return;
  }
  for (const SiteConfig& site : loaded->sites) {
    auto found = resolve_sites(*loaded, site.key);
    require(found && !found->empty(), "a site is found by its key");
  }
}

void tar(std::string_view input) {
  size_t at = 0;
  TarReader reader([&](char* into, size_t size) -> Result<size_t> {
    size_t n = std::min(size, input.size() - at);
    std::memcpy(into, input.data() + at, n);
    at += n;
    return n;
  });
  char buffer[777];
  uint64_t members = 0;
  for (;;) {
    auto member = reader.next();
    if (!member || !*member) break;
    require(++members <= input.size() / 512, "a member has a block of its own");
    uint64_t bytes = 0;
    if (members % 3 == 0) continue;  // passed over
    for (;;) {
      auto n = reader.read(buffer, sizeof buffer);
      if (!n || *n == 0) break;
      bytes += *n;
    }
    require(bytes <= (*member)->bytes && bytes <= input.size(), "no more comes out than is in it");
  }
}

void json(std::string_view input) {
  if (utf8_ok(input)) {
    auto quoted = JsonValue::parse(json_quote(input));
    require(quoted && quoted->string() == std::string(input), "UTF-8 can be quoted");
  } else {
    require(JsonValue::parse(json_quote(input)).has_value(), "anything can be quoted");
  }
  if (auto value = JsonValue::parse(input)) visit(*value);
}

void message_text(std::string_view input) {
  auto headers = headers_from_text(input);
  if (!headers) return;
  auto again = headers_from_text(headers_to_text(*headers));
  require(again && *again == *headers, "headers come back from their text");
  message_type(*headers);
  expires_at_ms(*headers);
}

void message_binary(std::string_view input) {
  auto headers = decode_headers(input);
  if (headers) require(encode_headers(*headers) == input, "there is one way to write headers");
}

void units(std::string_view input) {
  constexpr int64_t now = 1'795'000'000'000;
  parse_duration_ms(input);
  parse_size(input);
  parse_rate(input);
  if (auto time = parse_time_ms(input, now)) format_rfc3339(*time);
  if (auto time = parse_nsb_time_ms(input)) format_nsb_time(*time);
  if (auto span = parse_timespan_ms(input)) {
    auto again = parse_timespan_ms(format_timespan(*span));
    require(again == span, "a time span comes back");
  }
}

void expression(std::string_view input) {
  // The C library's regular expressions are an operator's to use, and slow if asked for it.
  if (input.find('~') != std::string_view::npos) return;
  auto parsed = Expression::parse(input);
  if (!parsed) return;
  MessageInfo info;
  Message message;
  message.headers.set(header::message_id, "id-1");
  (void)parsed->matches(info, &message, 1'795'000'000'000);
}

}  // namespace gw::fuzz
