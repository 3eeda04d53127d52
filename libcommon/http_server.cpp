#include "http_server.hpp"

#include <arpa/inet.h>
#include <civetweb.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "diag.hpp"
#include "drain.hpp"
#include "slow_peers.hpp"
#include "unique_fd.hpp"
#include "units.hpp"

namespace gw::http {

namespace {

// The library's own limit is larger than ours, so that most heads that are too large get a proper answer from check_head().
constexpr int library_head_bytes = 64 * 1024;
constexpr size_t read_bytes_min = 4 * 1024, read_bytes_max = 256 * 1024;

Ends ends_of(const mg_request_info& info) {
  in_addr address{};
  if (::inet_pton(AF_INET, info.remote_addr, &address) != 1) return {};
  return Ends{address.s_addr, static_cast<uint16_t>(info.remote_port), static_cast<uint16_t>(info.server_port)};
}

/// The library drops or joins what it does not understand. In its buffer it only writes NUL over separators, so what it dropped
/// shows as a gap: every field must begin two bytes (CR LF) after the one before, and an empty line must follow the last.
bool is_loose(const mg_request_info& info) {
  const char* method = info.request_method;
  const char* target = info.request_uri;
  const char* version = info.http_version;
  if (reinterpret_cast<uintptr_t>(method) % 16 != 0) return true;  // something stood before the request line
  if (method + std::strlen(method) + 1 != target) return true;
  const char* target_end = target + std::strlen(target);
  if (info.query_string) target_end = info.query_string + std::strlen(info.query_string);
  if (target_end + 1 != version - 5) return true;
  const char* line_end = version + std::strlen(version);
  // Without fields the library has written NUL over the empty line too.
  if (info.num_headers == 0) return line_end[1] != 0 || line_end[2] != 0 || line_end[3] != 0;
  for (int i = 0; i < info.num_headers; ++i) {
    const char* name = info.http_headers[i].name;
    const char* value = info.http_headers[i].value;
    if (line_end[1] != 0 || line_end + 2 != name) return true;
    const char* colon = name + std::strlen(name);
    for (const char* c = colon + 1; c < value; ++c)
      if (*c != ' ' && *c != '\t') return true;
    line_end = value + std::strlen(value);
  }
  return line_end[1] != 0 || line_end[2] != '\r' || line_end[3] != 0;
}

bool says_close(const RequestHead& head) {
  auto connection = head.find("Connection");
  return connection && ::strncasecmp(connection->data(), "close", 5) == 0;
}

}  // namespace

class ConnectionAnswer;
// All of them, never freed: another thread may still be about to leave one whose thread has ended.
struct ConnectionAnswers {
  std::mutex mutex;
  std::vector<ConnectionAnswer*> all;
};
ConnectionAnswers& connection_answers() {
  static auto* instance = new ConnectionAnswers;
  return *instance;
}

// One for each thread that serves connections. The library waits for the next request meanwhile: it must not close the
// socket, and no other request of the connection may begin, before the answer was sent.
class ConnectionAnswer : public LateAnswer {
 public:
  static ConnectionAnswer& mine() {
    thread_local ConnectionAnswer* mine = [] {
      auto* fresh = new ConnectionAnswer;
      std::lock_guard<std::mutex> one(connection_answers().mutex);
      connection_answers().all.push_back(fresh);
      return fresh;
    }();
    return *mine;
  }
  /// A new connection. Thread of the connection, as all but send().
  void connection() {
    socket_ = -1;
    requests_ = 0;
    closed_ = false;
  }
  /// Returns when nothing is pending. False: the last answer has closed the connection, and what the library has read already of
  /// further requests does not count.
  bool wait() {
    uint32_t state = idle;
    while ((state = state_.load(std::memory_order_acquire)) != idle) {
      if (state == pending && !state_.compare_exchange_weak(state, awaited)) continue;
      state_.wait(awaited, std::memory_order_acquire);
    }
    return !closed_;
  }
  /// -1: not known. Looked for when a connection has its second request: who sends only one would pay for it and gain nothing.
  int socket(const Ends& ends) {
    if (++requests_ == 2) socket_ = find_socket(ends);
    return socket_;
  }
  void begin(Server& server) {
    server_ = &server;
    state_.store(pending, std::memory_order_release);
  }
  void send(const Answer& answer) override;

