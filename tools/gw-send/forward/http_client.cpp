#include "http_client.hpp"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <vector>

#include "gw_assert.hpp"
#include "system_cas.hpp"
#include "unique_fd.hpp"
#include "units.hpp"
#include "wire_codec.hpp"

namespace gw {
namespace {

constexpr int64_t stall_check_ms = 100;
constexpr long kept_connections_max = 1024;
constexpr int events_max = 128;
constexpr int64_t no_timer = INT64_MAX;
// curl leaves a buffer of this size with every transfer.
constexpr long answer_buffer_bytes = 16 * 1024;

struct MultiCleanup {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct EasyCleanup {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

/// A handle, the request it carries, and what has come back so far. Used again and again.
struct Slot {
  std::unique_ptr<CURL, EasyCleanup> easy;
  HttpRequest request;
  void* user = nullptr;
  HttpAnswer answer;
  std::vector<curl_slist> lines;  // points into request.head: no copies
  std::array<char, CURL_ERROR_SIZE> error{};
  uint64_t body_offset = 0;
  std::shared_ptr<const LinkSecrets> link;  // what the handle is set to
  bool ca_bundle = true;                    // the same: is the file of the system's CAs read?
  size_t index = 0;  // in the list of those in flight
  bool too_long = false;
  std::string retry_after, date;  // headers of the answer
  // For the answer time-out.
  int64_t progress_ms = 0;
  curl_off_t uploaded = 0, downloaded = 0;
  bool upload_done = false;
};

uint64_t body_size(const HttpRequest& request) { return request.upload ? request.upload->size() : request.body->size(); }

size_t on_read(char* buffer, size_t size, size_t count, void* user) noexcept {
  Slot& slot = *static_cast<Slot*>(user);
  Upload* upload = slot.request.upload;
  auto bytes = upload ? upload->read(size * count) : slot.request.body->read_at(slot.body_offset, size * count);
  if (!bytes) return CURL_READFUNC_ABORT;
  std::copy(bytes->begin(), bytes->end(), buffer);
  slot.body_offset += bytes->size();
  return bytes->size();
}

int on_seek(void* user, curl_off_t offset, int origin) noexcept {
  Slot& slot = *static_cast<Slot*>(user);
  if (origin != SEEK_SET || offset < 0 || (slot.request.upload && offset > 0)) return CURL_SEEKFUNC_CANTSEEK;
  if (slot.request.upload) slot.request.upload->rewind();
  slot.body_offset = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t on_body(char* data, size_t size, size_t count, void* user) noexcept {
  Slot& slot = *static_cast<Slot*>(user);
  const size_t bytes = size * count;
  const size_t room = slot.request.answer_bytes - slot.answer.body.size();
  slot.answer.body.append(data, std::min(bytes, room));
  if (bytes <= room) return bytes;
  slot.too_long = true;
  return 0;  // ends the transfer
}

/// The value, if the line is the header `name` (in small letters).
std::optional<std::string_view> value_of(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || line[name.size()] != ':') return std::nullopt;
  for (size_t i = 0; i < name.size(); ++i)
    if ((line[i] | 0x20) != name[i]) return std::nullopt;
  const size_t first = line.find_first_not_of(" \t", name.size() + 1);
  const size_t last = line.find_last_not_of(" \t\r\n");
  return first == std::string_view::npos || last < first ? std::string_view() : line.substr(first, last - first + 1);
}

/// The status line, "HTTP/1.1 503 Service Unavailable", and when to come again.
size_t on_header(char* data, size_t size, size_t count, void* user) noexcept {
  const std::string_view line(data, size * count);
  if (const auto value = value_of(line, "retry-after")) static_cast<Slot*>(user)->retry_after = *value;
  if (const auto value = value_of(line, "date")) static_cast<Slot*>(user)->date = *value;
  if (!line.starts_with("HTTP/")) return line.size();
  std::string& reason = static_cast<Slot*>(user)->answer.reason;
  reason.clear();
  const size_t code = line.find(' ');
  const size_t phrase = code == std::string_view::npos ? code : line.find(' ', code + 1);
  if (phrase == std::string_view::npos) return line.size();
  reason = line.substr(phrase + 1);
  while (!reason.empty() && (reason.back() == '\r' || reason.back() == '\n' || reason.back() == ' ')) reason.pop_back();
  return line.size();
}

template <class T>
void set(CURL* easy, CURLoption option, T value) {
  GW_ASSERT(curl_easy_setopt(easy, option, value) == CURLE_OK);
}

/// What is the same for every request of a handle.
void set_up(Slot& slot) {
  CURL* easy = slot.easy.get();
  set(easy, CURLOPT_PRIVATE, &slot);
  set(easy, CURLOPT_ERRORBUFFER, slot.error.data());
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_PROXY, "");  // else http_proxy of the environment would be obeyed
  set(easy, CURLOPT_NOPROXY, "");
  set(easy, CURLOPT_HEADEROPT, static_cast<long>(CURLHEADER_SEPARATE));  // a proxy gets no header of ours
  set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  set(easy, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(easy, CURLOPT_BUFFERSIZE, answer_buffer_bytes);
  set(easy, CURLOPT_READFUNCTION, &on_read);
  set(easy, CURLOPT_READDATA, &slot);
  set(easy, CURLOPT_SEEKFUNCTION, &on_seek);
  set(easy, CURLOPT_SEEKDATA, &slot);
  set(easy, CURLOPT_WRITEFUNCTION, &on_body);
  set(easy, CURLOPT_WRITEDATA, &slot);
  set(easy, CURLOPT_HEADERFUNCTION, &on_header);
  set(easy, CURLOPT_HEADERDATA, &slot);
}

/// As the library writes it into Host: without user and standard port.
std::string host_of(std::string_view url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return "";
  std::string_view host = url.substr(scheme + 3);
  host = host.substr(0, host.find_first_of("/?#"));
  if (const size_t user = host.rfind('@'); user != std::string_view::npos) host.remove_prefix(user + 1);
  const std::string_view port = url.starts_with("https") ? ":443" : ":80";
  if (host.ends_with(port)) host.remove_suffix(port.size());
  return std::string(host);
}

/// The lines that the library would add are ours too then. It writes the name of Host itself, whatever it is given, unless that line
/// comes with another one; "Host:" alone takes its own out.
void lower_case_all(Slot& slot) {
  std::string& head = slot.request.head;
  head.append("content-length: " + std::to_string(body_size(slot.request)) + "\r\nhost: " + host_of(*slot.request.url)).push_back('\0');
  bool in_name = true;
  for (char& c : head) {
    if (c == '\0') in_name = true;
    else if (c == ':') in_name = false;
    else if (in_name && c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
}

/// curl wants a linked list; its nodes stand in a vector and point into the head.
void link_lines(Slot& slot) {
  if (slot.request.link && !slot.request.link->token.empty())
    slot.request.head.append("Authorization: Bearer " + slot.request.link->token).push_back('\0');
  if (slot.request.lower_case_names) lower_case_all(slot);
  // "Name:" without a value takes a header of curl's own out.
  for (std::string_view unwanted : {"Expect:", "Accept:"}) slot.request.head.append(unwanted).push_back('\0');
  if (slot.request.lower_case_names) slot.request.head.append("Host:").push_back('\0');
  std::string& head = slot.request.head;
  slot.lines.clear();
  slot.lines.reserve(static_cast<size_t>(std::count(head.begin(), head.end(), '\0')));
  for (size_t at = 0; at < head.size();) {
    const size_t end = head.find('\0', at);
    // curl drops "Name: "; an empty value is written "Name;".
    if (end - at > 2 && head.compare(end - 2, 2, ": ") == 0) {
      head[end - 2] = ';';
      head[end - 1] = '\0';
    }
    slot.lines.push_back({head.data() + at, nullptr});
    at = end + 1;
  }
  for (size_t i = 1; i < slot.lines.size(); ++i) slot.lines[i - 1].next = &slot.lines[i];
}

/// The bytes stay where they are: the handle keeps its link.
void set_blob(CURL* easy, CURLoption option, const std::string& pem) {
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
  set(easy, option, pem.empty() ? nullptr : &blob);
}

/// Certificates, and the way through a proxy. A CA of the site's own replaces the system's, whose directory would count beside it.
void set_link(Slot& slot) {
  static const LinkSecrets nothing;
  if (slot.link == slot.request.link) return;
  slot.link = slot.request.link;
  CURL* easy = slot.easy.get();
  const LinkSecrets& link = slot.link ? *slot.link : nothing;
  set_blob(easy, CURLOPT_CAINFO_BLOB, link.ca_pem);
  set_blob(easy, CURLOPT_SSLCERT_BLOB, link.cert_pem);
  set_blob(easy, CURLOPT_SSLKEY_BLOB, link.key_pem);
  set(easy, CURLOPT_CAPATH, link.ca_pem.empty() ? curl_version_info(CURLVERSION_NOW)->capath : nullptr);
  set(easy, CURLOPT_PROXY, link.proxy.c_str());
  set(easy, CURLOPT_PROXYUSERPWD, link.proxy_user.empty() ? nullptr : link.proxy_user.c_str());
}

/// For sites without a CA of their own.
void set_system_cas(Slot& slot, SystemCas& system_cas) {
  if (!slot.request.url->starts_with("https://") || (slot.link && !slot.link->ca_pem.empty())) return;
  const bool wanted = !system_cas.directory_is_enough();
  if (wanted == slot.ca_bundle) return;
  slot.ca_bundle = wanted;
  set(slot.easy.get(), CURLOPT_CAINFO, wanted ? curl_version_info(CURLVERSION_NOW)->cainfo : nullptr);
}

SystemCas system_cas_of_library() {
  const auto& library = *curl_version_info(CURLVERSION_NOW);
  return SystemCas(library.cainfo ? library.cainfo : "", library.capath ? library.capath : "");
}

/// Did TLS fail, in the handshake or by an alert after it?
bool is_tls_failure(CURLcode code, std::string_view text) {
  switch (code) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT: return true;
    default: return text.starts_with("OpenSSL SSL_");  // reading or writing
  }
}

void set_request(Slot& slot, SystemCas& system_cas) {
  CURL* easy = slot.easy.get();
  set_link(slot);
  set_system_cas(slot, system_cas);
  const HttpRequest& request = slot.request;
  set(easy, CURLOPT_URL, request.url->c_str());
  set(easy, CURLOPT_HTTPHEADER, slot.lines.data());
  if (request.get) {
    set(easy, CURLOPT_HTTPGET, 1L);
  } else {
    const bool is_read = request.upload || request.body->is_file();
    set(easy, CURLOPT_POST, 1L);
    set(easy, CURLOPT_POSTFIELDS, is_read ? nullptr : request.body->bytes().data());
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_size(request)));
  }
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_timeout_ms));
  set(easy, CURLOPT_MAX_SEND_SPEED_LARGE, static_cast<curl_off_t>(request.bytes_per_s_max));
}

}  // namespace

