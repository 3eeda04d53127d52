#include "program_channels.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "channel_program.hpp"
#include "channel_protocol.hpp"
#include "diag.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

constexpr int64_t hello_ms = 30'000;
constexpr int64_t start_wait_ms = 5'000;
constexpr int64_t retire_ms = 60'000;    // for the message of a channel that was removed
constexpr int64_t body_ms = 100'000;    // without a byte of a message that has begun
constexpr int64_t answer_ms = 30'000;   // until the program takes the answer
constexpr int64_t pause_min_ms = 1000, pause_max_ms = 60'000;

using Io = ChannelProgram::Io;

/// What a program wrote, buffered.
class Source {
 public:
  Source(ChannelProgram& program, int interrupt) : program_(program), interrupt_(interrupt) {}
  /// There is something in bytes() when it returns done.
  Io fill(int64_t timeout_ms, bool may_be_interrupted) {
    if (!bytes_.empty()) return Io::done;
    size_t got = 0;
    const Io how = program_.read(buffer_.data(), buffer_.size(), got, timeout_ms, may_be_interrupted ? interrupt_ : -1);
    bytes_ = std::string_view(buffer_.data(), got);
    return how;
  }
  std::string_view& bytes() { return bytes_; }

 private:
  ChannelProgram& program_;
  int interrupt_;
  std::array<char, 64 * 1024> buffer_;
  std::string_view bytes_;
};

/// One message as the receiver wants to see it.
class ProgramExchange : public Exchange {
 public:
  ProgramExchange(Source& source, uint64_t length, std::string_view from) : source_(source), left_(length) {
    head_.method = "POST";
    head_.from = from;
    plan_ = BodyPlan{false, length, false};
  }
  const RequestHead& head() const override { return head_; }
  const std::variant<BodyPlan, WireRefusal>& plan() const override { return plan_; }
  Read read(char* into, size_t room, size_t& got) override {
    got = 0;
    if (left_ == 0) return Read::end;
    if (Io how = source_.fill(body_ms, false); how != Io::done) return broken_ = how, how == Io::timed_out ? Read::too_slow : Read::cut;
    std::string_view& bytes = source_.bytes();
    got = static_cast<size_t>(std::min<uint64_t>({room, bytes.size(), left_}));
    std::copy_n(bytes.data(), got, into);
    bytes.remove_prefix(got);
    left_ -= got;
    return Read::data;
  }
  void send_continue() override {}
  void send(const Answer&) override {}

  /// Reads what nobody wanted. done: the message is over.
  Io drop_rest() {
    std::array<char, 4096> nowhere;
    size_t got = 0;
    while (left_ > 0 && broken_ == Io::done) read(nowhere.data(), nowhere.size(), got);
    return broken_;
  }

 private:
  Source& source_;
  uint64_t left_;
  Io broken_ = Io::done;
  RequestHead head_;
  std::variant<BodyPlan, WireRefusal> plan_;
};

/// Whether it makes sense to come again with the same message.
ChannelAnswer answer_for(const Answer& answer) {
  if (answer.status == 200) return {};
  const bool for_good = answer.status >= 400 && answer.status < 500 && answer.status != 408 && answer.status != 412 && answer.status != 429;
  return {for_good ? ChannelAnswer::Kind::refuse : ChannelAnswer::Kind::retry, answer.text};
}

}  // namespace

