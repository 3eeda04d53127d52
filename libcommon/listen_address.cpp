#include "listen_address.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include <charconv>

namespace gw::http {

std::string ListenAddress::url() const {
  const bool all = host == "+" || host == "*";
  return "http://" + (all ? socket.bind_address : host) + ":" + std::to_string(socket.port) + "/";
}

Result<ListenAddress> parse_listen_address(std::string_view text, std::string_view option) {
  const Error bad{ExitCode::usage, 0,
                  "'" + std::string(text) + "' is not an address for " + std::string(option) + ": expected HOST:PORT, HOST an IPv4 address of this machine, localhost, + or *"};
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad;
  const std::string_view digits = text.substr(colon + 1);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port > 65535) return bad;
  ListenAddress address;
  address.host = text.substr(0, colon);
  address.socket.port = static_cast<uint16_t>(port);
  address.socket.name = std::string(option) + " " + std::string(text);
  in_addr parsed{};
  if (::strcasecmp(address.host.c_str(), "localhost") == 0) {
    address.socket.bind_address = "127.0.0.1";
  } else if (address.host == "+" || address.host == "*") {
    address.socket.bind_address = "0.0.0.0";
  } else if (::inet_pton(AF_INET, address.host.c_str(), &parsed) == 1) {
    address.socket.bind_address = address.host;
  } else {
    return bad;
  }
  address.loopback = address.socket.bind_address.starts_with("127.");
  return address;
}

}  // namespace gw::http
