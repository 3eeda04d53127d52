// What the two halves of the forwarder hand to each other: the dispatcher (claims, commits) and the send loop (requests).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

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

/// One message on its way through the forwarder. It belongs to one thread at a time.
struct Transfer {
  explicit Transfer(Claim c) : claim(std::move(c)) {}

  std::shared_ptr<const Target> target;
  size_t site = 0;  ///< the dispatcher's number of the site
  Claim claim;
  std::string head;           ///< of an HTTP request
  Headers fields;             ///< instead of it, if the carrier encodes them in another way
  std::shared_ptr<EnvelopeUpload> envelope;  ///< what is sent instead of the body
  int64_t connect_timeout_ms = 0, answer_timeout_ms = 0;
  bool probe = false;

  bool sent = false;          ///< false when it comes back: it was not tried
  int64_t started_ms = 0;     ///< monotonic
  int64_t finished_ms = 0;
  HttpAnswer answer;
  enum class Verdict { by_answer, expired, too_old, unreadable } verdict = Verdict::by_answer;  ///< the others were not sent at all

  std::optional<PolicyAnswer> policy;  ///< set: the site has answered, and then the policy command

  const std::string& id() const { return *claim.message().headers.find(header::message_id); }
};
using TransferPtr = std::unique_ptr<Transfer>;

}  // namespace gw
