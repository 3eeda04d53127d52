// The assembler takes the files in as they are; the Makefile knows that this file is made of them.
#include "assets.hpp"

#define GW_FILE(name, path)                                      \
  asm(".pushsection .rodata\n"                                   \
      "gw_" #name "_begin: .incbin \"tools/queue-inspect/serve/assets/" path "\"\n" \
      "gw_" #name "_end: .popsection\n");                        \
  extern "C" const char gw_##name##_begin[], gw_##name##_end[];  \
  namespace gw::inspect::assets {                                \
  std::string_view name() { return {gw_##name##_begin, static_cast<size_t>(gw_##name##_end - gw_##name##_begin)}; } \
  }

GW_FILE(style, "style.css")
GW_FILE(live, "live.js")
GW_FILE(icon, "icon.svg")
