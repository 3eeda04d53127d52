#include "admission.hpp"

#include <strings.h>

#include <algorithm>

namespace gw::listen {

namespace {

bool fits(const ClientConfig& client, const PeerIdentity& peer) {
  if (!client.san.empty() && !has_name(peer, client.san)) return false;
  if (!client.fingerprint.empty() && client.fingerprint != peer.fingerprint) return false;
  return !client.san.empty() || !client.fingerprint.empty();
}

/// What follows `Bearer ` in the Authorization field; empty: nothing.
std::string_view bearer(const RequestHead& head) {
  constexpr std::string_view scheme = "Bearer ";
  std::string_view value = head.find("Authorization").value_or(std::string_view());
  if (value.size() < scheme.size() || ::strncasecmp(value.data(), scheme.data(), scheme.size()) != 0) return {};
  value.remove_prefix(scheme.size());
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  return value;
}

Answer refused(int status, std::string text) {
  Answer answer;
  answer.status = status;
  answer.text = std::move(text);
  return answer;
}

}  // namespace

bool Caller::may_send_as(std::string_view endpoint) const {
  if (!allow_endpoints || allow_endpoints->empty()) return true;
  return std::find(allow_endpoints->begin(), allow_endpoints->end(), endpoint) != allow_endpoints->end();
}

std::variant<Caller, Answer> admit(const Channel& channel, const Exchange& exchange) {
  Caller caller;
  caller.allow_endpoints = &channel.allow_endpoints;
  if (!channel.clients.empty()) {
    const std::optional<PeerIdentity> peer = exchange.peer();
    if (!peer) return refused(403, "no client certificate");
    auto client = std::find_if(channel.clients.begin(), channel.clients.end(), [&](const ClientConfig& c) { return fits(c, *peer); });
    if (client == channel.clients.end()) return refused(403, "certificate '" + peer->subject + "' " + peer->fingerprint + " fits no Client");
    caller.site = client->name;
    if (!client->allow_endpoints.empty()) caller.allow_endpoints = &client->allow_endpoints;
  }
  if (channel.tokens) {
    const std::string* name = channel.tokens->find(bearer(exchange.head()));
    if (!name) {
      Answer answer = refused(401, "a token is needed");
      answer.fields = "WWW-Authenticate: Bearer\r\n";
      return answer;
    }
    if (caller.site.empty()) caller.site = *name;
  }
  return caller;
}

}  // namespace gw::listen