class HttpClient::Impl {
 public:
  Result<void> create();
  void start(HttpRequest request, void* user);
  size_t in_flight() const { return flying_.size(); }
  void poll(int64_t timeout_ms, const Done& done);
  void wake();
  void abandon(const Done& done);

 private:
  Slot& take_slot();
  void finish(Slot& slot, CURLcode code, const Done& done);
  void release(Slot& slot);
  static int on_socket(CURL* easy, curl_socket_t fd, int what, void* user, void* known) noexcept;
  static curl_socket_t open_socket(void* user, curlsocktype purpose, curl_sockaddr* address) noexcept;
  static int close_socket(void* user, curl_socket_t fd) noexcept;
  static int on_timer(CURLM* multi, long timeout_ms, void* user) noexcept;
  void run_timer();
  void wait_for_events(int64_t timeout_ms);
  void report_done(const Done& done);
  void end_stalled(const Done& done);
  bool stalled(Slot& slot, int64_t now_ms);

  // curl tells which sockets and which timer it waits for: a round costs what happened, not what is in flight.
  UniqueFd epoll_, wake_;
  // Connections that we opened, by descriptor: what epoll watches them for. Between two transfers curl asks for a connection to be
  // left alone and then for the same as before; epoll is told when something comes meanwhile only.
  struct Watched {
    bool ours = false, wanted = false;
    uint32_t events = 0;
  };
  std::vector<Watched> watched_;
  Watched* watched(curl_socket_t fd) {
    const auto i = static_cast<size_t>(fd);
    return i < watched_.size() && watched_[i].ours ? &watched_[i] : nullptr;
  }
  int64_t timer_at_ms_ = no_timer;
  std::unique_ptr<CURLM, MultiCleanup> multi_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> idle_, flying_;
  SystemCas system_cas_ = system_cas_of_library();
  int64_t stall_checked_ms_ = 0;
};

