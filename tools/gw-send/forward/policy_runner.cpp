#include "policy_runner.hpp"

#include <poll.h>

#include <algorithm>

#include "outbox.hpp"
#include "table.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr size_t shown_output_bytes = 100;
constexpr size_t error_argument_bytes_max = 32 * 1024;
constexpr int look_again_ms = 100;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const size_t first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

PolicyAnswer trouble(std::string why) { return {PolicyAnswer::Kind::schedule, 0, std::move(why)}; }

/// As an argument: no NUL, and not longer than the system takes.
std::string as_argument(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  if (text.size() > error_argument_bytes_max) text.resize(error_argument_bytes_max);
  return text;
}

}  // namespace

PolicyAnswer read_policy_answer(std::string_view output) {
  const std::string_view word = trimmed(output);
  if (word == "stop") return {PolicyAnswer::Kind::stop, 0, ""};
  if (const auto delay_ms = parse_duration_ms(word)) return {PolicyAnswer::Kind::delay, *delay_ms, ""};
  if (word.empty()) return trouble("it printed nothing, expected a duration or 'stop'");
  return trouble("it printed '" + printable(word.substr(0, shown_output_bytes)) + "', expected a duration or 'stop'");
}

PolicyRunner::~PolicyRunner() {
  stop();
  {
    std::lock_guard guard(mutex_);
    end_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void PolicyRunner::ask(TransferPtr transfer, PolicyQuestion question) {
  std::lock_guard guard(mutex_);
  waiting_.push_back({std::move(transfer), std::move(question)});
  // A child dies with the thread that started it: these live as long as we do.
  if (idle_ < waiting_.size() && threads_.size() < threads_max) threads_.emplace_back([this] { run(); });
  wake_.notify_one();
}

void PolicyRunner::stop() { stop_.store(true); }

void PolicyRunner::run() {
  std::unique_ptr<ScratchDir> scratch;
  for (;;) {
    Item item;
    {
      std::unique_lock lock(mutex_);
      ++idle_;
      wake_.wait(lock, [this] { return end_ || !waiting_.empty(); });
      --idle_;
      if (waiting_.empty()) return;
      item = std::move(waiting_.front());
      waiting_.pop_front();
    }
    PolicyAnswer answered;
    if (!scratch) {
      if (auto made = ScratchDir::create())
        scratch = *std::move(made);
      else
        answered = trouble(made.error().text);
    }
    if (scratch) answered = answer(item, *scratch);
    item.transfer->policy = std::move(answered);
    ready_(std::move(item.transfer));
  }
}

PolicyAnswer PolicyRunner::answer(const Item& item, ScratchDir& scratch) {
  if (stop_.load()) return {};
  const PolicyQuestion& question = item.question;
  const std::string& site = item.transfer->target->key;
  HandlerSettings settings;
  settings.program = question.program;
  settings.arguments = {question.name, std::to_string(question.attempt), as_argument(question.error)};
  settings.queue = outbox_of_site(site);
  settings.endpoint = question.endpoint;
  settings.root = question.root;
  settings.config = question.config;
  settings.more_environment = {"GW_SITE=" + site};
  const Claim& claim = item.transfer->claim;
  auto run = HandlerRun::start(settings, scratch, claim.info(), claim.message());
  if (!run) return trouble(run.error().text);
  const int64_t deadline = monotonic_ms() + policy_timeout_ms;
  bool too_late = false;
  while (!(*run)->step()) {
    std::vector<pollfd> items;
    (*run)->add_poll(items);
    ::poll(items.data(), items.size(), look_again_ms);
    too_late = too_late || monotonic_ms() >= deadline;
    if (too_late || stop_.load()) (*run)->stop();
  }
  const HandlerOutcome& outcome = (*run)->outcome();
  if (too_late) return trouble("it took longer than " + human_duration(policy_timeout_ms));
  if (outcome.stopped) return {};
  if (!outcome.ok()) return trouble(failure_summary(outcome));
  return read_policy_answer((*run)->standard_output().tail());
}

}  // namespace gw
