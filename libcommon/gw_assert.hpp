// Programming errors end the process with status 70, in release builds too. Bad input never comes here.
#pragma once

namespace gw {
[[noreturn]] void assertion_failed(const char* what, const char* file, int line);
}

#define GW_ASSERT(cond) ((cond) ? static_cast<void>(0) : ::gw::assertion_failed(#cond, __FILE__, __LINE__))
