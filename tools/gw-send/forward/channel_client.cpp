#include "channel_client.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <thread>

#include "channel_program.hpp"
#include "channel_protocol.hpp"
#include "diag.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr int64_t idle_kept_ms = 60'000;  // like a connection that nobody uses
constexpr int64_t finish_ms = 1000;
constexpr size_t chunk_bytes = 64 * 1024;

using Io = ChannelProgram::Io;

}  // namespace

class ChannelClient::Worker {
 public:
  Worker(ChannelClient& client, Key key) : client_(client), key_(std::move(key)), bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        abandon_bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    thread_ = std::thread([this] { run(); });
  }
  ~Worker() {
    ask_to_end();
    thread_.join();
  }

  const Key& key() const { return key_; }
  // From the client's thread:
  void give(ChannelRequest&& request, void* user) {
    {
      std::lock_guard guard(mutex_);
      request_ = std::move(request);
      user_ = user;
    }
    ring();
  }
  void abandon() {
    abandoned_.store(true);
    ::eventfd_write(abandon_bell_.get(), 1);
  }
  void ask_to_end() {
    end_.store(true);
    ring();
  }
  bool ended() const { return ended_.load(); }
  int64_t free_since_ms = 0;  ///< the client's

 private:
  void ring() { ::eventfd_write(bell_.get(), 1); }
  void run();
  HttpAnswer carry(const ChannelRequest& request);
  std::optional<HttpAnswer> get_ready(const ChannelRequest& request);
  std::optional<HttpAnswer> write_message(const ChannelRequest& request);
  HttpAnswer read_answer(const ChannelRequest& request);
  Io write(std::string_view bytes, int64_t timeout_ms) { return program_->write(bytes, timeout_ms, abandon_bell_.get()); }
  void wait_for_bell();
  Result<Io> read_line(ChannelLine& line, int64_t timeout_ms);
  HttpAnswer failed(Io how, int64_t timeout_ms);
  HttpAnswer failed(std::string why);
  void pace(const ChannelRequest& request, uint64_t written, int64_t began_ms);

  ChannelClient& client_;
  const Key key_;
  UniqueFd bell_, abandon_bell_;
  std::atomic<bool> end_{false}, ended_{false}, abandoned_{false};
  std::optional<ChannelProgram> program_;
  std::mutex mutex_;  // guards what follows
  std::optional<ChannelRequest> request_;
  void* user_ = nullptr;
  std::thread thread_;
};

void ChannelClient::Worker::wait_for_bell() {
  // A program that ends while it has nothing to do is no news: there will be another one.
  if (program_ && program_->idle(bell_.get()) != Io::interrupted) program_.reset();
  pollfd bell{bell_.get(), POLLIN, 0};
  ::poll(&bell, 1, -1);
  eventfd_t count = 0;
  ::eventfd_read(bell_.get(), &count);
}

void ChannelClient::Worker::run() {
  for (;;) {
    wait_for_bell();
    std::optional<ChannelRequest> request;
    void* user = nullptr;
    {
      std::lock_guard guard(mutex_);
      request.swap(request_);
      user = user_;
    }
    if (request) client_.finished(this, user, carry(*request));
    if (end_.load() && !request) break;
  }
  if (program_) program_->finish(finish_ms);
  program_.reset();
  ended_.store(true);
  client_.wake_();
}

HttpAnswer ChannelClient::Worker::carry(const ChannelRequest& request) {
  if (auto not_ready = get_ready(request)) return *std::move(not_ready);
  if (auto not_written = write_message(request)) return *std::move(not_written);
  return read_answer(request);
}

/// No answer: the program is of no use any more.
HttpAnswer ChannelClient::Worker::failed(std::string why) {
  program_.reset();
  HttpAnswer answer;
  answer.error = std::move(why);
  return answer;
}

HttpAnswer ChannelClient::Worker::failed(Io how, int64_t timeout_ms) {
  if (how == Io::interrupted) return failed("given up");
  if (how == Io::timed_out) return failed("gw-channel-" + key_.first + ": nothing within " + human_duration(timeout_ms));
  return failed(program_->last_words());
}

Result<Io> ChannelClient::Worker::read_line(ChannelLine& line, int64_t timeout_ms) {
  std::array<char, 4096> buffer;
  const int64_t deadline = monotonic_ms() + timeout_ms;
  for (;;) {
    size_t got = 0;
    const Io how = program_->read(buffer.data(), buffer.size(), got, std::max<int64_t>(deadline - monotonic_ms(), 0), abandon_bell_.get());
    if (how != Io::done) return how;
    std::string_view bytes(buffer.data(), got);
    GW_TRY_ASSIGN(bool whole, line.feed(bytes));
    if (!whole) continue;
    if (!bytes.empty()) return Error{ExitCode::protocol, 0, "it wrote more than was asked for"};
    return Io::done;
  }
}

