// A handler of many messages in C++: frames, as they need no JSON but the number of the message.
//     g++ -O2 -std=c++20 -o stream-handler stream-handler.cpp
//     distributor worker --queue Prices --stream=binary --capacity 1000 -- ./stream-handler
// A body that says "later" comes again in a second, one that says "bad" goes to the error queue; all others are counted.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

bool read_bytes(std::string& into, size_t count) {
  into.resize(count);
  return std::fread(into.data(), 1, count, stdin) == count;
}

// The number behind `"name":` outside of strings and nested objects.
uint64_t member(const std::string& head, const std::string& name) {
  const std::string wanted = "\"" + name + "\":";
  int depth = 0;
  bool quoted = false;
  for (size_t at = 0; at < head.size(); ++at) {
    const char c = head[at];
    if (quoted) {
      if (c == '\\') ++at;
      if (c == '"') quoted = false;
      continue;
    }
    if (depth == 1 && head.compare(at, wanted.size(), wanted) == 0) return std::strtoull(head.c_str() + at + wanted.size(), nullptr, 10);
    if (c == '"') quoted = true;
    if (c == '{') ++depth;
    if (c == '}') --depth;
  }
  return 0;
}

void answer(uint64_t seq, const std::string& rest) {
  const std::string text = "{\"seq\":" + std::to_string(seq) + ",\"result\":" + rest + "}";
  const auto bytes = static_cast<uint32_t>(text.size());
  for (int shift : {24, 16, 8, 0}) std::putchar(static_cast<int>(bytes >> shift & 255));
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace

int main() {
  uint64_t handled = 0;
  for (std::string length, head, body; read_bytes(length, 4);) {
    uint32_t bytes = 0;
    for (char c : length) bytes = bytes << 8 | static_cast<unsigned char>(c);
    if (!read_bytes(head, bytes) || !read_bytes(body, member(head, "body_bytes"))) return 1;
    const uint64_t seq = member(head, "seq");
    if (body == "later") answer(seq, "\"retry\",\"delay_s\":1,\"reason\":\"not yet\"");
    else if (body == "bad") answer(seq, "\"fail\",\"reason\":\"nobody wants this\"");
    else answer(seq, "\"ok\""), ++handled;
    std::fflush(stdout);
  }
  std::fprintf(stderr, "handled %llu messages\n", static_cast<unsigned long long>(handled));
}
