#include "answers.hpp"

#include <cerrno>

#include "diag.hpp"

namespace gw::listen {

Answer refusal(int status, std::string text, std::string fields) {
  Answer answer;
  answer.status = status;
  answer.text = std::move(text);
  answer.fields = std::move(fields);
  return answer;
}
Answer refusal(WireRefusal&& why) { return refusal(why.status, std::move(why.text)); }

Answer ok() {
  Answer answer;
  answer.text = "OK";
  return answer;
}

Answer not_found() {
  Answer answer = refusal(404, "<h1>Not Found (Not Found)</h1>");
  answer.content_type = "text/html";
  return answer;
}

namespace {

bool is_space_error(const Error& error) { return error.sys_errno == ENOSPC || error.sys_errno == EDQUOT; }

}  // namespace

Answer answer_error(const Error& error) {
  // A queue that was removed is made anew.
  const bool for_now = is_space_error(error) || error.code == ExitCode::not_now || error.code == ExitCode::no_input;
  // Paths and reasons of this machine are not for the other side.
  event(for_now ? Level::warn : Level::error, for_now ? "store-refused" : "store-failed", {{"reason", error.text}});
  if (is_space_error(error)) return refusal(507, "not enough space", retry_when_space);
  if (for_now) return refusal(503, "not now: try again later", retry_soon);
  return refusal(500, "Unexpected server error");
}

}  // namespace gw::listen
