// What stood between a sender and us, as far as a request shows it; and the answer to `gw-send probe` (gw-http(7)).
#pragma once

#include <string>

#include "channel.hpp"
#include "http.hpp"

namespace gw::listen {

/// For a request without any header of a gateway: which proxy dropped them, as far as one can tell, and what helps. "" if nothing
/// speaks for a proxy.
std::string proxy_advice(const RequestHead& head);

/// Is it a probe? It says so in a header that every proxy lets through.
bool is_probe(const RequestHead& head);

/// What arrived, as JSON: the fields that a gateway sends as they came, of the others the names.
std::string probe_report(const RequestHead& head, const std::string& endpoint, uint64_t body_bytes, const std::string& body_sha256);

}  // namespace gw::listen
