// send --from: messages that lie in a queue go where their types say, each in one transaction.
#include <algorithm>

#include "control_message.hpp"
#include "diag.hpp"
#include "held_sends.hpp"
#include "json.hpp"
#include "map_senders.hpp"
#include "send.hpp"

namespace gw::instance_map {

namespace {

constexpr size_t batch_messages = 64;

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

Result<void> check_options(const SendOptions& options) {
  const MessageOptions& m = options.message;
  const std::pair<bool, const char*> of_new_messages[] = {
      {!m.type.empty(), "--type"}, {!m.content_type.empty(), "--content-type"}, {!m.headers.empty(), "--header"}, {!m.attachments.empty(), "--attach"},
      {!m.id.empty(), "--id"}, {m.unique, "--unique"}, {!m.unique_for.empty(), "--unique-for"}, {!m.ttl.empty(), "--ttl"},
      {!m.delay.empty(), "--delay"}, {!m.at.empty(), "--at"}, {m.lines, "--lines"}, {m.nul, "-0"}, {!m.from_dir.empty(), "--from-dir"},
      {m.follow, "--follow"}, {!options.endpoint.empty(), "--endpoint"}};
  for (const auto& [given, name] : of_new_messages)
    if (given) return usage(std::string(name) + " is for new messages: those of --from stay as they are");
  if (!options.to.empty() && !options.strategy.empty()) return usage("--to and --strategy exclude each other: one address leaves no choice");
  if (!options.selection.given()) return usage("no messages selected: name ids or :SEQ, use --where or --group, or say --all");
  if (inside_handler()) return usage("--from inside of a handler: what it takes cannot be held back (GW_OUTBOX= in front of the command: at once)");
  return {};
}

struct Leaving {
  Claim claim;
  Group* group = nullptr;
  size_t index = 0;
  int64_t due_at_ms = 0;
};

Result<Group*> group_of(Router& router, const Headers& headers, const std::string& to) {
  if (!to.empty()) return router.of_address(to);
  // A subscription that nobody has applied yet is for an instance of its publisher.
  if (const std::string* publisher = headers.find(header::publisher); publisher && is_control_message(headers)) return router.of_endpoint(*publisher);
  return router.of_types(headers.get(header::enclosed_message_types));
}

/// One batch of a transfer.
class Transfer {
 public:
  Transfer(Root& root, Router& router, const Queue& source, const std::string& to, TransferCounts& counts)
      : root_(root), router_(router), source_(source), to_(to), counts_(counts) {}
  Result<void> take(std::span<const Selected> batch);
  Result<void> choose();
  Result<void> commit(const std::function<void(const std::string&, const std::string&, const std::string&)>& tell);

