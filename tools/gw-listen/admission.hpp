// Who may use a channel: client certificates, tokens and endpoints. Decided before the body is read.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "channel.hpp"
#include "http.hpp"

namespace gw::listen {

/// Delivered messages say by this header which site has proved to be their sender.
inline constexpr std::string_view site_header = "Gatepost.Site";

/// Somebody who was let in.
struct Caller {
  std::string site;                                             ///< the Client's name, or the token's; empty: nobody asked
  const std::vector<std::string>* allow_endpoints = nullptr;  ///< the list that counts for this caller

  bool may_send_as(std::string_view endpoint) const;
};

/// 403: the certificate fits no Client; 401: no token, or another one.
std::variant<Caller, Answer> admit(const Channel& channel, const Exchange& exchange);

}  // namespace gw::listen