/// One program of a channel at a time.
class ProgramChannels::Line {
 public:
  Line(const Receiver& receiver, const Channel& channel)
      : receiver_(receiver), channel_(std::make_shared<const Channel>(channel)), stop_bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    thread_ = std::thread([this] { run(); });
  }
  ~Line() { thread_.join(); }

  const std::string& url() const { return from_; }
  bool ended() const { return ended_.load(); }
  bool same_address(const Channel& other) const { return type_ == other.type && address_ == other.address; }
  void set_limits(const Channel& channel) {
    std::lock_guard guard(mutex_);
    channel_ = std::make_shared<const Channel>(channel);
  }
  /// What its first program said; nullopt: nothing yet.
  std::optional<Result<void>> first_words(int64_t timeout_ms) {
    std::unique_lock lock(mutex_);
    known_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [this] { return first_words_.has_value(); });
    return first_words_;
  }
  void stop(int64_t end_at_ms) {
    end_at_ms_.store(end_at_ms);
    ::eventfd_write(stop_bell_.get(), 1);
  }

 private:
  bool stopping() const { return end_at_ms_.load() != INT64_MAX; }
  std::shared_ptr<const Channel> channel() {
    std::lock_guard guard(mutex_);
    return channel_;
  }
  void run();
  Result<void> run_program();
  Result<void> greet(ChannelProgram& program, Source& source);
  Result<bool> read_head(ChannelProgram& program, Source& source, ChannelHead& head);
  Result<void> serve(ChannelProgram& program, Source& source, ChannelHead& head);
  Result<void> went_away(ChannelProgram& program, Io how, const char* doing);
  void tell_first_words(Result<void> what);
  void wait_until(int64_t when_ms);

  const Receiver& receiver_;
  std::mutex mutex_;  // guards what follows
  std::shared_ptr<const Channel> channel_;
  std::optional<Result<void>> first_words_;
  std::condition_variable known_;

  const std::string type_ = channel_->type, address_ = channel_->address, program_ = channel_->program, from_ = channel_->url();
  UniqueFd stop_bell_;
  std::atomic<int64_t> end_at_ms_{INT64_MAX};
  std::atomic<bool> ended_{false};
  int64_t pause_ms_ = pause_min_ms;  // the thread's own
  std::thread thread_;
};

void ProgramChannels::Line::tell_first_words(Result<void> what) {
  std::lock_guard guard(mutex_);
  if (!first_words_) first_words_.emplace(std::move(what));
  known_.notify_all();
}

void ProgramChannels::Line::wait_until(int64_t when_ms) {
  for (int64_t left; !stopping() && (left = when_ms - monotonic_ms()) > 0;) {
    pollfd bell{stop_bell_.get(), POLLIN, 0};
    ::poll(&bell, 1, static_cast<int>(left));
  }
}

void ProgramChannels::Line::run() {
  while (!stopping()) {
    const int64_t began_ms = monotonic_ms();
    Result<void> ended = run_program();
    if (stopping()) break;
    if (monotonic_ms() - began_ms > pause_max_ms) pause_ms_ = pause_min_ms;
    tell_first_words({});
    event(Level::warn, "channel-program-ended",
          {{"channel_type", type_}, {"address", address_}, {"reason", ended ? "exit 0" : ended.error().text}, {"restart_s", pause_ms_ / 1000}});
    wait_until(monotonic_ms() + pause_ms_);
    pause_ms_ = std::min(pause_ms_ * 2, pause_max_ms);
  }
  ended_.store(true);
}

Result<void> ProgramChannels::Line::went_away(ChannelProgram& program, Io how, const char* doing) {
  if (how == Io::timed_out) return Error{ExitCode::not_now, 0, "gw-channel-" + type_ + ": nothing came in time while " + doing};
  return Error{ExitCode::not_now, 0, program.last_words()};
}

Result<void> ProgramChannels::Line::greet(ChannelProgram& program, Source& source) {
  if (Io how = program.write(channel_hello, hello_ms, stop_bell_.get()); how != Io::done) return went_away(program, how, "greeting");
  ChannelLine line;
  const int64_t deadline = monotonic_ms() + hello_ms;
  for (bool whole = false; !whole;) {
    if (Io how = source.fill(std::max<int64_t>(deadline - monotonic_ms(), 0), true); how != Io::done) return went_away(program, how, "greeting");
    GW_TRY_ASSIGN(whole, line.feed(source.bytes()));
  }
  return check_channel_hello(line.text());
}

