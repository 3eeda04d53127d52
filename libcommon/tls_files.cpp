#include "tls_files.hpp"

#include <dlfcn.h>
#include <openssl/pem.h>

#include <memory>
#include <vector>

#include "diag.hpp"
#include "gw_assert.hpp"

namespace gw {

namespace {

// The functions that we need, looked up at the first use: linking the libraries would cost every short command its start.
struct OpenSsl {
  decltype(&BIO_new_mem_buf) bio_new = nullptr;
  decltype(&BIO_free) bio_free = nullptr;
  decltype(&PEM_read_bio_X509) read_cert = nullptr;
  decltype(&PEM_read_bio_PrivateKey) read_key = nullptr;
  decltype(&X509_free) cert_free = nullptr;
  decltype(&EVP_PKEY_free) key_free = nullptr;
  decltype(&X509_check_private_key) fits = nullptr;
  decltype(&X509_get0_notAfter) not_after = nullptr;
  decltype(&X509_cmp_current_time) compare_time = nullptr;
  void (*clear_errors)() = nullptr;
  // Of libssl.
  void* (*server_method)() = nullptr;
  void* (*ctx_new)(const void*) = nullptr;
  void (*ctx_free)(void*) = nullptr;
  int (*set_cipher_list)(void*, const char*) = nullptr;
  int (*set_ciphersuites)(void*, const char*) = nullptr;

  OpenSsl() {
    void* crypto = ::dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    void* ssl = ::dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!crypto || !ssl) assertion_failed("libcrypto.so.3 and libssl.so.3 can be loaded (package libssl3)", __FILE__, __LINE__);
    load(crypto, "BIO_new_mem_buf", bio_new);
    load(crypto, "BIO_free", bio_free);
    load(crypto, "PEM_read_bio_X509", read_cert);
    load(crypto, "PEM_read_bio_PrivateKey", read_key);
    load(crypto, "X509_free", cert_free);
    load(crypto, "EVP_PKEY_free", key_free);
    load(crypto, "X509_check_private_key", fits);
    load(crypto, "X509_get0_notAfter", not_after);
    load(crypto, "X509_cmp_current_time", compare_time);
    load(crypto, "ERR_clear_error", clear_errors);
    load(ssl, "TLS_server_method", server_method);
    load(ssl, "SSL_CTX_new", ctx_new);
    load(ssl, "SSL_CTX_free", ctx_free);
    load(ssl, "SSL_CTX_set_cipher_list", set_cipher_list);
    load(ssl, "SSL_CTX_set_ciphersuites", set_ciphersuites);
  }

  template <class Function>
  static void load(void* library, const char* name, Function& into) {
    void* symbol = ::dlsym(library, name);
    GW_ASSERT(symbol != nullptr);
    into = reinterpret_cast<Function>(symbol);
  }
};

const OpenSsl& openssl() {
  static const OpenSsl instance;
  return instance;
}

struct Free {
  void operator()(BIO* bio) const { openssl().bio_free(bio); }
  void operator()(X509* cert) const { openssl().cert_free(cert); }
  void operator()(EVP_PKEY* key) const { openssl().key_free(key); }
};
using Bio = std::unique_ptr<BIO, Free>;
using Cert = std::unique_ptr<X509, Free>;
using Key = std::unique_ptr<EVP_PKEY, Free>;

Error bad(std::string text) { return Error{ExitCode::config, 0, std::move(text)}; }

Bio memory(const std::string& text) {
  Bio bio(openssl().bio_new(text.data(), static_cast<int>(text.size())));
  GW_ASSERT(bio != nullptr);
  return bio;
}

// Nobody is there who could type one.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Cert first_cert(const std::string& pem) {
  bool asked = false;
  Cert cert(openssl().read_cert(memory(pem).get(), nullptr, &no_passphrase, &asked));
  openssl().clear_errors();
  return cert;
}

std::vector<std::string> split_words(const std::string& list) {
  std::vector<std::string> words;
  for (size_t at = 0; at < list.size();) {
    size_t end = std::min(list.find_first_of(":, ", at), list.size());
    if (end > at) words.push_back(list.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

}  // namespace

Result<void> check_certificate(const std::string& cert_path, const std::string& cert_pem, const std::string& key_path,
                               const std::string& key_pem) {
  Cert cert = first_cert(cert_pem);
  if (!cert) return bad("'" + cert_path + "' has no certificate, expected one in PEM form, its chain behind it");
  bool asked = false;
  Key key(openssl().read_key(memory(key_pem).get(), nullptr, &no_passphrase, &asked));
  openssl().clear_errors();
  if (!key && asked) return bad("the key '" + key_path + "' has a passphrase, expected one without (openssl pkey -in OLD -out NEW removes it)");
  if (!key) return bad("'" + key_path + "' has no private key, expected one in PEM form");
  const bool fits = openssl().fits(cert.get(), key.get()) == 1;
  openssl().clear_errors();
  if (!fits) return bad("the key '" + key_path + "' does not fit the certificate '" + cert_path + "'");
  if (openssl().compare_time(openssl().not_after(cert.get())) < 0)
    event(Level::warn, "certificate-expired", {{"path", cert_path}, {"reason", "other sides will refuse it"}});
  return {};
}

Result<void> check_ca(const std::string& path, const std::string& pem) {
  if (!first_cert(pem)) return bad("'" + path + "' has no certificate, expected those of the CA in PEM form");
  return {};
}

CipherLists split_ciphers(const std::string& list) {
  CipherLists lists;
  for (const std::string& word : split_words(list)) {
    std::string& half = word.starts_with("TLS_") ? lists.tls_1_3 : lists.tls_1_2;
    half += (half.empty() ? "" : ":") + word;
  }
  return lists;
}

// OpenSSL passes over words that it does not know as long as one is known.
Result<void> check_ciphers(const std::string& list) {
  std::unique_ptr<void, void (*)(void*)> context(openssl().ctx_new(openssl().server_method()), openssl().ctx_free);
  GW_ASSERT(context != nullptr);
  std::string unknown;
  for (const std::string& word : split_words(list)) {
    if (word[0] == '!' || word[0] == '-' || word[0] == '@') continue;  // takes away what need not be there, or sorts
    const std::string name = word.substr(word[0] == '+' ? 1 : 0);
    const bool known = name.starts_with("TLS_") ? openssl().set_ciphersuites(context.get(), name.c_str()) == 1
                                                : openssl().set_cipher_list(context.get(), name.c_str()) == 1;
    if (!known) unknown += (unknown.empty() ? "'" : ", '") + word + "'";
  }
  const CipherLists lists = split_ciphers(list);
  const bool any = (!lists.tls_1_2.empty() || !lists.tls_1_3.empty()) &&
                   (lists.tls_1_2.empty() || openssl().set_cipher_list(context.get(), lists.tls_1_2.c_str()) == 1);
  openssl().clear_errors();
  if (!unknown.empty()) return bad("unknown ciphers " + unknown + ", expected a list as 'openssl ciphers' takes it");
  if (!any) return bad("'" + list + "' names no cipher, expected a list as 'openssl ciphers' takes it");
  return {};
}

}  // namespace gw
