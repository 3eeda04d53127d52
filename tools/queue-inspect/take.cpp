// take: claim, write, flush, then ack. Whoever dies in between leaves the messages in the queue.
#include <algorithm>
#include <iterator>

#include "commands.hpp"
#include "diag.hpp"
#include "map_senders.hpp"
#include "outbox_outcomes.hpp"
#include "put_notes.hpp"
#include "sink.hpp"
#include "support.hpp"
#include "terminal.hpp"
#include "units.hpp"

namespace gw::inspect {

namespace {

constexpr size_t batch_messages = 256;
constexpr size_t refused_max = 1000;  ///< messages held because they do not fit --lines or -0; more end the command

constexpr const char* taken_by_hand = "taken by 'queue-inspect take'";

struct Plan {
  uint64_t max = UINT64_MAX;
  std::optional<int64_t> deadline;
};

// Bodies on the same terminal would stand in the middle of it.
Progress::Show shown(const Options& options, const CommonOptions& common) {
  const bool never = common.quiet || options.follow || (options.to_dir.empty() && is_terminal(1));
  return never ? Progress::Show::never : Progress::Show::if_terminal;
}

class Taker {
 public:
  Taker(Root& root, Queue& queue, Sink& sink, const Options& options, const CommonOptions& common)
      : root_(root), queue_(queue), sink_(sink), options_(options), noted_(always_noted(queue.name()) || queue.journalled()), senders_(root.path()),
        outcomes_(root), progress_("taken", options.selection.max, shown(options, common)) {}

  Result<ExitCode> take_ready(const Plan& plan) {
    while (taken_ < plan.max && !Signals::stop_requested()) {
      uint32_t seen = root_.bell();
      auto claims = queue_.claim(static_cast<size_t>(std::min<uint64_t>(batch_messages, plan.max - taken_)));
      bool held = !claims && claims.error().code == ExitCode::not_now && (options_.wait || options_.follow);
      if (!claims && !held) return std::move(claims).error();
      if (claims && !claims->empty()) {
        GW_TRY(write_and_ack(std::move(*claims)));
        continue;
      }
      if (!waits()) break;
      GW_TRY(wait(seen, plan));
    }
    return ended();
  }

  /// --wait and --follow with a selection: what it chooses of that which is ready, now or later.
  Result<ExitCode> take_as_selected(Selection& selection, const Plan& plan) {
    while (taken_ < plan.max && !Signals::stop_requested()) {
      const uint32_t seen = root_.bell();
      const int64_t began = monotonic_ms();
      GW_TRY(take_chosen(selection, plan));
      if (taken_ >= plan.max || !waits()) break;
      // A long queue is looked through less often.
      const int64_t ended = monotonic_ms(), rest_ms = (ended - began) * 4;
      GW_TRY(wait(seen, plan));
      while (!Signals::stop_requested() && ms_until(plan.deadline) > 0 && monotonic_ms() < ended + rest_ms)
        root_.wait(root_.bell(), std::min(ms_until(plan.deadline), ended + rest_ms - monotonic_ms()));
    }
    return ended();
  }

  Result<ExitCode> take_selected(Selection& selection) {
    GW_TRY_ASSIGN(QueueStatus status, queue_.status());
    if (!status.takes_on)
      return Error{ExitCode::not_now, 0, "takes of queue '" + queue_.name() + "' are held" + (status.hold_reason.empty() ? "" : ": " + status.hold_reason)};
    GW_TRY_ASSIGN(auto chosen, select_messages(queue_, selection));
    uint64_t skipped = 0;
    for (size_t at = 0; at < chosen.size();) {
      std::vector<Claim> claims;
      for (size_t end = std::min(chosen.size(), at + batch_messages); at < end; ++at) {
        GW_TRY_ASSIGN(auto claim, queue_.claim_seq(chosen[at].info.seq));
        if (claim)
          claims.push_back(std::move(*claim));
        else
          ++skipped;
      }
      GW_TRY(write_and_ack(std::move(claims)));
    }
    if (skipped > 0) event(Level::warn, "skipped", {{"queue", queue_.name()}, {"count", skipped}, {"reason", "claimed elsewhere or gone"}});
    ExitCode missing = report_missing(selection, queue_.name(), !chosen.empty());
    GW_TRY_ASSIGN(ExitCode code, ended());
    return code != ExitCode::ok && taken_ > 0 ? code : missing != ExitCode::ok ? missing : skipped > 0 ? ExitCode::no : code;
  }

