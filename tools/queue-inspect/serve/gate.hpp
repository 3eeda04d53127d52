// Who may see pages: no page of another site through a reader's browser, and nobody without a token if there are any.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "http.hpp"
#include "listen_address.hpp"
#include "secrets.hpp"

namespace gw::inspect {

class Gate {
 public:
  /// `machine`: the name by which others may call this one. Null: no token is asked for.
  Gate(const http::ListenAddress& address, std::string machine, std::shared_ptr<const TokenSet> tokens);
  /// nullopt: may be answered. Else 421 (a foreign Host), 405, or 401.
  std::optional<http::Answer> refuse(const http::RequestHead& head) const;
  /// From now on these tokens count.
  void set_tokens(std::shared_ptr<const TokenSet> tokens);

 private:
  bool knows_host(std::string_view host) const;
  bool knows_token(const http::RequestHead& head) const;
  std::string host_, machine_;
  bool all_addresses_;
  std::atomic<std::shared_ptr<const TokenSet>> tokens_;
};

}  // namespace gw::inspect
