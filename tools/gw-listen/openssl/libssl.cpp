// Debian's CivetWeb asks OpenSSL 3 for a function by the name that it had before. This library has the SONAME libssl.so, leads on to
// libssl.so.3, and knows that name too. Without it the server jumps to address 0 with the first client that speaks TLS.
struct ssl_st;
struct x509_st;

extern "C" {
x509_st* SSL_get1_peer_certificate(const ssl_st* ssl);
x509_st* SSL_get_peer_certificate(const ssl_st* ssl);
x509_st* SSL_get_peer_certificate(const ssl_st* ssl) { return SSL_get1_peer_certificate(ssl); }
}
