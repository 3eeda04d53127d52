// One process for many messages: they go in over its stdin, answers come out of its stdout.
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <unordered_map>

#include "diag.hpp"
#include "runner.hpp"
#include "stream_codec.hpp"
#include "stream_sends.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

using Verdict = AttemptEnd::Verdict;

constexpr size_t waiting_bytes_max = 1 << 20;  // not yet taken by the handler: no more messages until it reads
constexpr size_t pipe_bytes = 1 << 20;
constexpr size_t read_at_once = 4 << 20;
constexpr int64_t restart_first_ms = 1'000, restart_most_ms = 60'000;  // after a broken protocol
constexpr int64_t reborn_first_ms = 100, reborn_most_ms = 2'000;       // after a death without any answer
constexpr size_t piece_bytes = 256 * 1024;

/// What waits to be written to the handler: text, and bodies that are files.
class Outgoing {
 public:
  void add(std::string_view text) {
    if (parts_.empty() || parts_.back().body.is_file()) parts_.emplace_back();
    parts_.back().text += text;
    bytes_ += text.size();
  }
  void add(const Body& body) {
    if (!body.is_file()) return add(body.bytes());
    if (body.size() == 0) return;
    parts_.push_back({{}, body});
    bytes_ += body.size();
  }
  bool empty() const { return bytes_ == 0; }
  uint64_t bytes() const { return bytes_; }
  void clear() {
    parts_.clear();
    bytes_ = at_ = 0;
  }
  /// Writes what the pipe takes. The number of bytes; 0: it is full.
  Result<size_t> write_to(int fd) {
    if (empty()) return size_t{0};
    Part& part = parts_.front();
    std::string piece;
    std::string_view next;
    if (part.body.is_file()) {
      GW_TRY_ASSIGN(piece, part.body.read_at(at_, piece_bytes));
      next = piece;
    } else {
      next = std::string_view(part.text).substr(at_);
    }
    ssize_t n;
    do n = ::write(fd, next.data(), next.size());
    while (n < 0 && errno == EINTR);
    if (n < 0) {
      if (errno == EAGAIN) return size_t{0};
      return Error{ExitCode::protocol, errno, "write to the handler: " + std::string(strerrordesc_np(errno))};
    }
    const auto written = static_cast<size_t>(n);
    at_ += written;
    bytes_ -= written;
    if (at_ == (part.body.is_file() ? part.body.size() : part.text.size())) {
      parts_.pop_front();
      at_ = 0;
    }
    return written;
  }

 private:
  struct Part {
    std::string text;
    Body body;
  };
  std::deque<Part> parts_;
  uint64_t at_ = 0, bytes_ = 0;  // at_: within the first part
};

struct InFlight {
  Claim claim;
  int64_t started_at_ms = 0;
  uint64_t begins_at = 0;  // in all that is written to this process
};

class StreamRunner : public Runner {
 public:
  StreamRunner(const HandlerSettings& settings, AttemptTable& attempts, Root& root, bool binary)
      : settings_(settings), attempts_(attempts), binary_(binary), sends_(root, settings), answers_(binary) {}

  size_t in_flight() const override { return in_flight_.size(); }
  bool running() const override { return child_.has_value(); }
  bool ready() const override {
    return !finishing_ && !ending_ && outgoing_.bytes() < waiting_bytes_max && (child_ || monotonic_ms() >= restart_at_ms_);
  }
  Result<Started> start(Claim&& claim, Settler& settler) override;
  void add_poll(std::vector<pollfd>& items) const override;
  int64_t next_deadline_ms() const override { return child_ ? INT64_MAX : restart_at_ms_ > monotonic_ms() ? restart_at_ms_ : INT64_MAX; }
  Result<void> step(Settler& settler) override;
  void finish() override;
  void kill() override;

 private:
  Result<void> spawn();
  void write_messages();
  void read_answers(Settler& settler);
  void read_errors();
  void pass_errors(bool all);
  Result<void> take(const Answer& answer, Settler& settler);
  void broken(const std::string& text);
  void ended(const ChildEnd& end, Settler& settler);

