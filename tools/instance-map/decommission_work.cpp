#include "decommission_work.hpp"

#include <algorithm>
#include <set>

#include "diag.hpp"
#include "edit.hpp"
#include "send_on.hpp"
#include "units.hpp"

namespace gw::instance_map {

namespace {

constexpr int64_t look_ms = 100;

std::string clock_text(int64_t ms) { return format_rfc3339(ms).substr(11, 8) + "Z"; }

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string counted(uint64_t count, const char* what) { return std::to_string(count) + " " + what + (count == 1 ? "" : "s"); }

// The endpoint of a queue that is in no map: the one of that name, without a discriminator.
std::string guess_endpoint(const std::string& queue, const InstanceTable& table) {
  std::string best;
  for (const EndpointInstances& endpoint : table.endpoints())
    if ((queue == endpoint.name || queue.starts_with(endpoint.name + "-")) && endpoint.name.size() > best.size()) best = endpoint.name;
  return best.empty() ? queue : best;
}

std::string waiting_text(const QueueStatus& status) {
  return std::to_string(status.ready) + " ready, " + std::to_string(status.claimed) + " claimed, " + std::to_string(status.deferred) + " deferred";
}

}  // namespace

// Wakes up early when something happens, and takes care of what killed workers have left.
void DecommissionWork::pause() { root_.wait(root_.bell(), look_ms); }

// --- what is known ------------------------------------------------------------------------------------------------------------

Result<void> DecommissionWork::open(const std::string& address, const std::vector<std::string>& ignored) {
  GW_TRY_ASSIGN(auto known, read_decommission(state_, queue_.name()));
  if (known) d_ = *std::move(known);
  else d_.queue = queue_.name(), d_.address = address;
  for (const std::string& sender : ignored)
    if (std::find(d_.ignored.begin(), d_.ignored.end(), sender) == d_.ignored.end()) d_.ignored.push_back(sender);
  return {};
}

Result<void> DecommissionWork::store() {
  GW_TRY_ASSIGN(const UniqueFd locked, state_.lock());
  GW_TRY_ASSIGN(const auto known, read_decommission(state_, d_.queue));
  if (known) d_.late = known->late, d_.last_late_ms = known->last_late_ms;  // a listener counts them
  return write_decommission(state_, d_);
}

Result<void> DecommissionWork::done(DecommissionStep step, std::string proof) {
  d_.at(step).done_ms = now_ms();
  d_.at(step).proof = std::move(proof);
  return store();
}

Result<InstanceTable> DecommissionWork::map_now() {
  auto table = load_instances(settings_, root_.machine());
  if (!table && is_missing(table.error()) && !settings_.map_given) return InstanceTable::nothing(root_.machine());
  return table;
}

Result<void> DecommissionWork::begin() {
  GW_TRY_ASSIGN(const InstanceTable table, map_now());
  const Instance* instance = table.find_address(d_.address);
  d_.endpoint = instance ? instance->endpoint : guess_endpoint(d_.queue, table);
  d_.map = absolute_source(settings_.map);
  d_.loose = settings_.schema == InstanceTable::Schema::loose;
  d_.began_ms = now_ms();
  return {};
}

Result<Decommission> DecommissionWork::plan() {
  Decommission plan = d_;
  GW_TRY_ASSIGN(const InstanceTable table, map_now());
  const Instance* instance = table.find_address(d_.address);
  if (plan.endpoint.empty()) plan.endpoint = instance ? instance->endpoint : guess_endpoint(d_.queue, table);
  std::vector<std::string> others;
  if (const auto* instances = table.find(plan.endpoint))
    for (const Instance& i : *instances)
      if (i.address != d_.address) others.push_back(i.address);
  GW_TRY_ASSIGN(const auto known, read_senders(state_));
  std::set<std::string> names;
  for (const KnownSender& sender : known)
    if (sender.of_this_root ? sender.target == plan.endpoint : sender.target == d_.queue) names.insert(sender.sender);
  GW_TRY_ASSIGN(const QueueStatus status, queue_.status());
  auto say = [&](DecommissionStep step, std::string text) {
    if (plan.at(step).done_ms == 0) plan.at(step).proof = std::move(text);
  };
  say(DecommissionStep::map_changed, !instance ? d_.address + " is not in '" + settings_.map + "' already"
                                     : is_url(settings_.map) ? "'" + settings_.map + "' cannot be changed here"
                                                             : "would take " + d_.address + " out of '" + settings_.map + "'");
  say(DecommissionStep::senders, names.empty() ? "no sender is known: would wait " + human_duration(settings_.refresh_ms)
                                               : "would wait for " + joined({names.begin(), names.end()}));
  say(DecommissionStep::nothing_new, quiet_text());
  say(DecommissionStep::drained, waiting_text(status));
  say(DecommissionStep::disabled, status.puts_on ? "would hold puts" : "puts are held already");
  say(DecommissionStep::leftovers, others.empty() ? "there is no other instance" : "would go to " + joined(others));
  return plan;
}

Result<bool> DecommissionWork::run(DecommissionStep step, const Waiting& waiting) {
  if (d_.began_ms == 0) GW_TRY(begin());
  // The map is looked at in every run: somebody may have put the instance back.
  if (step == DecommissionStep::map_changed) return change_map(waiting);
  if (d_.at(step).done_ms != 0) return true;
  switch (step) {
    case DecommissionStep::senders: return prove_senders(waiting);
    case DecommissionStep::nothing_new: return nothing_new(waiting);
    case DecommissionStep::drained: return drain(waiting);
    case DecommissionStep::disabled: return disable();
    default: return send_on(waiting);
  }
}

// --- 1: the map ----------------------------------------------------------------------------------------------------------------

Result<bool> DecommissionWork::change_map(const Waiting& waiting) {
  GW_TRY_ASSIGN(const InstanceTable table, map_now());
  if (table.find_address(d_.address)) {
    if (d_.finished()) return Error{ExitCode::no, 0, "'" + d_.address + "' is out of service and in '" + settings_.map + "' again: --rollback puts it back into service"};
    // Somebody has put it back while we were at it.
    if (d_.at(DecommissionStep::map_changed).done_ms != 0) GW_TRY(doubt_proofs());
    for (Decommission::Step& step : d_.steps) step = {};
    d_.drain_began_ms = 0;
    return take_out(waiting);
  }
  if (d_.at(DecommissionStep::map_changed).done_ms != 0) return true;
  // Killed between the change and its record, it was we who took it out.
  GW_TRY(done(DecommissionStep::map_changed, d_.text_before.empty() ? d_.address + " is not in '" + settings_.map + "' already, version " + table.version()
                                                                    : "took " + d_.address + " out of '" + settings_.map + "', version " + table.version()));
  return true;
}

Result<bool> DecommissionWork::take_out(const Waiting& waiting) {
  auto cannot = [&](const std::string& why) -> Result<bool> {
    GW_TRY(store());
    GW_TRY(waiting("'" + settings_.map + "' cannot be changed here (" + why + "): take " + d_.address + " out where it comes from, then run this again"));
    return false;
  };
  if (is_url(settings_.map)) return cannot("it is not a file");
  auto edited = edit_file(settings_.map, [&](const std::string& text) -> Result<std::optional<std::string>> {
    const MapText map{settings_.map, text, root_.machine(), settings_.schema};
    GW_TRY_ASSIGN(auto next, without_instance(map, d_.address));
    if (!next) return next;
    GW_TRY_ASSIGN(const InstanceTable after, InstanceTable::parse(map.path, *next, map.this_machine, map.schema));
    if (!after.find(d_.endpoint) && !settings_.allow_empty)
      return Error{ExitCode::config, 0, "'" + d_.address + "' is the last instance of endpoint '" + d_.endpoint +
                                            "': without it everything would go to this machine, and there is nowhere for leftovers; --allow-empty does it all the same"};
    d_.text_before = text;
    d_.removed_here = true;
    GW_TRY(store());
    return next;
  });
  if (!edited && (edited.error().code == ExitCode::no_permission || edited.error().code == ExitCode::no_input)) return cannot(edited.error().text);
  if (!edited) return std::move(edited).error();
  GW_TRY_ASSIGN(const InstanceTable table, map_now());
  GW_TRY(done(DecommissionStep::map_changed, "took " + d_.address + " out of '" + settings_.map + "', version " + table.version()));
  return true;
}

// --- 2: every sender has read it -------------------------------------------------------------------------------------------------

struct DecommissionWork::Proofs {
  std::vector<std::string> proved, ignored, missing;
  std::vector<std::string> unsure;  ///< they had left before; perhaps they have never heard that it was put back
};

// What lies in the queue and is for us: nobody else may be there to take it.
Result<void> DecommissionWork::take_control_messages() {
  std::vector<uint64_t> seqs;
  GW_TRY(queue_.scan([&](const MessageInfo& info) {
    if (info.state != MessageState::claimed && info.body_bytes == 0) seqs.push_back(info.seq);
    return true;
  }));
  for (const uint64_t seq : seqs) {
    auto found = queue_.read(seq);
    if (!found || !*found || !is_map_version_message((*found)->second.headers)) continue;
    GW_TRY_ASSIGN(auto claim, queue_.claim_seq(seq));
    if (!claim) continue;
    GW_TRY(notes_.note(d_.queue, claim->message().headers));
    Transaction transaction;
    transaction.ack(std::move(*claim));
    auto committed = root_.commit(std::move(transaction));
    if (!committed) return std::move(committed).error();
  }
  return {};
}

// Who had left the instance while it was out of the map has to say so again.
Result<void> DecommissionWork::doubt_proofs() {
  GW_TRY(take_control_messages());
  return doubt_senders(state_, d_.queue);
}

Result<DecommissionWork::Proofs> DecommissionWork::proofs() {
  // This root's own senders: whoever starts from now on reads the new map; older ones are told apart by the copy they use.
  if (sender_map_) {
    GW_TRY(sender_map_->refresh());
  } else {
    GW_TRY_ASSIGN(sender_map_, SenderMap::open(root_, settings_));
  }
  GW_TRY(take_control_messages());
  GW_TRY_ASSIGN(const auto known, read_senders(state_));
  GW_TRY_ASSIGN(const auto use, map_in_use(state_, settings_.map));
  const std::string version = sender_map_->instances().version();
  Proofs proofs;
  std::set<std::string> seen;
  for (const KnownSender& sender : known) {
    if (sender.of_this_root ? sender.target != d_.endpoint : sender.target != d_.queue) continue;
    if (sender.put_back && sender.machine == root_.machine()) continue;  // of those here the copies of the map say more
    const bool proved = sender.of_this_root ? use && use->older.empty() && use->version == version
                                            : !sender.put_back && (sender.left || sender.map_version == version);
    const bool ignored = std::any_of(d_.ignored.begin(), d_.ignored.end(), [&](const std::string& s) { return means_sender(s, sender); });
    if (!seen.insert(sender.sender + (proved ? "\n+" : "\n-")).second) continue;
    (proved ? proofs.proved : ignored ? proofs.ignored : sender.put_back ? proofs.unsure : proofs.missing).push_back(sender.sender);
  }
  return proofs;
}

Result<bool> DecommissionWork::prove_senders(const Waiting& waiting) {
  const int64_t deadline = monotonic_ms() + drain_ms_;
  for (;;) {
    GW_TRY_ASSIGN(const Proofs found, proofs());
    const int64_t since_change = now_ms() - d_.at(DecommissionStep::map_changed).done_ms;
    const std::string ignored = found.ignored.empty() ? "" : "; ignored: " + joined(found.ignored);
    if (!found.missing.empty()) {
      GW_TRY(waiting(joined(found.missing) + (found.missing.size() == 1 ? " has" : " have") + " not read the map without it yet; --ignore-sender goes on without it"));
      if (monotonic_ms() >= deadline) return false;
    } else if (!found.unsure.empty() && since_change < settings_.refresh_ms) {
      GW_TRY(waiting(joined(found.unsure) + " had left it before and not heard of it since, waiting " + human_duration(settings_.refresh_ms) + " for all to read the map"));
    } else if (!found.proved.empty()) {
      const std::string waited = found.unsure.empty() ? "" : "; waited " + human_duration(settings_.refresh_ms) + " for " + joined(found.unsure);
      GW_TRY(done(DecommissionStep::senders, counted(found.proved.size(), "sender") + " without it in the map: " + joined(found.proved) + waited + ignored));
      return true;
    } else if (since_change >= settings_.refresh_ms) {
      const std::string who = found.unsure.empty() ? "no sender is known" : joined(found.unsure) + " had left it before";
      GW_TRY(done(DecommissionStep::senders, who + ", waited " + human_duration(settings_.refresh_ms) + ignored));
      return true;
    } else {
      GW_TRY(waiting("no sender is known, waiting " + human_duration(settings_.refresh_ms) + " for all to read the map" + ignored));
    }
    pause();
  }
}

// --- 3: nothing new arrives --------------------------------------------------------------------------------------------------------

int64_t DecommissionWork::quiet_ms() const {
  const int64_t since = std::max(queue_.last_put_ms(), d_.at(DecommissionStep::map_changed).done_ms);
  return since == 0 ? 0 : std::max<int64_t>(0, now_ms() - since);
}

std::string DecommissionWork::quiet_text() const {
  const int64_t last = queue_.last_put_ms();
  const int64_t quiet = last == 0 ? quiet_ms() : std::max<int64_t>(0, now_ms() - last);
  return "quiet " + human_duration(quiet / 1000 * 1000) + ", " + (last == 0 ? "no put yet" : "last put " + clock_text(last));
}

Result<bool> DecommissionWork::nothing_new(const Waiting& waiting) {
  GW_TRY_ASSIGN(const Proofs found, proofs());
  if (!found.proved.empty() && found.missing.empty() && found.unsure.empty() && found.ignored.empty()) {
    GW_TRY(done(DecommissionStep::nothing_new, quiet_text() + "; all senders have proved it"));
    return true;
  }
  const int64_t deadline = monotonic_ms() + std::max(drain_ms_, 2 * settings_.refresh_ms);
  while (quiet_ms() < settings_.refresh_ms) {
    if (monotonic_ms() >= deadline) {
      GW_TRY(waiting("messages still arrive, last put " + clock_text(queue_.last_put_ms())));
      return false;
    }
    GW_TRY(waiting("until it has been quiet for " + human_duration(settings_.refresh_ms)));
    GW_TRY(take_control_messages());
    pause();
  }
  GW_TRY(done(DecommissionStep::nothing_new, quiet_text()));
  return true;
}

// --- 4 to 6: drained, disabled, leftovers --------------------------------------------------------------------------------------------

Result<bool> DecommissionWork::drain(const Waiting& waiting) {
  if (d_.drain_began_ms == 0) {
    d_.drain_began_ms = now_ms();
    GW_TRY(store());
  }
  for (;;) {
    GW_TRY(take_control_messages());
    GW_TRY_ASSIGN(const QueueStatus status, queue_.status());
    if (status.ready + status.claimed + status.deferred == 0) {
      GW_TRY(done(DecommissionStep::drained, "0 ready, 0 claimed, 0 deferred; " + std::to_string(status.acks_total) + " done in all"));
      return true;
    }
    if (now_ms() - d_.drain_began_ms >= drain_ms_) {
      GW_TRY(done(DecommissionStep::drained, "not empty after " + human_duration(drain_ms_) + ": " + waiting_text(status)));
      return true;
    }
    GW_TRY(waiting("for at most " + human_duration(drain_ms_) + " until all is worked off"));
    pause();
  }
}

Result<bool> DecommissionWork::disable() {
  GW_TRY_ASSIGN(const QueueStatus status, queue_.status());
  const std::string reason = "decommission of " + d_.address;
  // Whoever was killed in the middle of holding must not take a half for what was there before.
  if (!d_.hold_noted) {
    d_.hold_noted = true;
    d_.puts_were_on = status.puts_on;
    d_.reason_before = status.hold_reason;
    GW_TRY(store());
  }
  if (status.puts_on || status.hold_reason != reason) GW_TRY(queue_.hold(status.takes_on, false, reason));
  GW_TRY(done(DecommissionStep::disabled, "puts held at " + clock_text(now_ms())));
  return true;
}

Result<bool> DecommissionWork::send_on(const Waiting& waiting) {
  Destinations destinations(root_, settings_.config, settings_.config_given);
  GW_TRY_ASSIGN(const auto others, other_instances(state_, d_, root_.machine()));
  SendOn sender(root_, destinations, others);
  const int64_t deadline = monotonic_ms() + drain_ms_;
  for (;;) {
    GW_TRY(take_control_messages());
    uint64_t moved = 0;
    if (!others.empty()) {
      GW_TRY_ASSIGN(moved, sender.run(queue_));
    }
    if (moved != 0) {
      d_.moved += moved;
      GW_TRY(store());
    }
    GW_TRY_ASSIGN(const QueueStatus status, queue_.status());
    if (status.ready + status.claimed + status.deferred == 0) break;
    GW_TRY(waiting(others.empty() && status.claimed == 0 ? waiting_text(status) + ", and the map has no other instance of '" + d_.endpoint + "'"
                                                         : std::to_string(status.claimed) + " still worked on"));
    if (monotonic_ms() >= deadline || (others.empty() && status.claimed == 0)) return false;
    pause();
  }
  std::string to;
  for (const auto& [address, count] : sender.counts()) to += (to.empty() ? ": " : ", ") + std::to_string(count) + " to " + address;
  GW_TRY(done(DecommissionStep::leftovers, "0 left, " + std::to_string(d_.moved) + " sent on" + to));
  return true;
}

// --- back into service -----------------------------------------------------------------------------------------------------------------

// As it was before, byte for byte, if nobody else has changed the file since.
Result<std::string> DecommissionWork::give_back_instance() {
  if (is_url(settings_.map)) return "'" + settings_.map + "' is not a file: put " + d_.address + " back where it comes from";
  auto edited = edit_file(settings_.map, [&](const std::string& text) -> Result<std::optional<std::string>> {
    if (d_.removed_here) {
      auto ours = without_instance({settings_.map, d_.text_before, root_.machine(), settings_.schema}, d_.address);
      if (ours && *ours && **ours == text) return std::optional(d_.text_before);
    }
    return with_instance({settings_.map, text, root_.machine(), settings_.schema}, d_.endpoint, d_.address);
  });
  if (!edited && edited.error().code == ExitCode::no_permission)
    return "'" + settings_.map + "' cannot be changed here (" + edited.error().text + "): put " + d_.address + " back where it comes from";
  if (!edited) return std::move(edited).error();
  return *edited ? "put " + d_.address + " back into '" + settings_.map + "'" : d_.address + " is in '" + settings_.map + "'";
}

Result<std::vector<std::pair<DecommissionStep, std::string>>> DecommissionWork::roll_back() {
  std::vector<std::pair<DecommissionStep, std::string>> undone;
  GW_TRY_ASSIGN(const QueueStatus status, queue_.status());
  // First the queue: as soon as the map has it, messages come.
  if (d_.hold_noted && (status.hold_reason.empty() || status.hold_reason == "decommission of " + d_.address)) {
    GW_TRY(queue_.hold(status.takes_on, d_.puts_were_on, d_.reason_before));
    undone.emplace_back(DecommissionStep::disabled, d_.puts_were_on ? "puts released" : "puts are held as before: " + d_.reason_before);
  }
  GW_TRY(doubt_proofs());
  if (d_.removed_here) {
    GW_TRY_ASSIGN(std::string what, give_back_instance());
    undone.emplace_back(DecommissionStep::map_changed, std::move(what));
  } else {
    undone.emplace_back(DecommissionStep::map_changed, "the map was not changed here: put " + d_.address + " back where it was taken out");
  }
  GW_TRY(remove_decommission(state_, d_.queue));
  return undone;
}

}  // namespace gw::instance_map