/// False: told to stop before a message began.
Result<bool> ProgramChannels::Line::read_head(ChannelProgram& program, Source& source, ChannelHead& head) {
  for (;;) {
    const bool begun = head.begun();
    const Io how = source.fill(begun ? body_ms : -1, !begun);
    if (how == Io::interrupted) return false;
    if (how != Io::done) return went_away(program, how, "reading a message").error();
    GW_TRY_ASSIGN(bool complete, head.feed(source.bytes()));
    if (complete) return true;
  }
}

Result<void> ProgramChannels::Line::serve(ChannelProgram& program, Source& source, ChannelHead& head) {
  const auto limits = channel();
  ProgramExchange exchange(source, head.length(), from_);
  const Answer answer = receiver_.handle_call(exchange, *limits, head.take_headers());
  if (Io how = exchange.drop_rest(); how != Io::done) return went_away(program, how, "reading a message");
  if (Io how = program.write(format_channel_answer(answer_for(answer)), answer_ms, -1); how != Io::done)
    return went_away(program, how, "answering");
  pause_ms_ = pause_min_ms;
  return {};
}

Result<void> ProgramChannels::Line::run_program() {
  GW_TRY_ASSIGN(auto program, ChannelProgram::start({program_, type_, "receive", address_}));
  Source source(program, stop_bell_.get());
  if (auto greeted = greet(program, source); !greeted) {
    if (greeted.error().code == ExitCode::protocol) tell_first_words(Error{ExitCode::protocol, 0, "gw-channel-" + type_ + ": " + greeted.error().text});
    return greeted;
  }
  tell_first_words({});
  while (!stopping()) {
    ChannelHead head;
    GW_TRY_ASSIGN(bool message, read_head(program, source, head));
    if (!message) break;
    GW_TRY(serve(program, source, head));
  }
  program.finish(std::max<int64_t>(end_at_ms_.load() - monotonic_ms(), 0));
  return {};
}

// --- all of them ----------------------------------------------------------------------------------------------------------

ProgramChannels::ProgramChannels(const Receiver& receiver) : receiver_(receiver) {}
ProgramChannels::~ProgramChannels() { stop(0); }

void ProgramChannels::use(const std::vector<Channel>& channels) {
  std::vector<std::unique_ptr<Line>> before = std::move(lines_);
  lines_.clear();
  for (const Channel& channel : channels) {
    unsigned missing = channel.max_concurrency.value_or(1);
    for (auto& line : before) {
      if (missing == 0 || !line || !line->same_address(channel)) continue;
      line->set_limits(channel);
      lines_.push_back(std::move(line));
      --missing;
    }
    for (; missing > 0; --missing) lines_.push_back(std::make_unique<Line>(receiver_, channel));
  }
  std::erase_if(retiring_, [](const auto& line) { return line->ended(); });
  for (auto& line : before) {
    if (!line) continue;
    line->stop(monotonic_ms() + retire_ms);
    retiring_.push_back(std::move(line));
  }
}

Result<void> ProgramChannels::wait_for_first_words() {
  const int64_t deadline = monotonic_ms() + start_wait_ms;
  std::vector<std::string> seen;
  for (auto& line : lines_) {
    if (std::find(seen.begin(), seen.end(), line->url()) != seen.end()) continue;
    seen.push_back(line->url());
    if (auto said = line->first_words(std::max<int64_t>(deadline - monotonic_ms(), 0)); said && !*said) return said->error();
  }
  return {};
}

void ProgramChannels::stop(int64_t grace_ms) {
  const int64_t end_at_ms = monotonic_ms() + grace_ms;
  for (auto* lines : {&lines_, &retiring_})
    for (auto& line : *lines) line->stop(end_at_ms);
  lines_.clear();
  retiring_.clear();
}

}  // namespace gw::listen
