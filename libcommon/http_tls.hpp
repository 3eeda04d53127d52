// TLS for the channels: which certificate a port shows, whom it lets in, and who that was. The server (CivetWeb) does the reading
// and writing; it is given one context for all ports, which hands each connection to the context of its port as soon as the other
// side has said hello. So every port has its own files, and new ones count from the next connection on. openssl/ssl.h stays in tls.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"
#include "secrets.hpp"

namespace gw::http {

/// The certificate that the other side has shown and that the channel's CA has signed.
struct PeerIdentity {
  std::vector<std::string> names;  ///< DNS, IP and URI names of the certificate
  std::string fingerprint;         ///< sha256: and the digest of the certificate
  std::string subject;
};
/// `certificate` is an X509 of OpenSSL.
PeerIdentity identify_peer(void* certificate);
/// The socket of the TLS connection that the calling thread serves.
int tls_socket();
/// Does the certificate have this name? Ignores case; addresses are compared as addresses.
bool has_name(const PeerIdentity& peer, std::string_view name);

/// One port's certificate, key, CA and ciphers. Never changes.
class TlsContext {
 public:
  /// config: what OpenSSL does not take.
  static Result<std::shared_ptr<const TlsContext>> create(const ChannelSecrets& secrets, const std::string& ciphers);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsPorts;
  TlsContext() = default;
  void* context_ = nullptr;
};

/// All ports. One for the process; any thread.
class TlsPorts {
 public:
  /// Loads what CivetWeb needs to work with this OpenSSL. system: a part of the installation is missing.
  static Result<void> load_library();

  TlsPorts();
  ~TlsPorts();
  TlsPorts(const TlsPorts&) = delete;
  TlsPorts& operator=(const TlsPorts&) = delete;
  /// Connections that come from now on use these.
  void set(std::map<uint16_t, std::shared_ptr<const TlsContext>> ports);
  /// The SSL_CTX for the server.
  void* front() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw::http
