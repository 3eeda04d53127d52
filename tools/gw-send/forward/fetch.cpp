#include "fetch.hpp"

#include <optional>

#include "http_client.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr size_t fetched_bytes_max = 64u << 20;
constexpr int64_t connect_ms = 10'000, answer_ms = 20'000;
constexpr int64_t look_ms = 1'000;

}  // namespace

Result<ExitCode> fetch(const std::string& url) {
  GW_TRY_ASSIGN(auto client, HttpClient::create());
  const Body nothing;
  HttpRequest request;
  request.url = &url;
  request.get = true;
  request.body = &nothing;
  request.answer_bytes = fetched_bytes_max;
  request.connect_timeout_ms = connect_ms;
  request.answer_timeout_ms = answer_ms;
  std::optional<HttpAnswer> answer;
  client->start(std::move(request), nullptr);
  while (!answer) client->poll(look_ms, [&](void*, HttpAnswer&& come) { answer = std::move(come); });
  if (!answer->complete) return Error{ExitCode::unavailable, 0, "cannot get '" + url + "': " + printable(answer->error)};
  if (answer->status == 404 || answer->status == 410)
    return Error{ExitCode::no_input, 0, "cannot get '" + url + "': " + std::to_string(answer->status) + " " + printable(answer->reason)};
  if (answer->status != 200)
    return Error{ExitCode::unavailable, 0, "cannot get '" + url + "': " + std::to_string(answer->status) + " " + printable(answer->reason)};
  out(answer->body);
  return ExitCode::ok;
}

}  // namespace gw
