#include "gate.hpp"

#include <arpa/inet.h>
#include <strings.h>

#include "hash.hpp"

namespace gw::inspect {
namespace {

http::Answer refusal(int status, std::string text, std::string fields = {}) {
  http::Answer answer;
  answer.status = status;
  answer.text = text + "\n";
  answer.reason = std::move(text);
  answer.content_type = "text/plain; charset=utf-8";
  answer.fields = std::move(fields);
  return answer;
}

bool same(std::string_view a, std::string_view b) { return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0; }

// The host without its port; an IPv6 address stays in its brackets.
std::string_view without_port(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) return host;
  const std::string_view port = host.substr(colon + 1);
  if (port.empty() || port.find_first_not_of("0123456789") != std::string_view::npos) return {};
  return host.substr(0, colon);
}

bool is_ipv4(std::string_view host) {
  in_addr parsed{};
  return ::inet_pton(AF_INET, std::string(host).c_str(), &parsed) == 1;
}

}  // namespace

Gate::Gate(const http::ListenAddress& address, std::string machine, std::shared_ptr<const TokenSet> tokens)
    : host_(address.host), machine_(std::move(machine)), all_addresses_(address.socket.bind_address == "0.0.0.0"), tokens_(std::move(tokens)) {}

void Gate::set_tokens(std::shared_ptr<const TokenSet> tokens) { tokens_ = std::move(tokens); }

std::optional<http::Answer> Gate::refuse(const http::RequestHead& head) const {
  // A page elsewhere can give its own name our address, and would then read what we answer. The port may be that of a tunnel.
  if (!knows_host(head.find("Host").value_or(""))) return refusal(421, "this page is not called so");
  if (head.method != "GET" && head.method != "HEAD") return refusal(405, "Method Not Allowed", "Allow: GET, HEAD\r\n");
  if (!knows_token(head))
    return refusal(401, "a token is needed: as Bearer, or as the password of any user",
                   "WWW-Authenticate: Bearer realm=\"Gatepost\"\r\nWWW-Authenticate: Basic realm=\"Gatepost\", charset=\"UTF-8\"\r\n");
  return std::nullopt;
}

bool Gate::knows_host(std::string_view given) const {
  const std::string_view host = without_port(given);
  if (host.empty()) return false;
  if (same(host, "localhost") || same(host, "127.0.0.1") || same(host, "[::1]") || same(host, host_)) return true;
  // No name server can make an address out of a foreign name.
  return all_addresses_ && (is_ipv4(host) || same(host, machine_));
}

bool Gate::knows_token(const http::RequestHead& head) const {
  const auto tokens = tokens_.load();
  if (!tokens) return true;
  const std::string_view given = head.find("Authorization").value_or("");
  const size_t space = given.find(' ');
  if (space == std::string_view::npos) return false;
  std::string_view scheme = given.substr(0, space), value = given.substr(space);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  while (value.ends_with(' ')) value.remove_suffix(1);
  if (same(scheme, "Bearer")) return tokens->find(value) != nullptr;
  if (!same(scheme, "Basic")) return false;
  const auto decoded = unbase64(value);
  if (!decoded) return false;
  const size_t colon = decoded->find(':');
  return colon != std::string::npos && tokens->find(std::string_view(*decoded).substr(colon + 1)) != nullptr;
}

}  // namespace gw::inspect