/// A program that has said its version. nullopt: there is one.
std::optional<HttpAnswer> ChannelClient::Worker::get_ready(const ChannelRequest& request) {
  if (program_ && program_->usable()) return std::nullopt;
  program_.reset();
  auto started = ChannelProgram::start({request.program, request.type, "send", request.address});
  if (!started) return failed(started.error().text);
  program_.emplace(*std::move(started));
  const int64_t timeout_ms = request.connect_timeout_ms;
  if (const Io how = write(channel_hello, timeout_ms); how != Io::done) return failed(how, timeout_ms);
  ChannelLine line;
  auto how = read_line(line, timeout_ms);
  if (how && *how != Io::done) return failed(*how, timeout_ms);
  Result<void> fits = how ? check_channel_hello(line.text()) : Result<void>(how.error());
  if (!fits) return failed("gw-channel-" + request.type + ": " + fits.error().text);
  return std::nullopt;
}

void ChannelClient::Worker::pace(const ChannelRequest& request, uint64_t written, int64_t began_ms) {
  if (request.bytes_per_s_max == 0) return;
  const double due_ms = static_cast<double>(written) * 1000.0 / static_cast<double>(request.bytes_per_s_max);
  while (!abandoned_.load()) {
    const double early_ms = due_ms - static_cast<double>(monotonic_ms() - began_ms);
    if (early_ms < 1) return;
    ::usleep(static_cast<useconds_t>(std::min(early_ms, 100.0) * 1000));
  }
}

std::optional<HttpAnswer> ChannelClient::Worker::write_message(const ChannelRequest& request) {
  const int64_t timeout_ms = request.answer_timeout_ms, began_ms = monotonic_ms();
  if (const Io how = write(request.head, timeout_ms); how != Io::done) return failed(how, timeout_ms);
  const size_t chunk = request.bytes_per_s_max == 0 ? chunk_bytes : std::clamp<size_t>(request.bytes_per_s_max / 10, 1, chunk_bytes);
  for (uint64_t at = 0; at < request.body->size();) {
    auto bytes = request.body->read_at(at, chunk);
    if (!bytes || bytes->empty()) return failed(bytes ? "the body is shorter than it was" : bytes.error().text);
    if (const Io how = write(*bytes, timeout_ms); how != Io::done) return failed(how, timeout_ms);
    at += bytes->size();
    pace(request, at, began_ms);
  }
  return std::nullopt;
}

HttpAnswer ChannelClient::Worker::read_answer(const ChannelRequest& request) {
  ChannelLine line;
  auto how = read_line(line, request.answer_timeout_ms);
  if (how && *how != Io::done) return failed(*how, request.answer_timeout_ms);
  auto said = how ? parse_channel_answer(line.text()) : Result<ChannelAnswer>(how.error());
  if (!said) return failed("gw-channel-" + request.type + ": " + said.error().text);
  HttpAnswer answer;
  answer.complete = true;
  answer.reason = said->text;
  answer.word = said->kind == ChannelAnswer::Kind::ok      ? HttpAnswer::Word::ok
                : said->kind == ChannelAnswer::Kind::retry ? HttpAnswer::Word::retry
                                                           : HttpAnswer::Word::refuse;
  return answer;
}

// --- the client ---------------------------------------------------------------------------------------------------------

ChannelClient::ChannelClient(std::function<void()> wake) : wake_(std::move(wake)) {}

ChannelClient::~ChannelClient() {
  // All at once: they end together.
  for (auto& worker : workers_) {
    if (in_flight_ > 0) worker->abandon();
    worker->ask_to_end();
  }
  workers_.clear();
}

void ChannelClient::start(ChannelRequest request, void* user) {
  Key key(request.type, request.address);
  std::vector<Worker*>& free = free_[key];
  if (free.empty()) {
    workers_.push_back(std::make_unique<Worker>(*this, std::move(key)));
    free.push_back(workers_.back().get());
  }
  Worker* worker = free.back();
  free.pop_back();
  ++in_flight_;
  worker->give(std::move(request), user);
}

void ChannelClient::finished(Worker* worker, void* user, HttpAnswer&& answer) {
  {
    std::lock_guard guard(mutex_);
    finished_.push_back({worker, user, std::move(answer)});
  }
  wake_();
}

void ChannelClient::poll(const Done& done) {
  std::vector<Finished> all;
  {
    std::lock_guard guard(mutex_);
    all.swap(finished_);
  }
  const int64_t now = monotonic_ms();
  for (Finished& one : all) {
    --in_flight_;
    one.worker->free_since_ms = now;
    free_[one.worker->key()].push_back(one.worker);
    done(one.user, std::move(one.answer));
  }
  if (now - idle_checked_ms_ < 1000) return;
  idle_checked_ms_ = now;
  end_idle();
}

/// Those that had nothing to do for long. Each goes when its thread has ended.
void ChannelClient::end_idle() {
  const int64_t now = monotonic_ms();
  for (auto& [key, free] : free_)
    std::erase_if(free, [&](Worker* worker) {
      if (now - worker->free_since_ms < idle_kept_ms) return false;
      worker->ask_to_end();
      return true;
    });
  std::erase_if(free_, [](const auto& entry) { return entry.second.empty(); });
  std::erase_if(workers_, [](const auto& worker) { return worker->ended(); });
}

void ChannelClient::abandon(const Done& done) {
  if (in_flight_ == 0) return;
  for (auto& worker : workers_) worker->abandon();
  while (in_flight_ > 0) {
    poll(done);
    if (in_flight_ > 0) ::usleep(1000);
  }
}

}  // namespace gw
