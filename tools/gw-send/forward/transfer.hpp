// What the two halves of the forwarder hand to each other: the dispatcher (claims, commits) and the send loop (requests).
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "envelope_upload.hpp"
#include "http_client.hpp"
#include "queue.hpp"
#include "retry_policy.hpp"

namespace gw {

/// A site as requests see it. Never changed: a new configuration makes new ones.
struct Target {
  enum class Carrier { http, envelope, program };
  std::string key, url, type;
  Carrier carrier = Carrier::http;
  std::string program;      ///< its path, if a program carries the messages
  unsigned concurrency = 4;
  uint64_t rate_bytes = 0;  ///< per second, 0: no limit
  std::string window;       ///< "22:00-05:00", empty: always
  std::shared_ptr<const LinkSecrets> link;  ///< null: nothing but the URL
  bool lower_case_names = false, original_version_1 = false;
};

/// One request of a message.
struct Call {
  std::string property;  ///< the name of a data bus property's header in the request; empty: the message itself
  std::string head;  ///< of an HTTP request
  bool in_envelope = false;  ///< though its target's requests are not: its headers are too large for those
  Headers fields;    ///< instead of it, if the carrier encodes them in another way
  std::shared_ptr<EnvelopeUpload> envelope;  ///< what is sent instead of the body
  std::shared_ptr<const Body> blob;  ///< what it carries; null: the message's own body
};

/// One message on its way through the forwarder: a call for each data bus property and, last in `calls`, one for itself. It belongs to
/// one thread at a time.
struct Transfer {
  explicit Transfer(Claim c) : claim(std::move(c)) {}

  std::shared_ptr<const Target> target;
  size_t site = 0;  ///< the dispatcher's number of the site
  Claim claim;
  std::vector<Call> calls;
  int64_t connect_timeout_ms = 0, answer_timeout_ms = 0;
  bool probe = false;

  bool sent = false;          ///< false when it comes back: it was not tried
  int64_t started_ms = 0;     ///< monotonic
  int64_t finished_ms = 0;
  HttpAnswer answer;
  enum class Verdict { by_answer, expired, too_old, unreadable } verdict = Verdict::by_answer;  ///< the others were not sent at all

  std::optional<PolicyAnswer> policy;  ///< set: the site has answered, and then the policy command
  /// Which calls are made, in which order: all, properties first; or the message, and before it again what turns out to be missing.
  void plan_calls(bool tried_before);
  /// The one that is made now.
  Call& call() { return calls[plan_.front()]; }
  const Call& call() const { return calls[plan_.front()]; }
  const Body& body_of(const Call& one) const { return one.blob ? *one.blob : claim.message().body; }
  const Body& body() const { return body_of(calls[plan_.front()]); }
  /// After the answer to a call: is there another one to make? call() is that then. False: the answer is the attempt's.
  bool goes_on(const HttpAnswer& last);
  /// By its answer; only once.
  bool delivered() const;

  const std::string& id() const { return *claim.message().headers.find(header::message_id); }

 private:
  bool accepted(const HttpAnswer& answer) const;
  std::deque<size_t> missing_properties(const std::string& text) const;
  std::deque<size_t> plan_;
  std::vector<bool> accepted_;  ///< in this attempt, parallel to calls
};
using TransferPtr = std::unique_ptr<Transfer>;

}  // namespace gw