 private:
  enum : uint32_t { idle, pending, awaited };
  std::atomic<uint32_t> state_{idle};
  Server* server_ = nullptr;
  int socket_ = -1;
  uint64_t requests_ = 0;
  bool closed_ = false;  // before state_ becomes idle
};

void ConnectionAnswer::send(const Answer& answer) {
  Server& server = *server_;
  const bool closes = answer.close() || server.stopping();
  const std::string bytes = format_answer(answer, closes, true, now_ms());
  // An answer is small: a socket that does not take it belongs to a peer that does not read.
  const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  closed_ = closes || sent != static_cast<ssize_t>(bytes.size());
  if (closed_) ::shutdown(socket_, SHUT_RDWR);
  if (state_.exchange(idle, std::memory_order_acq_rel) == awaited) state_.notify_all();
  server.finished();
}

namespace {

class LibraryExchange : public Exchange {
 public:
  LibraryExchange(mg_connection* connection, const mg_request_info& info, Server& server);
  const RequestHead& head() const override { return head_; }
  const std::variant<BodyPlan, WireRefusal>& plan() const override { return plan_; }
  Read read(char* into, size_t room, size_t& got) override;
  std::optional<PeerIdentity> peer() const override {
    if (!info_.client_cert || !info_.client_cert->peer_cert) return std::nullopt;
    return identify_peer(info_.client_cert->peer_cert);
  }
  void send_continue() override;
  void send(const Answer& answer) override;
  LateAnswer* later() override;

  bool answered() const { return answered_; }
  int status() const { return status_; }
  /// Closes after this request, whatever was sent.
  void close();
  bool closes() const { return closes_; }
  /// later() was used. The answer may have been sent meanwhile.
  bool late() const { return late_; }
  /// Of the connection; 0: not known.
  uint64_t bytes_taken() const { return chunked_ || info_.is_ssl ? 0 : head_.bytes + received_; }

 private:
  bool body_read() const { return ended_ || (!chunked_ && received_ == length_); }
  Read ended(bool cut);