Result<void> HttpClient::Impl::create() {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) return Error{ExitCode::system, 0, "libcurl cannot be initialised"};
  multi_.reset(curl_multi_init());
  if (!multi_) return Error{ExitCode::system, 0, "libcurl cannot be initialised"};
  CURLM* multi = multi_.get();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, kept_connections_max);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, &on_socket);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, &on_timer);
  curl_multi_setopt(multi, CURLMOPT_TIMERDATA, this);
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return errno_error("open", "an epoll instance", errno);
  wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  if (!wake_ || ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) return errno_error("open", "an eventfd", errno);
  return {};
}

int HttpClient::Impl::on_socket(CURL*, curl_socket_t fd, int what, void* user, void* known) noexcept {
  Impl& self = *static_cast<Impl*>(user);
  Watched* connection = self.watched(fd);
  if (what == CURL_POLL_REMOVE && connection) {
    connection->wanted = false;
    return 0;
  }
  if (what == CURL_POLL_REMOVE) {
    ::epoll_ctl(self.epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);  // may be closed already
    return 0;
  }
  epoll_event event{};
  if (what & CURL_POLL_IN) event.events |= EPOLLIN;
  if (what & CURL_POLL_OUT) event.events |= EPOLLOUT;
  event.data.fd = fd;
  if (connection) {
    connection->wanted = true;
    if (connection->events == event.events) return 0;
    known = connection->events != 0 ? user : nullptr;
    connection->events = event.events;
  }
  if (::epoll_ctl(self.epoll_.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0) {
    // A descriptor that was closed and opened anew between two calls of curl.
    const int other = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(self.epoll_.get(), other, fd, &event) != 0) return -1;
  }
  if (!known && !connection) curl_multi_assign(self.multi_.get(), fd, user);
  return 0;
}

