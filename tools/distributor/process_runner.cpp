#include <unistd.h>

#include <algorithm>
#include <climits>

#include "diag.hpp"
#include "runner.hpp"
#include "units.hpp"

namespace gw::distributor {

namespace {

using Verdict = AttemptEnd::Verdict;

struct Slot {
  Claim claim;
  std::unique_ptr<HandlerRun> run;
};

class ProcessRunner : public Runner {
 public:
  ProcessRunner(const HandlerSettings& settings, ScratchDir& scratch, AttemptTable& attempts, std::function<bool()> give_up)
      : settings_(settings), scratch_(scratch), attempts_(attempts), give_up_(std::move(give_up)) {}

  size_t in_flight() const override { return slots_.size(); }
  Result<Started> start(Claim&& claim, Settler& settler) override;
  void add_poll(std::vector<pollfd>& items) const override {
    for (const Slot& slot : slots_) slot.run->add_poll(items);
  }
  int64_t next_deadline_ms() const override {
    int64_t next = INT64_MAX;
    for (const Slot& slot : slots_) next = std::min(next, slot.run->next_deadline_ms());
    return next;
  }
  Result<void> step(Settler& settler) override;
  void kill() override;

 private:
  Result<void> write_output(const HandlerRun& run);
  static void take_sends(const HandlerRun& run, AttemptEnd& end);
  static AttemptEnd end_of(Slot& slot);

  const HandlerSettings& settings_;
  ScratchDir& scratch_;
  AttemptTable& attempts_;
  std::function<bool()> give_up_;
  std::vector<Slot> slots_;
};

Result<Started> ProcessRunner::start(Claim&& claim, Settler& settler) {
  attempts_.begin(claim.info());
  auto run = HandlerRun::start(settings_, scratch_, claim.info(), claim.message());
  if (run) {
    event(Level::debug, "handler-started",
          {{"queue", settings_.queue},
           {"id", claim.message().id()},
           {"seq", claim.seq()},
           {"attempt", claim.info().failures + 1},
           {"traceparent", claim.message().headers.get(traceparent_header)}});
    slots_.push_back({std::move(claim), *std::move(run)});
    return Started::yes;
  }
  attempts_.take_back(claim.info());
  const Error& error = run.error();
  if (error.code == ExitCode::bad_data) {
    // Nobody's fault but the message's: its body cannot be read, or not be an argument.
    settler.reject(std::move(claim), "Gatepost.HandlerFailed", error.text);
    return Started::settled;
  }
  if (error.code != ExitCode::config)
    event(Level::warn, "handler-not-started", {{"queue", settings_.queue}, {"id", claim.message().id()}, {"reason", error.text}});
  claim.release();
  if (error.code == ExitCode::config) return error;
  return Started::not_now;
}

Result<void> ProcessRunner::write_output(const HandlerRun& run) {
  const Output& err = run.standard_error();
  if (!err.empty()) {
    static_cast<void>(err.write_to(STDERR_FILENO, give_up_).has_value());
    if (!err.ends_line()) static_cast<void>(::write(STDERR_FILENO, "\n", 1) == 1);
  }
  return run.standard_output().write_to(STDOUT_FILENO, give_up_);
}

void ProcessRunner::take_sends(const HandlerRun& run, AttemptEnd& end) {
  end.verdict = Verdict::done;
  if (run.outbox().empty()) return;
  auto sends = take_held_sends(run.outbox());
  if (sends) {
    end.sends = *std::move(sends);
    return;
  }
  end.verdict = Verdict::failed;
  end.exception_type = "Gatepost.HandlerFailed";
  end.what = sends.error().text;
}

AttemptEnd ProcessRunner::end_of(Slot& slot) {
  const HandlerOutcome& outcome = slot.run->outcome();
  AttemptEnd end;
  end.what = describe_end(outcome);
  end.tail = outcome.tail;
  end.exit_status = outcome.end.exit_status;
  end.signal = outcome.end.signal;
  end.output_bytes = slot.run->standard_output().size();
  end.started_at_ms = slot.run->started_at_ms();
  end.exception_type = outcome.timed_out ? "Gatepost.HandlerTimeout" : outcome.end.signal != 0 ? "Gatepost.HandlerSignal" : "Gatepost.HandlerExit";
  constexpr int not_now = static_cast<int>(ExitCode::not_now), bad_data = static_cast<int>(ExitCode::bad_data), old_bad_data = 100;
  const bool exited = !outcome.timed_out && outcome.end.signal == 0;
  if (outcome.stopped) end.verdict = Verdict::given_back;
  else if (outcome.ok()) take_sends(*slot.run, end);
  else if (exited && outcome.end.exit_status == not_now) end.verdict = Verdict::later;
  else if (exited && (outcome.end.exit_status == bad_data || outcome.end.exit_status == old_bad_data)) end.verdict = Verdict::rejected;
  else end.verdict = Verdict::failed;
  return end;
}

// Output goes out before the ack: a handler's result may come twice, but is not lost.
Result<void> ProcessRunner::step(Settler& settler) {
  Result<void> written;
  for (Slot& slot : slots_) {
    if (!slot.run->step()) continue;
    AttemptEnd end = end_of(slot);
    if (!slot.run->outcome().stopped && written) written = write_output(*slot.run);
    if (!written) end.verdict = Verdict::given_back;
    end.keep = std::shared_ptr<HandlerRun>(std::move(slot.run));  // large bodies that were sent are in its files
    settler.add(std::move(slot.claim), std::move(end));
  }
  std::erase_if(slots_, [](const Slot& slot) { return !slot.run; });
  return written;
}

void ProcessRunner::kill() {
  for (Slot& slot : slots_) {
    slot.run->stop();
    event(Level::warn, "handler-killed", {{"queue", settings_.queue},
           {"id", slot.claim.message().id()},
           {"reason", "the worker stops"},
           {"traceparent", slot.claim.message().headers.get(traceparent_header)}});
  }
}

}  // namespace

std::unique_ptr<Runner> make_process_runner(const HandlerSettings& settings, ScratchDir& scratch, AttemptTable& attempts,
                                            std::function<bool()> give_up) {
  return std::make_unique<ProcessRunner>(settings, scratch, attempts, std::move(give_up));
}

}  // namespace gw::distributor
