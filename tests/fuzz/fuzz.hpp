// What can be fuzzed: one function per format that comes from outside. Each takes any bytes; it may not crash, hang or break what
// it says of its results. fuzz.cpp runs them over files, and under libFuzzer.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace gw::fuzz {

struct Target {
  const char* name;  ///< also the directory of its corpus
  void (*run)(std::string_view input);
};

void wire_fields(std::string_view input);
void request_head(std::string_view input);
void query(std::string_view input);
void config(std::string_view input);
void tar(std::string_view input);
void json(std::string_view input);
void message_text(std::string_view input);
void message_binary(std::string_view input);
void units(std::string_view input);
void expression(std::string_view input);
void envelope(std::string_view input);
void channel_protocol(std::string_view input);
void instance_map(std::string_view input);

inline constexpr Target targets[] = {
    {"wire-fields", wire_fields},
    {"request-head", request_head},
    {"query", query},
    {"config", config},
    {"tar", tar},
    {"json", json},
    {"message-text", message_text},
    {"message-binary", message_binary},
    {"units", units},
    {"expression", expression},
    {"envelope", envelope},
    {"channel-protocol", channel_protocol},
    {"instance-map", instance_map},
};

/// A promise that an input broke.
inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

}  // namespace gw::fuzz
