// The floor of the gateway: libcurl's multi interface posting to a CivetWeb handler that does nothing.
//
//   http_floor serve [CERTS]                    prints "ready URL", ends with SIGTERM
//   http_floor post URL FLIGHT COUNT [CERTS]    prints requests per second
//
// CERTS: the directory of ca.pem, server.pem (with its key) and client.pem (with its key): https, and each side checks the other.
#include <civetweb.h>
#include <curl/curl.h>
#include <dlfcn.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace {

int answer(mg_connection* connection, void*) {
  char buffer[16384];
  while (mg_read(connection, buffer, sizeof buffer) > 0) {
  }
  mg_printf(connection, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nOK");
  return 200;
}

/// As gw-listen does it: CivetWeb finds these two by their names then.
bool load_tls() {
  const auto libexec = std::filesystem::read_symlink("/proc/self/exe").parent_path().parent_path() / "libexec/gatepost";
  for (const char* name : {"libcrypto.so", "libssl.so"})
    if (!dlopen((libexec / name).c_str(), RTLD_NOW | RTLD_LOCAL)) {
      std::fprintf(stderr, "http_floor: %s\n", dlerror());
      return false;
    }
  return (mg_init_library(MG_FEATURES_TLS) & MG_FEATURES_TLS) != 0;
}

/// `certs` empty: http.
int serve(const std::string& certs) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigprocmask(SIG_BLOCK, &stop, nullptr);
  const bool tls = !certs.empty();
  if (!tls) mg_init_library(0);
  else if (!load_tls()) return 1;
  const std::string server = certs + "/server.pem", ca = certs + "/ca.pem";
  std::vector<const char*> options = {"listening_ports", tls ? "127.0.0.1:0s" : "127.0.0.1:0", "num_threads", "96", "enable_keep_alive", "yes",
                                      "keep_alive_timeout_ms", "5000", "request_timeout_ms", "10000", "tcp_nodelay", "1"};
  if (tls)
    options.insert(options.end(), {"ssl_certificate", server.c_str(), "ssl_ca_file", ca.c_str(), "ssl_verify_peer", "yes",
                                   "ssl_default_verify_paths", "no", "ssl_protocol_version", "4"});
  options.push_back(nullptr);
  mg_callbacks callbacks{};
  mg_context* context = mg_start(&callbacks, nullptr, options.data());
  mg_server_port port{};
  if (!context || mg_get_server_ports(context, 1, &port) != 1) return 1;
  mg_set_request_handler(context, "/", answer, nullptr);
  std::printf("ready http%s://127.0.0.1:%d/\n", tls ? "s" : "", port.port);
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  mg_stop(context);
  return 0;
}

size_t ignore(char*, size_t size, size_t count, void*) { return size * count; }

struct Slot {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
};

/// The headers of a gateway's request; a gw-listen takes them, too.
curl_slist* request_headers(const std::string& run, unsigned n) {
  const std::string id = run + std::to_string(n);
  const std::string lines[] = {"Content-Type: application/x-www-form-urlencoded",
                               "Expect:",
                               "NServiceBus.Id: " + id,
                               "NServiceBus.CallType: SingleCallSubmit",
                               "NServiceBus.CorrelationId: " + id,
                               "NServiceBus.Gateway: True",
                               "NServiceBus.Header.NServiceBus.MessageId: " + id,
                               "NServiceBus.Header.NServiceBus.CorrelationId: " + id,
                               "NServiceBus.Header.NServiceBus.ConversationId: " + id,
                               "NServiceBus.Header.NServiceBus.MessageIntent: Send",
                               "NServiceBus.Header.NServiceBus.TimeSent: 2026-11-21+22%3A00%3A03%3A412000+Z",
                               "NServiceBus.Header.NServiceBus.ContentType: text%2Fplain",
                               "NServiceBus.Header.NServiceBus.EnclosedMessageTypes: Prices.PriceUpdated",
                               "NServiceBus.Header.NServiceBus.OriginatingEndpoint: Bench",
                               "NServiceBus.Header.NServiceBus.OriginatingMachine: vm1",
                               "NServiceBus.Header.NServiceBus.DestinationSites: Store",
                               "NServiceBus.Header.NServiceBus.OriginatingSite: http%2Chttp%3A%2F%2F127.0.0.1%2FBench%2F"};
  curl_slist* list = nullptr;
  for (auto& line : lines) list = curl_slist_append(list, line.c_str());
  return list;
}

int post(const char* url, unsigned flight, unsigned count, const std::string& certs) {
  const std::string ca = certs + "/ca.pem", client = certs + "/client.pem";
  curl_global_init(CURL_GLOBAL_DEFAULT);
  CURLM* multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, static_cast<long>(flight));
  std::string body(1024, 'x'), run = std::to_string(getpid()) + "-" + std::to_string(time(nullptr)) + "-";
  std::vector<Slot> slots(flight);
  unsigned begun = 0, done = 0;
  auto begin_one = [&](Slot& slot) {
    curl_slist_free_all(slot.headers);
    slot.headers = request_headers(run, begun++);
    curl_easy_setopt(slot.easy, CURLOPT_HTTPHEADER, slot.headers);
    curl_multi_add_handle(multi, slot.easy);
  };
  auto start = std::chrono::steady_clock::now();
  for (auto& slot : slots) {
    slot.easy = curl_easy_init();
    curl_easy_setopt(slot.easy, CURLOPT_URL, url);
    curl_easy_setopt(slot.easy, CURLOPT_POSTFIELDS, body.data());
    curl_easy_setopt(slot.easy, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    curl_easy_setopt(slot.easy, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(slot.easy, CURLOPT_PRIVATE, &slot);
    curl_easy_setopt(slot.easy, CURLOPT_PROXY, "");
    if (!certs.empty()) {
      curl_easy_setopt(slot.easy, CURLOPT_CAINFO, ca.c_str());
      curl_easy_setopt(slot.easy, CURLOPT_SSLCERT, client.c_str());
      curl_easy_setopt(slot.easy, CURLOPT_SSLKEY, client.c_str());
    }
    if (begun < count) begin_one(slot);
  }
  while (done < count) {
    int running = 0, left = 0;
    curl_multi_perform(multi, &running);
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      long status = 0;
      char* slot = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &slot);
      if (message->data.result != CURLE_OK || status != 200) {
        std::fprintf(stderr, "http_floor: %s, status %ld\n", curl_easy_strerror(message->data.result), status);
        return 1;
      }
      ++done;
      curl_multi_remove_handle(multi, message->easy_handle);
      if (begun < count) begin_one(*reinterpret_cast<Slot*>(slot));
    }
    if (done < count) curl_multi_poll(multi, nullptr, 0, 1000, nullptr);
  }
  std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  std::printf("%.1f\n", count / time.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if ((words.size() == 1 || words.size() == 2) && words[0] == "serve") return serve(words.size() > 1 ? words[1] : "");
  if ((words.size() == 4 || words.size() == 5) && words[0] == "post")
    return post(argv[2], static_cast<unsigned>(std::atoi(argv[3])), static_cast<unsigned>(std::atoi(argv[4])), words.size() > 4 ? words[4] : "");
  std::fprintf(stderr, "usage: http_floor serve [CERTS] | post URL FLIGHT COUNT [CERTS]\n");
  return 2;
}