 private:
  void leave(const Claim& claim, Error&& error) {
    ++counts_.left;
    event(Level::warn, "not-sent", {{"queue", source_.name()}, {"id", claim.message().id()}, {"seq", claim.seq()}, {"reason", error.text}});
    if (!counts_.error) counts_.error = std::move(error);
  }
  Result<void> apply_here(Claim&& claim);
  Root& root_;
  Router& router_;
  const Queue& source_;
  const std::string& to_;
  TransferCounts& counts_;
  std::vector<Leaving> leaving_;
};

Result<void> Transfer::take(std::span<const Selected> batch) {
  for (const Selected& one : batch) {
    Queue source = source_;
    GW_TRY_ASSIGN(auto claim, source.claim_seq(one.info.seq));
    if (!claim) {
      ++counts_.skipped;
      continue;
    }
    // For this queue alone: it says what its sender knows.
    if (is_map_version_message(claim->message().headers)) {
      GW_TRY(apply_here(*std::move(claim)));
      continue;
    }
    auto group = group_of(router_, claim->message().headers, to_);
    if (!group) {
      leave(*claim, std::move(group).error());
      continue;
    }
    leaving_.push_back({*std::move(claim), *group, 0, one.info.state == MessageState::deferred ? one.info.due_at_ms : 0});
  }
  return {};
}

Result<void> Transfer::apply_here(Claim&& claim) {
  GW_TRY(SenderNotes(root_.path()).note(source_.name(), claim.message().headers));
  Transaction transaction;
  transaction.ack(std::move(claim));
  auto done = root_.commit(std::move(transaction));
  if (!done) return std::move(done).error();
  return {};
}

Result<void> Transfer::choose() {
  std::vector<Group*> groups;
  for (const Leaving& one : leaving_)
    if (std::find(groups.begin(), groups.end(), one.group) == groups.end()) groups.push_back(one.group);
  for (Group* group : groups) {
    std::vector<size_t> members;
    std::vector<MessageToRoute> messages;
    for (size_t i = 0; i < leaving_.size(); ++i) {
      if (leaving_[i].group != group) continue;
      members.push_back(i);
      messages.push_back({leaving_[i].claim.message().id(), message_type(leaving_[i].claim.message().headers)});
    }
    GW_TRY_ASSIGN(auto chosen, router_.choose(*group, messages));
    for (size_t i = 0; i < members.size(); ++i) leaving_[members[i]].index = chosen[i];
  }
  return {};
}

Result<void> Transfer::commit(const std::function<void(const std::string&, const std::string&, const std::string&)>& tell) {
  std::vector<Transaction> transactions;
  struct Told {
    std::string id;
    Group* group;
    size_t index;
  };
  std::vector<Told> told;
  for (Leaving& one : leaving_) {
    auto found = router_.find(*one.group, one.index);
    if (!found) {
      leave(one.claim, std::move(found).error());
      continue;
    }
    Message message = one.claim.message();
    if (!one.group->direct) GW_TRY(router_.map().stamp(one.group->target.endpoint, message.headers));
    PutOptions how;
    how.due_at_ms = one.due_at_ms;
    how.expires_at_ms = one.claim.info().expires_at_ms;
    how.failures = one.claim.info().failures;
    told.push_back({message.id(), one.group, one.index});
    Transaction& transaction = transactions.emplace_back();
    put_to(transaction, **found, std::move(message), std::move(how));
    transaction.ack(std::move(one.claim));
  }
  auto results = root_.commit_all(std::move(transactions));
  for (size_t i = 0; i < results.size(); ++i) {
    const Target& target = told[i].group->target;
    if (results[i]) {
      ++counts_.sent;
      tell(told[i].id, target.endpoint, target.addresses[told[i].index]);
      continue;
    }
    Error error = std::move(results[i]).error();
    if (error.code == ExitCode::io_error) return error;
    ++counts_.left;
    event(Level::warn, "not-sent", {{"queue", source_.name()}, {"id", told[i].id}, {"reason", error.text}});
    if (!counts_.error) counts_.error = std::move(error);
  }
  return {};
}

}  // namespace

Result<TransferCounts> transfer_by_map(Root& root, Router& router, const Queue& source, std::span<const Selected> chosen, const std::string& to,
                                       const std::function<void(const std::string&, const std::string&, const std::string&)>& tell) {
  TransferCounts counts;
  for (size_t at = 0; at < chosen.size(); at += batch_messages) {
    GW_TRY(router.refresh());
    Transfer batch(root, router, source, to, counts);
    GW_TRY(batch.take(chosen.subspan(at, std::min(batch_messages, chosen.size() - at))));
    GW_TRY(batch.choose());
    GW_TRY(batch.commit(tell));
  }
  return counts;
}

namespace {

void tell_one(const std::string& id, const std::string& endpoint, const std::string& address, const CommonOptions& common, const char* result) {
  if (common.json) {
    JsonObject object;
    object.add("id", id).add("endpoint", endpoint).add("address", address);
    if (result) object.add("result", result);
    return out(object.str() + "\n");
  }
  out(result ? id + "\t" + result + "\t" + address + "\n" : id + "\n");
}

/// -n: each message where it would go now, if it were the only one.
Result<ExitCode> plan(Router& router, const Queue& queue, std::span<const Selected> chosen, const SendOptions& options, const CommonOptions& common) {
  ExitCode code = ExitCode::ok;
  for (const Selected& one : chosen) {
    GW_TRY_ASSIGN(auto message, queue.read(one.info.seq));
    if (!message) continue;
    const Headers& headers = message->second.headers;
    auto group = group_of(router, headers, options.to);
    if (!group) {
      print_error(message->second.id() + ": " + group.error().text);
      code = group.error().code;
      continue;
    }
    GW_TRY_ASSIGN(const size_t index, router.preview(**group, {message->second.id(), message_type(headers)}));
    tell_one(message->second.id(), (*group)->target.endpoint, (*group)->target.addresses[index], common, one.info.state == MessageState::claimed ? "would-skip" : "would-send");
  }
  return code;
}

ExitCode report_missing(const std::vector<std::string>& missing, const std::string& queue, bool found_any) {
  for (const std::string& word : missing) print_error("there is no message '" + word + "' in queue '" + queue + "'");
  return missing.empty() ? ExitCode::ok : found_any ? ExitCode::no : ExitCode::no_input;
}

}  // namespace

Result<ExitCode> send_from(const SendOptions& options, const CommonOptions& common) {
  GW_TRY(check_options(options));
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  GW_TRY_ASSIGN(Selection selection, Selection::parse(options.selection));
  GW_TRY_ASSIGN(const Address from, parse_address(options.from));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  if (!is_here(from, root->machine())) return usage("--from: '" + options.from + "' is on another machine: run the command there");
  GW_TRY_ASSIGN(auto router, Router::open(*root, settings, options.strategy, common.config, common.config_given));
  GW_TRY_ASSIGN(Queue queue, root->queue(from.queue));
  GW_TRY(root->recover_dead_owners());
  std::vector<std::string> missing;
  GW_TRY_ASSIGN(auto chosen, select_messages(queue, selection, &missing));
  if (common.dry_run) {
    GW_TRY_ASSIGN(const ExitCode planned, plan(*router, queue, chosen, options, common));
    const ExitCode absent = report_missing(missing, queue.name(), !chosen.empty());
    return planned != ExitCode::ok ? planned : absent;
  }
  GW_TRY_ASSIGN(TransferCounts counts, transfer_by_map(*root, *router, queue, chosen, options.to,
                                                       [&](const std::string& id, const std::string& endpoint, const std::string& address) {
                                                         tell_one(id, endpoint, address, common, nullptr);
                                                       }));
  event(Level::info, "sent", {{"queue", queue.name()}, {"count", counts.sent}, {"skipped", counts.skipped}, {"left", counts.left}});
  if (counts.error) return *std::move(counts.error);
  const ExitCode absent = report_missing(missing, queue.name(), !chosen.empty());
  return absent != ExitCode::ok ? absent : counts.skipped > 0 ? ExitCode::no : ExitCode::ok;
}

}  // namespace gw::instance_map
