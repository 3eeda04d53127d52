// Many HTTP requests at once over kept connections. libcurl stays in http_client.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "message.hpp"
#include "result.hpp"
#include "secrets.hpp"

namespace gw {

inline constexpr size_t answer_bytes_max = 64 * 1024;  ///< of answers to what we send

/// A body that is made while it is sent.
class Upload {
 public:
  virtual ~Upload() = default;
  virtual uint64_t size() const = 0;
  /// The next bytes, at most `length`; fewer only at the end.
  virtual Result<std::string> read(size_t length) = 0;
  /// From the beginning again.
  virtual void rewind() = 0;
};

/// One POST. Everything it points to stays until it is done.
struct HttpRequest {
  const std::string* url = nullptr;
  bool get = false;            ///< a GET instead; the body is empty
  size_t answer_bytes = answer_bytes_max;  ///< longer answers end the request
  std::string head;            ///< lines `Name: value`, each ended by NUL
  const Body* body = nullptr;
  std::shared_ptr<const LinkSecrets> link;  ///< null: nothing but the URL
  bool lower_case_names = false;  ///< of all lines, those of the library too
  Upload* upload = nullptr;    ///< instead of the body
  int64_t connect_timeout_ms = 10'000;
  int64_t answer_timeout_ms = 100'000;  ///< without progress, and from the last byte sent to the whole answer
  uint64_t bytes_per_s_max = 0;         ///< 0: no limit
};

/// What came of it.
struct HttpAnswer {
  int status = 0;          ///< 0: no status line arrived in time
  enum class Word { none, ok, retry, refuse } word = Word::none;  ///< of a channel program, which has no status
  std::string reason;      ///< phrase of the status line, or what the program said
  std::string body;        ///< at most HttpRequest::answer_bytes
  bool complete = false;   ///< the whole answer arrived
  std::string error;       ///< why not, in the library's words
  bool tls_failed = false;  ///< that was about TLS
  int64_t retry_after_ms = 0;

  bool answered() const { return status != 0 || word != Word::none; }
};

/// One thread uses it; wake() may be called by any.
class HttpClient {
 public:
  /// Called for each request that is done, from within poll().
  using Done = std::function<void(void* request, HttpAnswer&& answer)>;

  static Result<std::unique_ptr<HttpClient>> create();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Starts a request; `user` comes back in Done.
  void start(HttpRequest request, void* user);
  size_t in_flight() const;
  /// Lets the requests go on, waits up to `timeout_ms` for something to happen, reports what is done.
  void poll(int64_t timeout_ms, const Done& done);
  /// Ends the wait of poll().
  void wake();
  /// Ends all requests without an answer; `done` gets an HttpAnswer with an empty error for each.
  void abandon(const Done& done);

 private:
  class Impl;
  explicit HttpClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw
