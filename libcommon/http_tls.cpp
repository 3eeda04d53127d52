#include "http_tls.hpp"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <limits.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>

#include "diag.hpp"
#include "drain.hpp"
#include "gw_assert.hpp"
#include "hash.hpp"
#include "tls_files.hpp"

namespace gw::http {

namespace {

constexpr int verify_depth_max = 4;

struct Free {
  void operator()(SSL_CTX* context) const { ::SSL_CTX_free(context); }
  void operator()(BIO* bio) const { ::BIO_free(bio); }
  void operator()(X509* cert) const { ::X509_free(cert); }
  void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
  void operator()(GENERAL_NAMES* names) const { ::GENERAL_NAMES_free(names); }
};
using Context = std::unique_ptr<SSL_CTX, Free>;
using Bio = std::unique_ptr<BIO, Free>;
using Cert = std::unique_ptr<X509, Free>;
using Key = std::unique_ptr<EVP_PKEY, Free>;

Bio memory(const std::string& text) { return Bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

int no_passphrase(char*, int, int, void*) { return -1; }

/// All certificates of a file, in their order.
std::vector<Cert> read_certs(const std::string& pem) {
  std::vector<Cert> certs;
  Bio bio = memory(pem);
  while (X509* cert = ::PEM_read_bio_X509(bio.get(), nullptr, &no_passphrase, nullptr)) certs.emplace_back(cert);
  ::ERR_clear_error();
  return certs;
}

std::string subject_of(X509* cert) {
  if (!cert) return "";
  Bio bio(::BIO_new(BIO_s_mem()));
  ::X509_NAME_print_ex(bio.get(), ::X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return size > 0 ? std::string(data, static_cast<size_t>(size)) : std::string();
}

Error not_taken(const std::string& what) {
  const unsigned long code = ::ERR_get_error();
  const char* why = code ? ::ERR_reason_error_string(code) : nullptr;
  ::ERR_clear_error();
  return Error{ExitCode::config, 0, what + ": " + (why ? why : "not accepted")};
}

// --- who was refused, and why -------------------------------------------------------------------------------------------

std::string peer_address(const SSL* ssl) {
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  char text[INET_ADDRSTRLEN] = "";
  if (::getpeername(::SSL_get_fd(ssl), reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sin_family == AF_INET)
    ::inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
  return text;
}

uint16_t own_port(const SSL* ssl) {
  sockaddr_in own{};
  socklen_t size = sizeof own;
  if (::getsockname(::SSL_get_fd(ssl), reinterpret_cast<sockaddr*>(&own), &size) != 0 || own.sin_family != AF_INET) return 0;
  return ntohs(own.sin_port);
}

std::string refusal_reason(const SSL* ssl, unsigned long code) {
  switch (ERR_GET_REASON(code)) {
    case SSL_R_HTTP_REQUEST: return "plain HTTP came to an https channel";
    case SSL_R_UNSUPPORTED_PROTOCOL: return "the other side speaks no TLS version that is allowed, expected TLS 1.2 or later";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the other side has shown no certificate, and ClientCa demands one";
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      return std::string("the other side's certificate: ") + ::X509_verify_cert_error_string(::SSL_get_verify_result(ssl));
    default: break;
  }
  const char* text = ::ERR_reason_error_string(code);
  return text ? text : "error " + std::to_string(code);
}

/// The subject of a certificate that was refused, kept until the handshake's end.
int subject_index() {
  static const int index = ::SSL_get_ex_new_index(0, nullptr, nullptr, nullptr, [](void*, void* text, CRYPTO_EX_DATA*, int, long, void*) {
    delete static_cast<std::string*>(text);
  });
  return index;
}

int on_verify(int good, X509_STORE_CTX* store) {
  if (good) return good;
  auto* ssl = static_cast<SSL*>(::X509_STORE_CTX_get_ex_data(store, ::SSL_get_ex_data_X509_STORE_CTX_idx()));
  if (!ssl || ::SSL_get_ex_data(ssl, subject_index())) return good;
  ::SSL_set_ex_data(ssl, subject_index(), new std::string(subject_of(::X509_STORE_CTX_get0_cert(store))));
  return good;
}

void on_info(const SSL* ssl, int where, int result) {
  if (where != SSL_CB_ACCEPT_EXIT || result > 0) return;
  const unsigned long code = ::ERR_peek_error();
  if (code == 0) return;  // more bytes have to come, or the other side went away
  const auto* subject = static_cast<const std::string*>(::SSL_get_ex_data(ssl, subject_index()));
  // Who only looks whether the port is open (a load balancer) is no news.
  const bool silent = ::BIO_number_read(::SSL_get_rbio(ssl)) == 0;
  event(silent ? Level::debug : Level::warn, "tls-refused",
        {{"reason", refusal_reason(ssl, code)}, {"subject", subject ? *subject : std::string()}, {"from", peer_address(ssl)}, {"port", own_port(ssl)}});
  drain(::SSL_get_fd(ssl));  // so that the alert is read
}

// What is the same for all: also the front context, whose settings a connection begins with.
void set_common(SSL_CTX* context) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // No session is continued: each connection is checked against the files of its time and of its own port.
  // An end without a closing alert is an end: the framing of HTTP shows whether all came, and a peer that we cut for being slow (its
  // receiving side only) can still be told so.
  ::SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_dh_auto(context, 1);
  ::SSL_CTX_set_verify_depth(context, verify_depth_max);
  ::SSL_CTX_set_info_callback(context, &on_info);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

Result<void> set_ciphers(SSL_CTX* context, const std::string& ciphers) {
  const CipherLists lists = split_ciphers(ciphers);
  if (!lists.tls_1_2.empty() && ::SSL_CTX_set_cipher_list(context, lists.tls_1_2.c_str()) != 1) return not_taken("ciphers '" + lists.tls_1_2 + "'");
  if (!lists.tls_1_3.empty() && ::SSL_CTX_set_ciphersuites(context, lists.tls_1_3.c_str()) != 1) return not_taken("ciphers '" + lists.tls_1_3 + "'");
  return {};
}

Result<void> set_client_ca(SSL_CTX* context, const std::string& pem) {
  // A store of its own: the system's never plays a part.
  X509_STORE* store = ::SSL_CTX_get_cert_store(context);
  for (const Cert& cert : read_certs(pem))
    if (::X509_STORE_add_cert(store, cert.get()) != 1 || ::SSL_CTX_add_client_CA(context, cert.get()) != 1) return not_taken("ClientCa");
  ::SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, &on_verify);
  return {};
}

std::string name_text(const GENERAL_NAME* name) {
  int type = 0;
  const void* value = ::GENERAL_NAME_get0_value(name, &type);
  if (type != GEN_DNS && type != GEN_URI && type != GEN_IPADD) return "";
  const auto* text = static_cast<const ASN1_STRING*>(value);
  const unsigned char* bytes = ::ASN1_STRING_get0_data(text);
  const auto size = static_cast<size_t>(::ASN1_STRING_length(text));
  if (type != GEN_IPADD) return std::string(reinterpret_cast<const char*>(bytes), size);
  char address[INET6_ADDRSTRLEN];
  const int family = size == 4 ? AF_INET : size == 16 ? AF_INET6 : AF_UNSPEC;
  return ::inet_ntop(family, bytes, address, sizeof address) ? address : "";
}

/// "2001:DB8:0::1" as inet_ntop writes it; what is no address stays.
std::string canonical_address(std::string_view text) {
  unsigned char bytes[16];
  char address[INET6_ADDRSTRLEN];
  const std::string copy(text);
  for (int family : {AF_INET, AF_INET6})
    if (::inet_pton(family, copy.c_str(), bytes) == 1 && ::inet_ntop(family, bytes, address, sizeof address)) return address;
  return copy;
}

}  // namespace

PeerIdentity identify_peer(void* certificate) {
  auto* cert = static_cast<X509*>(certificate);
  PeerIdentity peer;
  peer.subject = subject_of(cert);
  unsigned char* der = nullptr;
  if (const int size = ::i2d_X509(cert, &der); size > 0) {
    const Sha256 digest = sha256({reinterpret_cast<const char*>(der), static_cast<size_t>(size)});
    peer.fingerprint = "sha256:" + hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
    OPENSSL_free(der);
  }
  std::unique_ptr<GENERAL_NAMES, Free> names(
      static_cast<GENERAL_NAMES*>(::X509_get_ext_d2i(cert, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i)
    if (std::string text = name_text(sk_GENERAL_NAME_value(names.get(), i)); !text.empty()) peer.names.push_back(std::move(text));
  return peer;
}

bool has_name(const PeerIdentity& peer, std::string_view name) {
  const std::string wanted = canonical_address(name);
  for (const std::string& own : peer.names)
    if (own.size() == wanted.size() && ::strncasecmp(own.data(), wanted.data(), wanted.size()) == 0) return true;
  return false;
}

TlsContext::~TlsContext() { ::SSL_CTX_free(static_cast<SSL_CTX*>(context_)); }

Result<std::shared_ptr<const TlsContext>> TlsContext::create(const ChannelSecrets& secrets, const std::string& ciphers) {
  Context context(::SSL_CTX_new(::TLS_server_method()));
  if (!context) return not_taken("make a TLS context");
  set_common(context.get());
  GW_TRY(set_ciphers(context.get(), ciphers));
  auto chain = read_certs(secrets.cert_pem);
  Key key(::PEM_read_bio_PrivateKey(memory(secrets.key_pem).get(), nullptr, &no_passphrase, nullptr));
  if (chain.empty() || ::SSL_CTX_use_certificate(context.get(), chain.front().get()) != 1) return not_taken("the certificate");
  for (size_t i = 1; i < chain.size(); ++i)
    if (SSL_CTX_add1_chain_cert(context.get(), chain[i].get()) != 1) return not_taken("the certificate's chain");
  if (!key || ::SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) return not_taken("the key");
  if (!secrets.client_ca_pem.empty()) GW_TRY(set_client_ca(context.get(), secrets.client_ca_pem));
  std::shared_ptr<TlsContext> result(new TlsContext);
  result->context_ = context.release();
  return std::shared_ptr<const TlsContext>(std::move(result));
}

namespace {
thread_local int served_socket = -1;  // a connection is served by the thread that has made its handshake
}
int tls_socket() { return served_socket; }

struct TlsPorts::Impl {
  Context front;
  std::mutex mutex;
  std::map<uint16_t, std::shared_ptr<const TlsContext>> ports;

  static int on_hello(SSL* ssl, int* alert, void* self) {
    auto& ports = *static_cast<Impl*>(self);
    served_socket = ::SSL_get_fd(ssl);
    std::lock_guard<std::mutex> one(ports.mutex);
    auto found = ports.ports.find(own_port(ssl));
    if (found == ports.ports.end()) {
      *alert = SSL_AD_INTERNAL_ERROR;
      return SSL_CLIENT_HELLO_ERROR;
    }
    auto* context = static_cast<SSL_CTX*>(found->second->context_);  // the connection keeps it from here on
    ::SSL_set_SSL_CTX(ssl, context);
    ::SSL_set_verify(ssl, ::SSL_CTX_get_verify_mode(context), ::SSL_CTX_get_verify_callback(context));
    return SSL_CLIENT_HELLO_SUCCESS;
  }
};

TlsPorts::TlsPorts() : impl_(std::make_unique<Impl>()) {
  impl_->front.reset(::SSL_CTX_new(::TLS_server_method()));
  GW_ASSERT(impl_->front != nullptr);
  set_common(impl_->front.get());
  ::SSL_CTX_set_client_hello_cb(impl_->front.get(), &Impl::on_hello, impl_.get());
}
TlsPorts::~TlsPorts() = default;

void TlsPorts::set(std::map<uint16_t, std::shared_ptr<const TlsContext>> ports) {
  std::lock_guard<std::mutex> one(impl_->mutex);
  impl_->ports.swap(ports);
}

void* TlsPorts::front() const { return impl_->front.get(); }

// CivetWeb asks the loader for libssl.so and libcrypto.so. A library that is loaded already is found by its SONAME: ours, which
// stand for OpenSSL 3 with the one function that CivetWeb knows by its older name.
Result<void> TlsPorts::load_library() {
  char self[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", self, sizeof self);
  if (length <= 0 || length == sizeof self) return errno_error("readlink", "/proc/self/exe", errno);
  std::string dir(self, static_cast<size_t>(length));
  dir.erase(dir.rfind('/'));
  for (const char* name : {"libcrypto.so", "libssl.so"}) {
    const std::string path = dir + "/../libexec/gatepost/" + name;
    if (!::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
      const char* why = ::dlerror();
      return Error{ExitCode::system, 0, "load '" + path + "': " + (why ? why : "unknown error") + "; it belongs to the installation"};
    }
  }
  return {};
}

}  // namespace gw::http
