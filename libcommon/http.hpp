// What servers of ours know of HTTP: a parsed head, a body to read, an answer to send. The server behind it is in http_server.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "http_tls.hpp"
#include "wire_codec.hpp"

namespace gw::http {

inline constexpr size_t head_fields_max = 63;
inline constexpr size_t head_bytes_max = 16 * 1024;
inline constexpr unsigned connections_max = 1024;
inline constexpr int64_t head_timeout_ms = 10'000;
inline constexpr int64_t idle_timeout_ms = 60'000;
inline constexpr int64_t slow_body_after_ms = 20'000;  ///< from here on a body needs its rate
inline constexpr int64_t body_bytes_per_second_min = 1024;

using HeadField = std::pair<std::string_view, std::string_view>;

/// The head of a request; views into the server's buffer.
struct RequestHead {
  std::string_view method, target, query, version;  ///< version "1.1"; target without query
  bool has_query = false;
  std::span<const HeadField> fields;
  uint16_t port = 0;             ///< that it came in by
  std::string_view from;         ///< the other side's address
  size_t bytes = 0;
  bool loose = false;            ///< not CRLF-ended `Name: value` lines, each right after the other

  /// The first field of this name, without regard to case; nullopt: absent.
  std::optional<std::string_view> find(std::string_view name) const;
};

struct Answer {
  int status = 200;
  std::string text;                     ///< the body; of an error also the reason phrase
  std::string reason;                   ///< the reason phrase, if it is not that
  std::string_view content_type = "application/json; charset=utf-8";
  std::string fields;                   ///< further header lines, each with CRLF
  bool close() const { return status >= 400; }
  const std::string& plain_text() const { return reason.empty() ? text : reason; }
};

/// The bytes of an answer. `closes`: this is the connection's last one. A HEAD request gets no body.
std::string format_answer(const Answer& answer, bool closes, bool with_body, int64_t now_ms);

/// How the body comes.
struct BodyPlan {
  bool chunked = false;
  uint64_t length = 0;  ///< unless chunked
  bool expects_continue = false;
};
/// The strict rules of the head and its framing (anything that two parsers could read in two ways is refused).
std::variant<BodyPlan, WireRefusal> check_head(const RequestHead& head);

/// The answer to a request whose own thread has gone on.
class LateAnswer {
 public:
  virtual ~LateAnswer() = default;
  /// Once; any thread. Nothing of it may be used afterwards.
  virtual void send(const Answer& answer) = 0;
};

/// One request and its answer. Used by the one thread that serves it.
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const RequestHead& head() const = 0;
  /// What check_head() says of the head.
  virtual const std::variant<BodyPlan, WireRefusal>& plan() const = 0;
  /// Whose certificate it was; nullopt: none was asked for.
  virtual std::optional<PeerIdentity> peer() const { return std::nullopt; }
  enum class Read { data, end, cut, too_slow, malformed };
  /// Up to `room` bytes of the body. `cut`: the other side closed or broke the framing; `too_slow`: below the rate we ask for;
  /// `malformed`: it is not what the channel carries, fault() says why.
  virtual Read read(char* into, size_t room, size_t& got) = 0;
  virtual std::string fault() const { return {}; }
  virtual void send_continue() = 0;
  /// Once. An error closes the connection, whatever of the body is unread.
  virtual void send(const Answer& answer) = 0;
  /// Where the body has been read: from here on the answer is given by this, and the request's thread is to return without one.
  /// It must come. nullptr: not on this connection, answer here.
  virtual LateAnswer* later() { return nullptr; }
};

/// True if the query has a key that only web clients send: Message, callback, NServiceBus.*
bool is_web_client_query(std::string_view query);

}  // namespace gw::http