curl_socket_t HttpClient::Impl::open_socket(void* user, curlsocktype, curl_sockaddr* address) noexcept {
  Impl& self = *static_cast<Impl*>(user);
  const int fd = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (fd < 0) return CURL_SOCKET_BAD;
  const auto i = static_cast<size_t>(fd);
  if (i >= self.watched_.size()) self.watched_.resize(i + 1);
  self.watched_[i] = {true, false, 0};
  return fd;
}

int HttpClient::Impl::close_socket(void* user, curl_socket_t fd) noexcept {
  Impl& self = *static_cast<Impl*>(user);
  if (Watched* connection = self.watched(fd)) *connection = {};
  return ::close(fd);
}

int HttpClient::Impl::on_timer(CURLM*, long timeout_ms, void* user) noexcept {
  static_cast<Impl*>(user)->timer_at_ms_ = timeout_ms < 0 ? no_timer : monotonic_ms() + timeout_ms;
  return 0;
}

void HttpClient::Impl::wake() {
  const uint64_t one = 1;
  // Fails only if it is awake anyway.
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

Slot& HttpClient::Impl::take_slot() {
  if (idle_.empty()) {
    auto slot = std::make_unique<Slot>();
    slot->easy.reset(curl_easy_init());
    GW_ASSERT(slot->easy != nullptr);
    set_up(*slot);
    set(slot->easy.get(), CURLOPT_OPENSOCKETFUNCTION, &open_socket);
    set(slot->easy.get(), CURLOPT_OPENSOCKETDATA, this);
    set(slot->easy.get(), CURLOPT_CLOSESOCKETFUNCTION, &close_socket);
    set(slot->easy.get(), CURLOPT_CLOSESOCKETDATA, this);
    idle_.push_back(slot.get());
    slots_.push_back(std::move(slot));
  }
  Slot& slot = *idle_.back();
  idle_.pop_back();
  return slot;
}

void HttpClient::Impl::start(HttpRequest request, void* user) {
  Slot& slot = take_slot();
  slot.request = std::move(request);
  slot.user = user;
  slot.answer = HttpAnswer{};
  slot.error[0] = '\0';
  slot.retry_after.clear();
  slot.date.clear();
  slot.body_offset = 0;
  slot.too_long = slot.upload_done = false;
  slot.progress_ms = monotonic_ms();
  slot.uploaded = slot.downloaded = 0;
  link_lines(slot);
  set_request(slot, system_cas_);
  slot.index = flying_.size();
  flying_.push_back(&slot);
  GW_ASSERT(curl_multi_add_handle(multi_.get(), slot.easy.get()) == CURLM_OK);
}

void HttpClient::Impl::release(Slot& slot) {
  curl_multi_remove_handle(multi_.get(), slot.easy.get());
  flying_[slot.index] = flying_.back();
  flying_[slot.index]->index = slot.index;
  flying_.pop_back();
  slot.request.head.clear();
  idle_.push_back(&slot);
}

void HttpClient::Impl::finish(Slot& slot, CURLcode code, const Done& done) {
  HttpAnswer& answer = slot.answer;
  long status = 0;
  curl_easy_getinfo(slot.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  answer.retry_after_ms = retry_after_ms(slot.retry_after, slot.date, now_ms());
  answer.complete = code == CURLE_OK;
  if (slot.too_long)
    answer.error = "the answer is longer than " + std::to_string(slot.request.answer_bytes) + " bytes";
  else if (code != CURLE_OK)
    answer.error = slot.error[0] != '\0' ? slot.error.data() : curl_easy_strerror(code);
  answer.tls_failed = code != CURLE_OK && is_tls_failure(code, answer.error);
  if (code == CURLE_OPERATION_TIMEDOUT) answer.status = 0;
  HttpAnswer result = std::move(answer);
  void* user = slot.user;
  release(slot);
  done(user, std::move(result));
}

void HttpClient::Impl::report_done(const Done& done) {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    Slot* slot = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
    finish(*slot, code, done);
  }
}

/// No byte moved for the answer time-out, or the answer takes longer than that since everything was sent.
bool HttpClient::Impl::stalled(Slot& slot, int64_t now_ms) {
  curl_off_t up = 0, down = 0;
  curl_easy_getinfo(slot.easy.get(), CURLINFO_SIZE_UPLOAD_T, &up);
  curl_easy_getinfo(slot.easy.get(), CURLINFO_SIZE_DOWNLOAD_T, &down);
  const bool moved = up != slot.uploaded || (down != slot.downloaded && !slot.upload_done);
  const bool sent_all = static_cast<uint64_t>(up) >= body_size(slot.request);
  if (moved || (sent_all && !slot.upload_done)) slot.progress_ms = now_ms;
  slot.uploaded = up;
  slot.downloaded = down;
  slot.upload_done = sent_all;
  return now_ms - slot.progress_ms > slot.request.answer_timeout_ms;
}

void HttpClient::Impl::end_stalled(const Done& done) {
  const int64_t now = monotonic_ms();
  if (now - stall_checked_ms_ < stall_check_ms) return;
  stall_checked_ms_ = now;
  std::vector<Slot*> late;
  for (Slot* slot : flying_)
    if (stalled(*slot, now)) late.push_back(slot);
  for (Slot* slot : late) {
    const std::string text = "no answer within " + human_duration(slot->request.answer_timeout_ms);
    std::copy_n(text.c_str(), std::min(text.size() + 1, slot->error.size()), slot->error.data());
    finish(*slot, CURLE_OPERATION_TIMEDOUT, done);
  }
}

void HttpClient::Impl::run_timer() {
  if (timer_at_ms_ == no_timer || monotonic_ms() < timer_at_ms_) return;
  timer_at_ms_ = no_timer;  // curl sets it again if it wants one
  int running = 0;
  curl_multi_socket_action(multi_.get(), CURL_SOCKET_TIMEOUT, 0, &running);
}

void HttpClient::Impl::wait_for_events(int64_t timeout_ms) {
  if (timer_at_ms_ != no_timer) timeout_ms = std::min(timeout_ms, timer_at_ms_ - monotonic_ms());
  std::array<epoll_event, events_max> events;
  const int n = ::epoll_wait(epoll_.get(), events.data(), events_max, static_cast<int>(std::clamp<int64_t>(timeout_ms, 0, 60'000)));
  for (int i = 0; i < n; ++i) {
    const epoll_event& event = events[static_cast<size_t>(i)];
    if (event.data.fd == wake_.get()) {
      uint64_t count = 0;
      [[maybe_unused]] ssize_t read = ::read(wake_.get(), &count, sizeof count);
      continue;
    }
    if (Watched* connection = watched(event.data.fd); connection && !connection->wanted) {
      ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, event.data.fd, nullptr);  // most likely the other side has closed it
      connection->events = 0;
      continue;
    }
    int what = 0, running = 0;
    if (event.events & EPOLLIN) what |= CURL_CSELECT_IN;
    if (event.events & EPOLLOUT) what |= CURL_CSELECT_OUT;
    if (event.events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
    curl_multi_socket_action(multi_.get(), event.data.fd, what, &running);
  }
}

void HttpClient::Impl::poll(int64_t timeout_ms, const Done& done) {
  run_timer();
  report_done(done);
  wait_for_events(flying_.empty() ? timeout_ms : std::min(timeout_ms, stall_check_ms));
  run_timer();
  report_done(done);
  end_stalled(done);
}

void HttpClient::Impl::abandon(const Done& done) {
  while (!flying_.empty()) {
    Slot& slot = *flying_.back();
    void* user = slot.user;
    release(slot);
    done(user, HttpAnswer{});
  }
}

HttpClient::HttpClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::create() {
  auto impl = std::make_unique<Impl>();
  GW_TRY(impl->create());
  return std::unique_ptr<HttpClient>(new HttpClient(std::move(impl)));
}

void HttpClient::start(HttpRequest request, void* user) { impl_->start(std::move(request), user); }
size_t HttpClient::in_flight() const { return impl_->in_flight(); }
void HttpClient::poll(int64_t timeout_ms, const Done& done) { impl_->poll(timeout_ms, done); }
void HttpClient::wake() { impl_->wake(); }
void HttpClient::abandon(const Done& done) { impl_->abandon(done); }

}  // namespace gw
