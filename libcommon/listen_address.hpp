// HOST:PORT to listen on, for pages of our own.
#pragma once

#include <string>
#include <string_view>

#include "http_server.hpp"
#include "result.hpp"

namespace gw::http {

struct ListenAddress {
  std::string host;      ///< as written
  bool loopback = false;  ///< nobody on another machine gets there
  Listening socket;
  /// http://HOST:PORT/ with the port that is listened on.
  std::string url() const;
};

/// `127.0.0.1:8080`, `localhost:0` (any port), `+:8080` or `*:8080` (all addresses). usage: anything else, naming `option`.
Result<ListenAddress> parse_listen_address(std::string_view text, std::string_view option);

}  // namespace gw::http