  mg_connection* connection_;
  const mg_request_info& info_;
  Server& server_;
  RequestHead head_;
  std::variant<BodyPlan, WireRefusal> plan_;
  bool chunked_ = false, ended_ = false, answered_ = false, late_ = false, closes_ = false;
  uint64_t length_ = 0, received_ = 0;
  int64_t silent_since_ms_ = 0;
  size_t ask_ = read_bytes_min;
  int status_ = 0;
};

std::vector<HeadField>& field_buffer() {
  thread_local std::vector<HeadField> fields;
  return fields;
}

LibraryExchange::LibraryExchange(mg_connection* connection, const mg_request_info& info, Server& server)
    : connection_(connection), info_(info), server_(server) {
  auto& fields = field_buffer();
  fields.clear();
  for (int i = 0; i < info.num_headers; ++i) fields.emplace_back(info.http_headers[i].name, info.http_headers[i].value);
  head_.method = info.request_method;
  head_.target = info.request_uri;
  head_.version = info.http_version;
  if (info.query_string) {
    head_.has_query = true;
    head_.query = info.query_string;
  }
  head_.fields = fields;
  head_.port = static_cast<uint16_t>(info.server_port);
  head_.from = info.remote_addr;
  head_.loose = is_loose(info);
  std::string_view last = fields.empty() ? head_.version : fields.back().second;
  head_.bytes = static_cast<size_t>(last.data() + last.size() - info.request_method) + 4;
  plan_ = check_head(head_);
  const auto* body = std::get_if<BodyPlan>(&plan_);
  chunked_ = body && body->chunked;
  length_ = body ? body->length : UINT64_MAX;  // of a refused head: never read to its end
}

Exchange::Read LibraryExchange::ended(bool cut) {
  Awaited& awaited = Awaited::mine();
  awaited.nothing();
  if (awaited.overdue()) return Read::too_slow;
  if (cut) return Read::cut;
  ended_ = true;
  return Read::end;
}

Exchange::Read LibraryExchange::read(char* into, size_t room, size_t& got) {
  got = 0;
  if (body_read()) return ended(false);
  Awaited& awaited = Awaited::mine();
  awaited.body();
  for (;;) {
    size_t ask = std::min(room, ask_);
    awaited.body_asked(ask);
    int64_t before = monotonic_ms();
    int n = mg_read(connection_, into, ask);
    int64_t now = monotonic_ms(), took = now - before;
    if (n > 0) {
      got = static_cast<size_t>(n);
      received_ += got;
      awaited.body_came(got);
      silent_since_ms_ = 0;
      // Small pieces from slow senders, so that the watcher sees what arrives.
      if (took < 50) ask_ = std::min(ask_ * 2, read_bytes_max);
      else if (took > 1000) ask_ = std::max(ask_ / 2, read_bytes_min / 4);
      return Read::data;
    }
    if (n == 0 && chunked_) return ended(false);
    if (n < 0) {
      // A chunked body that stalls ends in the same error as one that is cut; the time tells them apart.
      if (chunked_ && took >= head_timeout_ms) awaited.set_overdue();
      return ended(true);
    }
    // Nothing for ten seconds. The library would report the end here.
    if (silent_since_ms_ == 0) silent_since_ms_ = before;
    int64_t elapsed = now - awaited.since_ms();
    bool below_rate = elapsed >= slow_body_after_ms && awaited.body_bytes() * 1000 < body_bytes_per_second_min * elapsed;
    if (below_rate || now - silent_since_ms_ >= idle_timeout_ms) awaited.set_overdue();
    if (awaited.overdue()) return ended(true);
  }
}

void LibraryExchange::send_continue() {
  constexpr std::string_view line = "HTTP/1.1 100 Continue\r\n\r\n";
  mg_write(connection_, line.data(), line.size());
}

void LibraryExchange::close() {
  closes_ = true;
  mg_disable_connection_keep_alive(connection_);
}

void LibraryExchange::send(const Answer& answer) {
  answered_ = true;
  status_ = answer.status;
  bool unread = !body_read();
  bool closes = answer.close() || server_.stopping() || unread;
  closes |= says_close(head_);
  std::string bytes = format_answer(answer, closes, head_.method != "HEAD", now_ms());
  if (closes) close();
  else Awaited::mine().taken(bytes_taken(), info_.is_ssl ? tls_socket() : -1);
  mg_write(connection_, bytes.data(), bytes.size());
  if (unread) drain(find_socket(ends_of(info_)));
}

LateAnswer* LibraryExchange::later() {
  // Another thread must not write where the library may be in TLS.
  if (info_.is_ssl || chunked_ || !body_read() || head_.version != "1.1" || says_close(head_)) return nullptr;
  ConnectionAnswer& answer = ConnectionAnswer::mine();
  if (answer.socket(ends_of(info_)) < 0) return nullptr;
  answered_ = late_ = true;
  status_ = 200;
  Awaited::mine().taken(bytes_taken());
  answer.begin(server_);
  return &answer;
}

}  // namespace

struct Server::Impl {
  mg_context* context = nullptr;
  std::unique_ptr<TlsPorts> tls;  // null: no channel is https
  std::string last_log;
  SlowPeers slow_peers;
};

// --- what the library calls ---------------------------------------------------------------------------------------------

struct ServerCallbacks {
  static Server& server_of(const mg_connection* connection) {
    return *static_cast<Server*>(mg_get_user_data(mg_get_context(connection)));
  }

  static int begin_request(mg_connection* connection) {
    Server& server = server_of(connection);
    const mg_request_info& info = *mg_get_request_info(connection);
    if (!ConnectionAnswer::mine().wait()) {
      mg_disable_connection_keep_alive(connection);
      return 500;
    }
    server.active_.fetch_add(1, std::memory_order_acq_rel);
    int status;
    bool late = false;
    {
      Awaited::mine().request(ends_of(info));
      LibraryExchange exchange(connection, info, server);
      server.handler_(exchange);
      if (!exchange.answered()) exchange.close();
      late = exchange.late();
      status = exchange.status();
      if (exchange.closes()) Awaited::mine().nothing();
      else Awaited::mine().head();
    }
    mg_set_user_connection_data(connection, reinterpret_cast<void*>(monotonic_ms()));
    if (!late) server.finished();
    return status > 0 ? status : 500;  // never 0: the library would go on with its files
  }

  static int init_connection(const mg_connection*, void** data) {
    *data = reinterpret_cast<void*>(monotonic_ms());
    Awaited::mine().connection();
    ConnectionAnswer::mine().connection();
    return 0;
  }
  static void connection_close(const mg_connection*) {
    ConnectionAnswer::mine().wait();
    Awaited::mine().nothing();
  }

