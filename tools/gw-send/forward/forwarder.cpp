#include "forwarder.hpp"

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "diag.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t grace_ms = 8000;         // for requests in flight when told to stop
constexpr int64_t listed_grace_ms = 500;   // gw-send waits for us then
constexpr int64_t round_ms = 1000;

/// Every request in flight is a socket.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Reads from stdin what gw-send --wait wants to have forwarded: lines `KEY SEQ DUE`, at last `end`. If stdin ends, so do we.
class ListReader {
 public:
  ListReader(Dispatcher& dispatcher, std::function<void()> gone) : dispatcher_(dispatcher), gone_(std::move(gone)) {
    thread_ = std::thread([this] { run(); });
  }
  ~ListReader() {
    end_.store(true);
    thread_.join();
  }

 private:
  void run() {
    std::string text;
    char buffer[4096];
    while (!end_.load()) {
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (::poll(&input, 1, 100) <= 0) continue;
      const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return gone_();
      text.append(buffer, static_cast<size_t>(n));
      const size_t whole = text.rfind('\n');
      if (whole == std::string::npos) continue;
      take(text.substr(0, whole + 1));
      text.erase(0, whole + 1);
    }
  }
  void take(const std::string& lines) {
    std::vector<ListedMessage> messages;
    bool end = false;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) {
      ListedMessage message;
      std::istringstream words(line);
      if (line == "end")
        end = true;
      else if (words >> message.site >> message.seq >> message.due_at_ms)
        messages.push_back(std::move(message));
    }
    dispatcher_.list(std::move(messages));
    if (end) dispatcher_.no_more_listed();
  }

  Dispatcher& dispatcher_;
  std::function<void()> gone_;
  std::atomic<bool> end_{false};
  std::thread thread_;
};

}  // namespace

Result<ExitCode> run_forwarder(Root& root, ForwardJob job) {
  raise_descriptor_limit();
  const bool daemon = job.mode == ForwardJob::Mode::daemon, listed = job.mode == ForwardJob::Mode::listed;
  GW_TRY_ASSIGN(auto client, HttpClient::create());
  Dispatcher dispatcher(root, std::move(job));
  SendLoop loop(std::move(client), [&](std::vector<TransferPtr>&& transfers) { dispatcher.give_back(std::move(transfers)); });
  Signals::on_signal([&loop] { loop.wake(); });
  struct ForgetLoop {
    ~ForgetLoop() { Signals::on_signal({}); }
  } forget_loop;  // before the loop goes
  Signals::install();
  GW_TRY(dispatcher.prepare());
  dispatcher.start(loop);
  Result<void> ready;
  if (daemon) ready = print_ready("ready");

  std::atomic<bool> asker_gone{false};
  std::unique_ptr<ListReader> reader;
  if (listed) reader = std::make_unique<ListReader>(dispatcher, [&] { asker_gone.store(true), loop.wake(); });
  int64_t stop_at_ms = 0;
  while (!dispatcher.ended()) {
    loop.round(round_ms);
    if (Signals::take_reload()) dispatcher.reload();
    const bool failed = dispatcher.failed();
    if (stop_at_ms == 0 && (Signals::stop_requested() || asker_gone.load() || failed || !ready)) {
      stop_at_ms = monotonic_ms() + (failed ? 0 : listed ? listed_grace_ms : grace_ms);
      loop.stop_starting();
      dispatcher.stop();
    }
    if (stop_at_ms != 0 && monotonic_ms() >= stop_at_ms) loop.abandon();
  }
  GW_TRY_ASSIGN(ExitCode code, dispatcher.result());
  GW_TRY(std::move(ready));
  return code;
}

}  // namespace gw