 private:
  /// There was nothing until now, or it is to go on and on.
  bool waits() const { return options_.follow || (options_.wait && taken_ == 0 && refused_.empty()); }

  Result<void> take_chosen(Selection& selection, const Plan& plan) {
    if (!queue_.takes_on()) return {};
    std::vector<uint64_t> chosen;
    GW_TRY(selection.visit(queue_, Selection::Read::if_needed, [&](Selected& one) -> Result<bool> {
      if (one.info.state == MessageState::ready) chosen.push_back(one.info.seq);
      return chosen.size() < plan.max - taken_;
    }));
    for (size_t at = 0; at < chosen.size() && !Signals::stop_requested();) {
      std::vector<Claim> claims;
      for (const size_t end = std::min(chosen.size(), at + batch_messages); at < end; ++at) {
        GW_TRY_ASSIGN(auto claim, queue_.claim_seq(chosen[at]));
        if (claim) claims.push_back(std::move(*claim));  // else somebody was quicker
      }
      GW_TRY(write_and_ack(std::move(claims)));
    }
    return {};
  }

  Result<void> wait(uint32_t seen, const Plan& plan) {
    if (ms_until(plan.deadline) == 0)
      return Error{ExitCode::not_now, 0, "timed out after " + options_.timeout + ": nothing became ready in queue '" + queue_.name() + "'"};
    int64_t due = queue_.next_due_ms();
    int64_t until_due = due == INT64_MAX ? 1000 : std::clamp<int64_t>(due - now_ms(), 1, 1000);
    root_.wait(seen, std::min(ms_until(plan.deadline), until_due));
    Signals::take_reload();
    return {};
  }

  Result<void> write_and_ack(std::vector<Claim>&& claims) {
    std::vector<Transaction> acks;
    std::vector<Noted> notes;
    acks.reserve(claims.size());
    uint64_t for_us = 0;
    for (Claim& claim : claims) {
      // Between the tools: it says that a sender has another map (instance-map(1)).
      if (is_map_version_message(claim.message().headers)) {
        GW_TRY(senders_.note(queue_.name(), claim.message().headers));
        acks.emplace_back();
        acks.back().ack(std::move(claim));
        ++for_us;
        continue;
      }
      GW_TRY_ASSIGN(Sink::Written written, sink_.write(queue_.name(), claim.info(), claim.message()));
      if (written == Sink::Written::refused) {
        refuse(std::move(claim));
        continue;
      }
      outcomes_.leaves(queue_.name(), claim.message().id(), claim.info().failures, taken_by_hand);
      if (noted_) notes.push_back({acks.size(), claim.seq(), note_put(queue_, claim.message())});
      acks.emplace_back();
      acks.back().ack(std::move(claim));
    }
    GW_TRY(sink_.settle());
    GW_TRY(outcomes_.record());
    taken_ += acks.size() - for_us;
    progress_.add(acks.size());
    auto results = root_.commit_all(std::move(acks));
    for (const Noted& one : notes)
      if (results[one.transaction]) root_.journal().add(taken_line(one));
    root_.journal().write();
    for (auto& result : results)
      if (!result) return std::move(result).error();
    if (refused_.size() >= refused_max) return refused_error();
    return {};
  }