  /// Heads that the library itself refuses.
  static int http_error(mg_connection* connection, int status, const char* text) {
    const mg_request_info& info = *mg_get_request_info(connection);
    Answer answer;
    answer.status = status;
    answer.text = text ? text : "";
    const int fd = find_socket(ends_of(info));
    if (status == 411) {
      answer.status = 400;
      answer.text = "Content-Length is not a number";
    } else if (status == 400 && is_unknown_method(info)) {
      answer.status = 405;
      answer.text = "Method Not Allowed";
      answer.fields = "Allow: " + server_of(connection).options_.methods + "\r\n";
    } else if (status == 413 || (status == 400 && answer.text == "Malformed message")) {
      refine(answer, fd, info.conn_data);
    }
    event(Level::warn, "refused", {{"status", answer.status}, {"reason", answer.text}, {"from", info.remote_addr}});
    std::string bytes = format_answer(answer, true, true, now_ms());
    mg_disable_connection_keep_alive(connection);
    mg_write(connection, bytes.data(), bytes.size());
    drain(fd);
    return 0;
  }

  /// The library calls that a bad request too. It has then read the request line and none of the fields.
  static bool is_unknown_method(const mg_request_info& info) {
    const char* version = info.http_version;
    if (!info.request_method || !version || (std::strncmp(version, "1.1", 4) != 0 && std::strncmp(version, "1.0", 4) != 0)) return false;
    std::string_view method(info.request_method, ::strnlen(info.request_method, 32));
    if (method.empty() || method.size() == 32 || info.num_headers > 0) return false;
    for (const char* known : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH"})
      if (method == known) return false;
    return std::all_of(method.begin(), method.end(), [](char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-'; });
  }

  /// "Malformed" is also what the library says of heads that are too large or too slow.
  static void refine(Answer& answer, int fd, const void* began) {
    answer.status = 400;
    answer.text = "malformed request";
    tcp_info tcp{};
    socklen_t size = sizeof tcp;
    int unread = 0;
    if (fd >= 0 && ::ioctl(fd, FIONREAD, &unread) == 0 && ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &tcp, &size) == 0 &&
        (unread > 0 || tcp.tcpi_bytes_received >= library_head_bytes)) {
      answer.status = 431;
      answer.text = "header larger than " + std::to_string(head_bytes_max) + " bytes";
    } else if (began && monotonic_ms() - reinterpret_cast<int64_t>(began) >= head_timeout_ms) {
      answer.status = 408;
      answer.text = "the header did not come in time";
    }
  }

  static int external_ssl_ctx(void** context, void* user_data) {
    *context = static_cast<Server*>(user_data)->impl_->tls->front();
    return 1;  // ours: the library leaves it alone
  }

  static int log_message(const mg_connection* connection, const char* text) {
    Server& server = server_of(connection);
    if (server.impl_ && !server.impl_->context) server.impl_->last_log = text;
    event(Level::debug, "http-library", {{"text", text}});
    return 1;
  }
};

// --- start and stop -----------------------------------------------------------------------------------------------------

namespace {

/// The library's own message names no cause: try first.
Result<void> try_address(const Listening& wanted) {
  if (wanted.port == 0) return {};
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error("open", "a socket", errno);
  int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(wanted.port);
  ::inet_pton(AF_INET, wanted.bind_address.c_str(), &address.sin_addr);
  bool bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 && ::listen(fd.get(), 1) == 0;
  if (bound) return {};
  int error = errno;
  std::string what = "listen on '" + wanted.bind_address + ":" + std::to_string(wanted.port) + "' for '" + wanted.name + "': ";
  if (error == EADDRINUSE)
    return Error{ExitCode::cannot_create, error, what + "another program listens there; stop it or choose another port"};
  if (error == EACCES)
    return Error{ExitCode::no_permission, error, what + "ports below 1024 need the capability CAP_NET_BIND_SERVICE"};
  if (error == EADDRNOTAVAIL) return Error{ExitCode::cannot_create, error, what + "this machine does not have that address"};
  return Error{ExitCode::system, error, what + std::strerror(error)};
}

/// One entry per socket; who is on one port shares it.
std::vector<std::string> listening_addresses(const std::vector<Listening>& sockets, std::vector<size_t>& entry_of) {
  std::vector<std::string> addresses;
  for (const Listening& one : sockets) {
    std::string text = one.bind_address + ":" + std::to_string(one.port) + (one.https ? "s" : "");
    auto same = one.port == 0 ? addresses.end() : std::find(addresses.begin(), addresses.end(), text);
    entry_of.push_back(static_cast<size_t>(same - addresses.begin()));
    if (same == addresses.end()) addresses.push_back(text);
  }
  return addresses;
}

}  // namespace

Server::Server(Handler handler, ServerOptions options)
    : handler_(std::move(handler)), options_(std::move(options)), impl_(std::make_unique<Impl>()) {}

Server::~Server() {
  if (impl_->context) stop(0);
}

Result<void> Server::init_library(const std::vector<Listening>& sockets, Impl& impl) {
  const bool tls = std::any_of(sockets.begin(), sockets.end(), [](const Listening& c) { return c.https; });
  if (!tls) {
    mg_init_library(0);
    return {};
  }
  GW_TRY(TlsPorts::load_library());
  if ((mg_init_library(MG_FEATURES_TLS) & MG_FEATURES_TLS) == 0)
    return Error{ExitCode::system, 0, "the HTTP library cannot speak TLS with this OpenSSL; put a TLS proxy in front, or install libssl3"};
  impl.tls = std::make_unique<TlsPorts>();
  return {};
}

Result<void> Server::start(std::vector<Listening>& sockets) {
  for (const Listening& one : sockets) GW_TRY(try_address(one));
  std::vector<size_t> entry_of;
  std::vector<std::string> addresses = listening_addresses(sockets, entry_of);
  std::string ports;
  for (const std::string& address : addresses) ports += (ports.empty() ? "" : ",") + address;
  const std::string threads = std::to_string(options_.connections), head_bytes = std::to_string(library_head_bytes),
                    head_timeout = std::to_string(head_timeout_ms), idle_timeout = std::to_string(idle_timeout_ms);
  const char* options[] = {"listening_ports", ports.c_str(),
                           "num_threads", threads.c_str(),
                           "connection_queue", "512",
                           "listen_backlog", "1024",
                           "request_timeout_ms", head_timeout.c_str(),
                           "enable_keep_alive", "yes",
                           "keep_alive_timeout_ms", idle_timeout.c_str(),
                           "max_request_size", head_bytes.c_str(),
                           "tcp_nodelay", "1",
                           "decode_url", "no",
                           "enable_auth_domain_check", "no",
                           "enable_directory_listing", "no",
                           "index_files", "",
                           "cgi_pattern", "",
                           "ssi_pattern", "",
                           "access_control_allow_origin", "",
                           "access_control_allow_methods", "",
                           "access_control_allow_headers", "",
                           nullptr};
  GW_TRY(init_library(sockets, *impl_));
  mg_callbacks callbacks{};
  if (impl_->tls) callbacks.external_ssl_ctx = &ServerCallbacks::external_ssl_ctx;
  callbacks.begin_request = &ServerCallbacks::begin_request;
  callbacks.init_connection = &ServerCallbacks::init_connection;
  callbacks.connection_close = &ServerCallbacks::connection_close;
  callbacks.http_error = &ServerCallbacks::http_error;
  callbacks.log_message = &ServerCallbacks::log_message;
  set_tls(sockets);  // connections may come before mg_start() returns
  mg_context* context = mg_start(&callbacks, this, options);
  if (!context)
    return Error{ExitCode::system, 0, "start the HTTP server on '" + ports + "': " + (impl_->last_log.empty() ? "out of threads or memory" : impl_->last_log)};
  impl_->context = context;
  std::vector<mg_server_port> real(addresses.size() + 1);
  int n = mg_get_server_ports(context, static_cast<int>(real.size()), real.data());
  if (n != static_cast<int>(addresses.size()))
    return Error{ExitCode::system, 0, "start the HTTP server on '" + ports + "': not all addresses are listened on"};
  for (size_t i = 0; i < sockets.size(); ++i) sockets[i].port = static_cast<uint16_t>(real[entry_of[i]].port);
  set_tls(sockets);  // the ports that were chosen just now
  impl_->slow_peers.start();
  return {};
}

void Server::set_tls(const std::vector<Listening>& sockets) {
  if (!impl_->tls) return;
  std::map<uint16_t, std::shared_ptr<const TlsContext>> ports;
  for (const Listening& one : sockets)
    if (one.https) ports[one.port] = one.tls;
  impl_->tls->set(std::move(ports));
}

bool Server::stop(int64_t grace_ms) {
  stopping_ = true;
  int64_t deadline = monotonic_ms() + grace_ms;
  while (active_.load() > 0 && monotonic_ms() < deadline) ::usleep(2000);
  bool all = active_.load() == 0;
  impl_->slow_peers.stop();
  if (impl_->context) mg_stop(impl_->context);
  impl_->context = nullptr;
  return all;
}

}  // namespace gw::http
