// Runs what is fuzzed: over the files of a corpus, or (built with MODE=fuzz) under libFuzzer.
//
//   fuzz list                       the names of the targets
//   fuzz replay TARGET FILE...      each file as it is, and cut at many places; prints how many inputs that were
//   FUZZ_TARGET=TARGET fuzz ...     libFuzzer's own options and directories
#include "tests/fuzz/fuzz.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace {

const gw::fuzz::Target* find_target(const char* name) {
  for (const auto& target : gw::fuzz::targets)
    if (name && !std::strcmp(target.name, name)) return &target;
  std::fprintf(stderr, "fuzz: unknown target '%s'\n", name ? name : "");
  return nullptr;
}

}  // namespace

#ifdef GW_LIBFUZZER

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size) {
  static const gw::fuzz::Target* target = find_target(std::getenv("FUZZ_TARGET"));
  if (!target) std::exit(64);
  target->run(std::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}

#else

namespace {

constexpr size_t cuts_max = 64;

size_t replay(const gw::fuzz::Target& target, const std::string& input) {
  // In memory of its own, so that a sanitizer sees reads behind its end.
  auto run = [&](size_t length) {
    std::string copy(input, 0, length);
    copy.shrink_to_fit();
    target.run(copy);
  };
  run(input.size());
  const size_t step = std::max<size_t>(input.size() / cuts_max, 1);
  size_t count = 1;
  for (size_t length = 0; length < input.size(); length += step, ++count) run(length);
  return count;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && !std::strcmp(argv[1], "list")) {
    for (const auto& target : gw::fuzz::targets) std::printf("%s\n", target.name);
    return 0;
  }
  if (argc < 4 || std::strcmp(argv[1], "replay") != 0) {
    std::fprintf(stderr, "usage: fuzz list | replay TARGET FILE...\n");
    return 64;
  }
  const auto* target = find_target(argv[2]);
  if (!target) return 64;
  size_t count = 0;
  for (int i = 3; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "fuzz: cannot read '%s'\n", argv[i]);
      return 66;
    }
    count += replay(*target, std::string(std::istreambuf_iterator<char>(file), {}));
  }
  std::printf("%zu\n", count);
  return 0;
}

#endif
