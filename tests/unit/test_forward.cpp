// The parts of the forwarder that need no root: rate limits, digests, the HTTP client, options.
#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "forward_options.hpp"
#include "scratch.hpp"
#include "tools/gw-send/forward/arrivals.hpp"
#include "tools/gw-send/forward/body_digest.hpp"
#include "tools/gw-send/forward/http_client.hpp"
#include "tools/gw-send/forward/policy_runner.hpp"
#include "tools/gw-send/forward/send_loop.hpp"
#include "tools/gw-send/forward/system_cas.hpp"
#include "units.hpp"

using namespace gw;

namespace {

/// Answers every request on every connection with the same bytes; remembers the requests.
class TinyServer {
 public:
  explicit TinyServer(std::string answer, int delay_ms = 0) : answer_(std::move(answer)), delay_ms_(delay_ms) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener_, 64) == 0);
    REQUIRE(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/x/";
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~TinyServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard guard(mutex);
      for (int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
    ::close(listener_);
  }
  std::string url;
  std::mutex mutex;
  std::vector<std::string> requests;
  std::atomic<int> connections{0};

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      ++connections;
      std::lock_guard guard(mutex);
      open_.insert(fd);
      threads_.emplace_back([this, fd] { talk(fd); });
    }
  }
  void talk(int fd) {
    std::string text;
    char buffer[65536];
    for (;;) {
      size_t end = text.find("\r\n\r\n");
      size_t length = 0;
      if (end != std::string::npos) {
        const size_t at = text.find("Content-Length: ");
        length = end + 4 + (at < end ? std::stoul(text.substr(at + 16)) : 0);
      }
      if (end == std::string::npos || text.size() < length) {
        const ssize_t n = ::read(fd, buffer, sizeof buffer);
        if (n <= 0) break;
        text.append(buffer, static_cast<size_t>(n));
        continue;
      }
      {
        std::lock_guard guard(mutex);
        requests.push_back(text.substr(0, length));
      }
      text.erase(0, length);
      if (delay_ms_ > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms_));
      if (answer_.empty()) break;
      if (::send(fd, answer_.data(), answer_.size(), MSG_NOSIGNAL) < 0) break;
    }
    std::lock_guard guard(mutex);
    open_.erase(fd);
    ::close(fd);
  }

  std::string answer_;
  int delay_ms_, listener_ = -1;
  std::set<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

/// Posts `count` bodies, `at_once` at a time, and waits for all answers.
std::vector<HttpAnswer> post(const std::string& url, const Body& body, int count = 1, int at_once = 1, int64_t answer_timeout_ms = 10'000) {
  auto client = HttpClient::create();
  REQUIRE(client);
  std::vector<HttpAnswer> answers;
  int started = 0;
  const int64_t deadline = monotonic_ms() + 20'000;
  while (static_cast<int>(answers.size()) < count && monotonic_ms() < deadline) {
    while (started < count && static_cast<int>((*client)->in_flight()) < at_once) {
      HttpRequest request;
      request.url = &url;
      request.head = std::string("A: 1\0Empty: \0", 13);
      request.body = &body;
      request.answer_timeout_ms = answer_timeout_ms;
      (*client)->start(std::move(request), &started);
      ++started;
    }
    (*client)->poll(1000, [&](void* user, HttpAnswer&& answer) {
      CHECK(user == &started);
      answers.push_back(std::move(answer));
    });
  }
  return answers;
}

const char ok_answer[] = "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nOK";

}  // namespace

TEST_CASE("http_client: an answer, the request's head, kept connections") {
  TinyServer server(ok_answer);
  const auto answers = post(server.url, Body("hello"), 50, 4);
  REQUIRE(answers.size() == 50);
  for (const HttpAnswer& answer : answers) {
    CHECK(answer.status == 200);
    CHECK(answer.reason == "Fine");
    CHECK(answer.body == "OK");
    CHECK(answer.complete);
  }
  CHECK(server.connections <= 4);
  std::lock_guard guard(server.mutex);
  const std::string& request = server.requests.at(0);
  CHECK(request.starts_with("POST /x/ HTTP/1.1\r\n"));
  CHECK(request.ends_with("\r\n\r\nhello"));
  CHECK(request.find("\r\nA: 1\r\n") != std::string::npos);
  CHECK(request.find("\r\nEmpty:\r\n") != std::string::npos);
  CHECK(request.find("\r\nContent-Length: 5\r\n") != std::string::npos);
  for (const char* unwanted : {"Accept", "Expect", "User-Agent", "Transfer-Encoding"}) CHECK(request.find(unwanted) == std::string::npos);
}