  // What is told of one in the journal.
  struct Noted {
    size_t transaction;
    uint64_t seq;
    PutNote note;
  };
  static JournalLine taken_line(const Noted& one) {
    JournalLine line = one.note.line(Happened::handled, one.seq);
    line.reason = taken_by_hand;
    return line;
  }

  // Kept until the end: given back now, it would be the first that the next claim gets.
  void refuse(Claim&& claim) {
    progress_.erase();
    print_error("message '" + claim.message().id() + "' (:" + std::to_string(claim.seq()) + ") has a " + (options_.lines ? "line feed" : "NUL byte") +
                " in it and stays in queue '" + queue_.name() + "'");
    refused_.push_back(std::move(claim));
  }

  Error refused_error() const {
    return Error{ExitCode::bad_data, 0, std::to_string(refused_.size()) + (refused_.size() == 1 ? " message" : " messages") + " cannot be written with " + (options_.lines ? "--lines" : "-0") +
                                            "; take them without, or with --json"};
  }

  Result<ExitCode> ended() {
    if (!refused_.empty()) return refused_error();
    return taken_ > 0 || options_.follow ? ExitCode::ok : ExitCode::no;
  }

  Root& root_;
  Queue& queue_;
  Sink& sink_;
  const Options& options_;
  const bool noted_;  // in the journal
  SenderNotes senders_;
  OutboxOutcomes outcomes_;
  Progress progress_;
  uint64_t taken_ = 0;
  std::vector<Claim> refused_;
};

// What would be taken now: the selected messages, or those that are ready.
Result<ExitCode> plan(const Queue& queue, Selection& selection, bool selects, const CommonOptions& common) {
  GW_TRY_ASSIGN(Planned planned, print_plan(queue, selection, "would-take", "", common, selects ? PlanFor::all_states : PlanFor::ready));
  const ExitCode missing = report_missing(selection, queue.name(), planned.any());
  return missing != ExitCode::ok ? missing : planned.skipped > 0 || !planned.any() ? ExitCode::no : ExitCode::ok;
}

Result<void> check_options(const Options& options, const CommonOptions& common) {
  if (options.wait && options.follow) return Error{ExitCode::usage, 0, "--wait and --follow exclude each other"};
  if (!options.timeout.empty() && !options.wait) return Error{ExitCode::usage, 0, "--timeout needs --wait"};
  if (common.dry_run && (options.wait || options.follow)) return Error{ExitCode::usage, 0, "--dry-run excludes --wait and --follow"};
  return {};
}

}  // namespace

Result<ExitCode> take(const Options& options, const CommonOptions& common) {
  GW_TRY(require(options.queue, "QUEUE"));
  GW_TRY(check_options(options, common));
  const bool waits = options.wait || options.follow;
  SelectionOptions wanted = options.selection;
  if (waits) wanted.max = 0;  // of those that are taken, not of those that are looked at
  GW_TRY_ASSIGN(Selection selection, Selection::parse(wanted));
  GW_TRY_ASSIGN(auto deadline, deadline_of(options.timeout));
  GW_TRY_ASSIGN(auto sink, Sink::make(options, common));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  selection.search_in(*root);
  GW_TRY_ASSIGN(Queue queue, open_settled_queue(*root, options.queue));
  std::optional<EndOnSignal> end;
  if (options.follow) {
    end.emplace(*root);
    Signals::install();
    // Bodies on stdout are all that is there: no line may stand before them.
    if (!options.to_dir.empty() && !common.json) GW_TRY(print_ready("ready"));
  }
  if (common.dry_run) return plan(queue, selection, options.selection.given(), common);
  Taker taker(*root, queue, *sink, options, common);
  if (options.selection.given() && !waits) return taker.take_selected(selection);
  Plan plan;
  if (options.selection.max > 0) plan.max = options.selection.max;
  plan.deadline = deadline;
  return options.selection.given() ? taker.take_as_selected(selection, plan) : taker.take_ready(plan);
}

}  // namespace gw::inspect