  const HandlerSettings& settings_;
  AttemptTable& attempts_;
  const bool binary_;
  StreamSends sends_;
  std::optional<Child> child_;
  UniqueFd in_, out_, err_;
  Outgoing outgoing_;
  AnswerReader answers_;
  std::string error_text_, error_tail_;
  std::unordered_map<uint64_t, InFlight> in_flight_;
  uint64_t queued_bytes_ = 0, answered_ = 0;
  int64_t restart_at_ms_ = 0, restart_delay_ms_ = 0, reborn_delay_ms_ = 0;
  bool finishing_ = false, killed_ = false;
  bool ending_ = false;  // what it says does not count any more
};

// --- the process ------------------------------------------------------------------------------------------------------------

Result<void> StreamRunner::spawn() {
  int in[2], out[2], err[2];
  if (::pipe2(in, O_CLOEXEC) != 0) return Error{ExitCode::not_now, errno, "create a pipe: " + std::string(strerrordesc_np(errno))};
  UniqueFd in_read(in[0]), in_write(in[1]);
  if (::pipe2(out, O_CLOEXEC) != 0) return Error{ExitCode::not_now, errno, "create a pipe: " + std::string(strerrordesc_np(errno))};
  UniqueFd out_read(out[0]), out_write(out[1]);
  if (::pipe2(err, O_CLOEXEC) != 0) return Error{ExitCode::not_now, errno, "create a pipe: " + std::string(strerrordesc_np(errno))};
  UniqueFd err_read(err[0]), err_write(err[1]);
  // Only our ends: the handler's must block. Where large pipes are not allowed, they stay small.
  for (int fd : {in_write.get(), out_read.get(), err_read.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  for (int fd : {in_write.get(), out_read.get()}) ::fcntl(fd, F_SETPIPE_SZ, static_cast<int>(pipe_bytes));
  ChildSpec spec{settings_.program, settings_.arguments, stream_environment(settings_), in_read.get(), out_write.get(), err_write.get()};
  GW_TRY_ASSIGN(Child child, Child::start(spec));
  child_.emplace(std::move(child));
  in_ = std::move(in_write);
  out_ = std::move(out_read);
  err_ = std::move(err_read);
  outgoing_.clear();
  answers_ = AnswerReader(binary_);
  error_text_.clear();
  error_tail_.clear();
  queued_bytes_ = answered_ = 0;
  ending_ = false;
  event(Level::debug, "handler-started", {{"queue", settings_.queue}, {"pid", child_->pid()}});
  return {};
}

Result<Started> StreamRunner::start(Claim&& claim, Settler&) {
  if (!child_) {
    if (auto spawned = spawn(); !spawned) {
      claim.release();
      if (spawned.error().code == ExitCode::config) return spawned.error();
      event(Level::warn, "handler-not-started", {{"queue", settings_.queue}, {"reason", spawned.error().text}});
      return Started::not_now;
    }
  }
  attempts_.begin(claim.info());
  const Message& message = claim.message();
  const uint64_t before = outgoing_.bytes();
  const uint64_t begins_at = queued_bytes_;
  if (binary_) {
    outgoing_.add(stream_frame_head(claim.info(), message));
    outgoing_.add(message.body);
  } else {
    outgoing_.add(stream_line(claim.info(), message));
  }
  queued_bytes_ += outgoing_.bytes() - before;
  const uint64_t seq = claim.seq();
  in_flight_.insert_or_assign(seq, InFlight{std::move(claim), now_ms(), begins_at});
  return Started::yes;
}

void StreamRunner::add_poll(std::vector<pollfd>& items) const {
  if (!child_) return;
  items.push_back({child_->exit_fd(), POLLIN, 0});
  if (out_) items.push_back({out_.get(), POLLIN, 0});
  if (err_) items.push_back({err_.get(), POLLIN, 0});
  if (in_ && !outgoing_.empty()) items.push_back({in_.get(), POLLOUT, 0});
}

// --- in and out ---------------------------------------------------------------------------------------------------------------

void StreamRunner::write_messages() {
  while (in_ && !outgoing_.empty()) {
    auto written = outgoing_.write_to(in_.get());
    if (!written) {
      // It closed its stdin, or a body cannot be read: no whole message can follow.
      if (written.error().sys_errno != EPIPE) event(Level::error, "handler-not-fed", {{"queue", settings_.queue}, {"reason", written.error().text}});
      in_.reset();
      ending_ = true;
      child_->kill_group(SIGTERM);
      return;
    }
    if (*written == 0) return;
  }
  if (in_ && finishing_ && outgoing_.empty()) in_.reset();
}

void StreamRunner::read_answers(Settler& settler) {
  static char block[256 * 1024];
  for (size_t got = 0; out_ && got < read_at_once;) {
    ssize_t n = ::read(out_.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      out_.reset();
      // Who cannot answer any more has ended, whether or not it knows.
      if (!child_->ended()) child_->kill_group(SIGTERM);
      ending_ = true;
      return;
    }
    got += static_cast<size_t>(n);
    if (killed_) continue;
    answers_.append(std::string_view(block, static_cast<size_t>(n)));
    for (;;) {
      auto answer = answers_.next();
      if (!answer) return broken(answer.error().text);
      if (!*answer) break;
      if (auto taken = take(**answer, settler); !taken) return broken(taken.error().text);
    }
  }
}

Result<void> StreamRunner::take(const Answer& answer, Settler& settler) {
  auto found = in_flight_.find(answer.seq);
  if (found == in_flight_.end())
    return answers_.wrong("an answer about a message that the handler does not have");
  AttemptEnd end;
  end.started_at_ms = found->second.started_at_ms;
  end.exception_type = "Gatepost.HandlerFailed";
  end.delay_ms = answer.delay_ms;
  end.what = answer.reason;
  switch (answer.result) {
    case Answer::Result::ok: {
      end.verdict = Verdict::done;
      auto sends = answer.sends.empty() ? Result<std::vector<HeldSend>>(std::vector<HeldSend>{}) : sends_.build(answer, found->second.claim.message());
      if (sends) {
        end.sends = *std::move(sends);
        break;
      }
      end.verdict = Verdict::later;
      end.delay_ms.reset();
      end.what = "held messages were not sent: " + sends.error().text;
      end.exit_status = static_cast<int>(ExitCode::not_now);
      break;
    }
    case Answer::Result::retry:
      end.verdict = Verdict::later;
      end.exit_status = static_cast<int>(ExitCode::not_now);
      if (end.what.empty()) end.what = "the handler asked for a retry";
      break;
    case Answer::Result::fail:
      end.verdict = Verdict::rejected;
      end.exit_status = static_cast<int>(ExitCode::bad_data);
      if (end.what.empty()) end.what = "the handler refused it";
      break;
  }
  Claim claim = std::move(found->second.claim);
  in_flight_.erase(found);
  ++answered_;
  restart_delay_ms_ = reborn_delay_ms_ = 0;
  settler.add(std::move(claim), std::move(end));
  return {};
}

void StreamRunner::read_errors() {
  char block[16384];
  for (size_t got = 0; err_ && got < read_at_once;) {
    ssize_t n = ::read(err_.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) {
      err_.reset();
      break;
    }
    error_text_.append(block, static_cast<size_t>(n));
    error_tail_.append(block, static_cast<size_t>(n));
    got += static_cast<size_t>(n);
    if (error_tail_.size() > Output::tail_bytes_max) error_tail_.erase(0, error_tail_.size() - Output::tail_bytes_max);
    pass_errors(false);
  }
}

// Whole lines, so that they do not mix with ours.
void StreamRunner::pass_errors(bool all) {
  constexpr size_t line_bytes_max = 65536;
  size_t end = error_text_.rfind('\n') + 1;  // 0: none
  if (all || error_text_.size() > line_bytes_max) end = error_text_.size();
  if (end == 0) return;
  std::string text = error_text_.substr(0, end);
  if (text.back() != '\n') text += '\n';
  error_text_.erase(0, end);
  for (std::string_view rest = text; !rest.empty();) {
    ssize_t n = ::write(STDERR_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    rest.remove_prefix(static_cast<size_t>(n));
  }
}

// --- the end ------------------------------------------------------------------------------------------------------------------

void StreamRunner::broken(const std::string& text) {
  ending_ = true;
  killed_ = true;
  restart_delay_ms_ = restart_delay_ms_ == 0 ? restart_first_ms : std::min(2 * restart_delay_ms_, restart_most_ms);
  restart_at_ms_ = monotonic_ms() + restart_delay_ms_;
  event(Level::error, "protocol-broken",
        {{"queue", settings_.queue}, {"reason", text}, {"given_back", in_flight_.size()}, {"next_try_at", format_rfc3339(now_ms() + restart_delay_ms_)}});
  child_->kill_group(SIGKILL);
}

// Whoever was killed by us, or was told to end, has its messages given back. Else what it can have seen of them counts as interrupted.
void StreamRunner::ended(const ChildEnd& end, Settler& settler) {
  pass_errors(true);
  const uint64_t written = queued_bytes_ - outgoing_.bytes();
  const bool on_purpose = killed_ || finishing_;
  AttemptEnd how;
  how.what = end.signal != 0 ? "signal " + std::to_string(end.signal) + " (" + signal_name(end.signal) + ")" : "exit " + std::to_string(end.exit_status);
  how.tail = error_tail_;
  how.exit_status = end.exit_status;
  how.signal = end.signal;
  if (!on_purpose && (!in_flight_.empty() || end.signal != 0 || end.exit_status != 0)) {
    event(Level::error, "handler-died", {{"queue", settings_.queue}, {"reason", how.message()}, {"unanswered", in_flight_.size()}});
  }
  std::vector<InFlight*> left;
  for (auto& [seq, flying] : in_flight_) left.push_back(&flying);
  std::sort(left.begin(), left.end(), [](const InFlight* a, const InFlight* b) { return a->begins_at < b->begins_at; });
  for (InFlight* flying : left) {
    AttemptEnd one = how;
    one.started_at_ms = flying->started_at_ms;
    one.verdict = on_purpose || flying->begins_at >= written ? Verdict::given_back : Verdict::interrupted;
    settler.add(std::move(flying->claim), std::move(one));
  }
  in_flight_.clear();
  if (!on_purpose && answered_ == 0) {
    reborn_delay_ms_ = reborn_delay_ms_ == 0 ? reborn_first_ms : std::min(2 * reborn_delay_ms_, reborn_most_ms);
    restart_at_ms_ = monotonic_ms() + reborn_delay_ms_;
  }
  child_.reset();
  in_.reset();
  out_.reset();
  err_.reset();
  outgoing_.clear();
  killed_ = ending_ = false;
}

Result<void> StreamRunner::step(Settler& settler) {
  if (!child_) return {};
  GW_TRY(sends_.look_again());
  const bool over = child_->ended();  // first, so that what it wrote before its end is read below
  if (!over) write_messages();
  do {
    read_answers(settler);
    read_errors();
    int more = 0;
    if (!over || !out_ || ::ioctl(out_.get(), FIONREAD, &more) != 0 || more == 0) break;
  } while (!killed_);
  if (!over) return {};
  child_->kill_group(SIGKILL);  // what it has left behind; the number is ours until it is reaped
  ended(child_->reap().value_or(ChildEnd{}), settler);
  return {};
}

void StreamRunner::finish() {
  finishing_ = true;
  if (!child_) return;
  // What it has not seen anything of is given back when it has ended; a message that is half written goes on.
  if (outgoing_.empty()) in_.reset();
}

void StreamRunner::kill() {
  if (!child_) return;
  killed_ = true;
  event(Level::warn, "handler-killed", {{"queue", settings_.queue}, {"unanswered", in_flight_.size()}, {"reason", "the worker stops"}});
  child_->kill_group(SIGKILL);
}

}  // namespace

std::unique_ptr<Runner> make_stream_runner(const HandlerSettings& settings, AttemptTable& attempts, Root& root, bool binary) {
  return std::make_unique<StreamRunner>(settings, attempts, root, binary);
}

}  // namespace gw::distributor