TEST_CASE("http_client: a body from a file, and an empty one") {
  TinyServer server(ok_answer);
  char name[] = "/tmp/gatepost-unit.XXXXXX";
  auto file = std::make_shared<BodyFile>();
  file->fd = UniqueFd(::mkstemp(name));
  ::unlink(name);
  std::string bytes(1'000'000, 'x');
  bytes[0] = 'a';
  bytes.back() = 'z';
  REQUIRE(::write(file->fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  file->bytes = bytes.size();
  CHECK(post(server.url, Body(file)).at(0).complete);
  CHECK(post(server.url, Body()).at(0).complete);
  std::lock_guard guard(server.mutex);
  CHECK(server.requests.at(0).ends_with(bytes));
  CHECK(server.requests.at(1).find("\r\nContent-Length: 0\r\n") != std::string::npos);
}

TEST_CASE("http_client: what is no answer") {
  SUBCASE("nobody listens") {
    const auto answers = post("http://127.0.0.1:1/", Body("x"));
    CHECK(answers.at(0).status == 0);
    CHECK_FALSE(answers.at(0).error.empty());
  }
  SUBCASE("the connection ends") {
    TinyServer server("");
    CHECK(post(server.url, Body("x")).at(0).status == 0);
  }
  SUBCASE("too late") {
    TinyServer server(ok_answer, 1500);
    const auto answers = post(server.url, Body("x"), 1, 1, 200);
    CHECK(answers.at(0).status == 0);
    CHECK(answers.at(0).error == "no answer within 200ms");
  }
  SUBCASE("half of it") {
    TinyServer server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nOK");
    const auto answers = post(server.url, Body("x"), 1, 1, 300);
    CHECK_FALSE(answers.at(0).complete);
  }
  SUBCASE("too long") {
    TinyServer server("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'O'));
    const auto answers = post(server.url, Body("x"));
    CHECK_FALSE(answers.at(0).complete);
    CHECK(answers.at(0).status == 200);
    CHECK(answers.at(0).body.size() <= answer_bytes_max);
  }
}

TEST_CASE("http_client: Retry-After, redirects, abandon") {
  TinyServer server("HTTP/1.1 302 Found\r\nLocation: /y/\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n");
  const auto answers = post(server.url, Body("x"));
  CHECK(answers.at(0).status == 302);
  CHECK(answers.at(0).retry_after_ms == 7000);
  CHECK(server.requests.size() == 1);

  TinyServer slow(ok_answer, 200);
  auto client = HttpClient::create();
  REQUIRE(client);
  const Body body("x");
  HttpRequest request;
  request.url = &slow.url;
  request.body = &body;
  (*client)->start(std::move(request), nullptr);
  (*client)->poll(1, [](void*, HttpAnswer&&) {});
  int back = 0;
  (*client)->abandon([&](void*, HttpAnswer&& answer) { back += answer.status == 0; });
  CHECK(back == 1);
  CHECK((*client)->in_flight() == 0);
}

TEST_CASE("http_client: wake ends the wait") {
  auto client = HttpClient::create();
  REQUIRE(client);
  std::thread waker([&] { (*client)->wake(); });
  const int64_t start = monotonic_ms();
  (*client)->poll(20'000, [](void*, HttpAnswer&&) {});
  CHECK(monotonic_ms() - start < 10'000);
  waker.join();
}

TEST_CASE("send_loop: a rate limit pushes the next start back") {
  RateLimit limit;
  CHECK(limit.may_start(0));
  limit.started(1000, 0);
  CHECK(limit.may_start(0));  // no limit
  limit.set(1000);
  limit.started(500, 10'000);
  CHECK_FALSE(limit.may_start(10'499));
  CHECK(limit.may_start(10'500));
  limit.started(500, 10'100);
  CHECK(limit.free_at_ms() == 11'000);
}

TEST_CASE("policy_runner: what a command may print") {
  CHECK(read_policy_answer("90\n").delay_ms == 90'000);
  CHECK(read_policy_answer(" 1h30m \r\n").delay_ms == 5'400'000);
  CHECK(read_policy_answer("0").kind == PolicyAnswer::Kind::delay);
  CHECK(read_policy_answer("stop\n").kind == PolicyAnswer::Kind::stop);
  for (const char* bad : {"", "\n", "-5", "soon", "stop now", "STOP", "5 s", "10\n20"}) {
    CAPTURE(bad);
    const PolicyAnswer answer = read_policy_answer(bad);
    CHECK(answer.kind == PolicyAnswer::Kind::schedule);
    CHECK_FALSE(answer.trouble.empty());
  }
}

TEST_CASE("body_digest: base64 of MD5") {
  CHECK(content_md5("") == "1B2M2Y8AsgTpgAmY7PhCfg==");
  CHECK(content_md5("{\"ProductId\":\"Apple\"}") == "uDU0OdcKglV4aOIPT6F0Sg==");
}

TEST_CASE("forward_options: command line over file, bad values named") {
  Config config;
  config.endpoint = "HQ";
  config.retries = 7;
  config.retry_increment_ms = 1000;
  config.outages_wait = true;
  ForwardOptions options;
  auto settings = resolve_forward_settings(options, config);
  REQUIRE(settings);
  CHECK(settings->policy.retries == 7);
  CHECK(settings->policy.increment_ms == 1000);
  CHECK(settings->policy.outages == Outages::wait);
  CHECK(settings->endpoint == "HQ");
  CHECK(settings->error_queue == "error");
  options.retries = "0";
  options.outages = "count";
  options.retry_increment = "2m";
  options.rate = "2M/s";
  settings = resolve_forward_settings(options, config);
  REQUIRE(settings);
  CHECK(settings->policy.retries == 0);
  CHECK(settings->policy.increment_ms == 120'000);
  CHECK(settings->policy.outages == Outages::count);
  CHECK(settings->rate_bytes == 2 << 20);
  for (auto set : {+[](ForwardOptions& o) { o.retries = "-1"; }, +[](ForwardOptions& o) { o.retries = "99999999999"; },
                   +[](ForwardOptions& o) { o.outages = "maybe"; }, +[](ForwardOptions& o) { o.rate = "fast"; },
                   +[](ForwardOptions& o) { o.max_transfers = "0"; }, +[](ForwardOptions& o) { o.connect_timeout = "x"; },
                   +[](ForwardOptions& o) { o.error_queue = "../x"; }}) {
    ForwardOptions bad;
    set(bad);
    auto refused = resolve_forward_settings(bad, config);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == ExitCode::usage);
  }
}

TEST_CASE("probe: what became of the lines of a head") {
  const std::string head = std::string("NServiceBus.Id: a") + '\0' + "Empty:" + '\0' + "X: 1" + '\0' + "Y: 2" + '\0' + "Z: 3" + '\0';
  const HeadLines sent = lines_of_head(head);
  REQUIRE(sent.size() == 5);
  CHECK(sent[0] == std::pair<std::string, std::string>("NServiceBus.Id", "a"));
  CHECK(sent[1] == std::pair<std::string, std::string>("Empty", ""));
  const HeadLines arrived = {{"nservicebus.id", "a"}, {"Empty", ""}, {"X", "other"}, {"z", "other"}, {"Z", "3"}, {"Via", "p"}};
  CHECK(compare_heads(sent, arrived) == std::vector<Arrival>{Arrival::lower_cased, Arrival::same, Arrival::changed, Arrival::lost, Arrival::same});
}

TEST_CASE("the file of the system's CAs is left out only if their directory has each") {
  const Scratch scratch;
  const std::string dir = scratch.path + "/certs", bundle = scratch.path + "/bundle.pem";
  std::filesystem::create_directory(dir);
  auto cert = [](const std::string& text) { return "-----BEGIN CERTIFICATE-----\n" + text + "\n-----END CERTIFICATE-----\n"; };
  auto write = [](const std::string& file, const std::string& text) { std::ofstream(file) << text; };
  CHECK_FALSE(directory_has_all(bundle, dir));
  write(bundle, "");
  CHECK_FALSE(directory_has_all(bundle, dir));
  write(bundle, "# One\n" + cert("AAAA") + cert("BBBB") + cert("CCCC"));
  write(dir + "/a.pem", "other words\n" + cert("AAAA"));
  std::filesystem::create_symlink("a.pem", dir + "/0a1b2c3d.0");
  write(dir + "/0a1b2c3d.1", cert("BBBB"));
  write(dir + "/c.pem", cert("CCCC"));
  SystemCas cas(bundle, dir);
  CHECK_FALSE(cas.directory_is_enough());  // OpenSSL does not find c.pem
  SUBCASE("all are there") {
    write(dir + "/ffffffff.0", cert("CCCC"));
    CHECK(cas.directory_is_enough());
    write(dir + "/eeeeeeee.0", cert("MORE"));
    CHECK(directory_has_all(bundle, dir));
    std::ofstream(bundle, std::ios::app) << cert("DDDD");
    CHECK_FALSE(cas.directory_is_enough());
    CHECK_FALSE(SystemCas(bundle, "").directory_is_enough());
    CHECK_FALSE(directory_has_all(bundle, dir + "/none"));
  }
  SUBCASE("behind a gap") {
    write(dir + "/0a1b2c3d.3", cert("CCCC"));
    CHECK_FALSE(directory_has_all(bundle, dir));
    write(dir + "/0a1b2c3d.2", cert("MORE"));
    CHECK(directory_has_all(bundle, dir));
  }
  SUBCASE("in a file of two, by a name that is none, cut") {
    write(dir + "/ffffffff.0", cert("MORE") + cert("CCCC"));
    write(dir + "/FFFFFFFF.0", cert("CCCC"));
    write(dir + "/eeeeeeee.0", "-----BEGIN CERTIFICATE-----\nCCCC");
    CHECK_FALSE(directory_has_all(bundle, dir));
  }
}
