// Are certificates, keys, CA files and cipher lists good for TLS? OpenSSL is loaded when the first one is checked.
#pragma once

#include <string>

#include "result.hpp"

namespace gw {

/// Can TLS be spoken with this certificate (PEM, its chain behind it) and this key (PEM, not encrypted)? config, naming the file that is
/// wrong. A certificate whose time is over gives a `certificate-expired` event only: it may be replaced while we run.
Result<void> check_certificate(const std::string& cert_path, const std::string& cert_pem, const std::string& key_path,
                               const std::string& key_pem);
/// At least one certificate (PEM). config, naming the file.
Result<void> check_ca(const std::string& path, const std::string& pem);
/// A list as openssl-ciphers(1) describes it; names that begin with TLS_ are of TLS 1.3. config, naming what is unknown.
Result<void> check_ciphers(const std::string& list);

/// The two halves of a cipher list, as OpenSSL wants them.
struct CipherLists {
  std::string tls_1_2, tls_1_3;  ///< empty: nothing said
};
CipherLists split_ciphers(const std::string& list);

}  // namespace gw
