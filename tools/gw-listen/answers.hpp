// Answers that several steps of a request can give.
#pragma once

#include <string>

#include "http.hpp"
#include "result.hpp"
#include "wire_codec.hpp"

namespace gw::listen {

using http::Answer;

inline constexpr const char* other_md5 = "MD5 hash received does not match hash calculated on server. Please resubmit.";
inline constexpr const char* other_body = "same id, other body";
inline constexpr const char* retry_soon = "Retry-After: 5\r\n";
inline constexpr const char* retry_when_space = "Retry-After: 60\r\n";

/// `fields`: header lines beside the usual ones.
Answer refusal(int status, std::string text, std::string fields = {});
Answer refusal(WireRefusal&& why);
Answer ok();
/// As the original's HTTP layer says it.
Answer not_found();
/// What a store that failed means for the sender; an event says why. io_error never comes here.
Answer answer_error(const Error& error);

}  // namespace gw::listen
