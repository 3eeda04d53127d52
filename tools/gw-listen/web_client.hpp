// Requests of browsers: messages in query strings with a callback (JSONP), as old web clients send them, and cross-origin requests
// (CORS), as present ones do. A channel accepts either only if it is told to.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "channel.hpp"
#include "http.hpp"

namespace gw::listen {

inline constexpr size_t query_keys_max = 63;

/// A query string, decoded once: every key is a header.
struct WebQuery {
  std::vector<std::pair<std::string, std::string>> headers;
  std::optional<std::string> message;   ///< `Message`: the body
  std::optional<std::string> callback;  ///< a name, checked
  /// Its headers replace those of the same name.
  void merge_into(Headers& wire) const;
};
/// Refused: a callback that is no name, a key that comes twice, what is not UTF-8.
std::variant<WebQuery, WireRefusal> read_web_query(std::string_view query);

/// ^[A-Za-z_$][A-Za-z0-9_$.]{0,127}$
bool callback_ok(std::string_view name);
/// The answer as a script that calls `callback` with its text.
void wrap_in_callback(Answer& answer, const std::string& callback);

/// A request whose body came in its query.
class MessageExchange : public Exchange {
 public:
  MessageExchange(Exchange& http, const std::string& message) : http_(http), left_(message), plan_(BodyPlan{false, message.size(), false}) {}
  const RequestHead& head() const override { return http_.head(); }
  const std::variant<BodyPlan, WireRefusal>& plan() const override { return plan_; }
  Read read(char* into, size_t room, size_t& got) override;
  void send_continue() override {}
  void send(const Answer& answer) override { http_.send(answer); }

 private:
  Exchange& http_;
  std::string_view left_;
  std::variant<BodyPlan, WireRefusal> plan_;
};

/// What a cross-origin request gets before anything else: a refusal, or the answer to a browser's question (OPTIONS). nullopt: go on.
std::optional<Answer> answer_origin(const Channel& channel, const RequestHead& head);
/// Lets the page that asked read the answer. For every answer of the channel.
void allow_origin(const Channel& channel, const RequestHead& head, Answer& answer);

}  // namespace gw::listen
