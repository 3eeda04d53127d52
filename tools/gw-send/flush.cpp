#include <algorithm>
#include <set>

#include "commands.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "outboxes.hpp"
#include "outcome_store.hpp"
#include "units.hpp"

namespace gw {
namespace {

constexpr size_t batch_messages = 256;

/// Makes deferred messages of one outbox due now.
class Flusher {
 public:
  Flusher(Root& root, Outbox& outbox, const std::vector<std::string>& ids, bool dry_run)
      : root_(root), outbox_(outbox), ids_(ids.begin(), ids.end()), dry_run_(dry_run) {}
  std::set<std::string> found;
  size_t flushed = 0;

  Result<void> run() {
    std::vector<uint64_t> seqs;
    GW_TRY(outbox_.queue.scan([&](const MessageInfo& info) {
      if (info.state == MessageState::deferred || !ids_.empty()) seqs.push_back(info.seq);
      return true;
    }));
    for (uint64_t seq : seqs) {
      auto taken = take(seq);
      // Held: due again when it is released.
      if (!taken && taken.error().code == ExitCode::not_now) break;
      GW_TRY(std::move(taken));
    }
    return commit();
  }

 private:
  Result<void> take(uint64_t seq) {
    if (!ids_.empty() || dry_run_) {
      GW_TRY_ASSIGN(auto message, outbox_.queue.read(seq));
      if (!message) return {};
      const std::string id = message->second.id();
      if (!ids_.empty() && !ids_.contains(id)) return {};
      found.insert(id);
      if (message->first.state != MessageState::deferred) return {};  // on its way already
      if (dry_run_) {
        ++flushed;
        out(id + "\t" + outbox_.site + "\n");
        return {};
      }
    }
    GW_TRY_ASSIGN(auto claim, outbox_.queue.claim_seq(seq));
    if (!claim) return {};
    Transaction transaction;
    transaction.defer(std::move(*claim), Defer{});
    transactions_.push_back(std::move(transaction));
    return transactions_.size() < batch_messages ? Result<void>() : commit();
  }

  Result<void> commit() {
    auto results = root_.commit_all(std::exchange(transactions_, {}));
    for (auto& result : results) {
      if (!result) return std::move(result).error();
      ++flushed;
    }
    return {};
  }

  Root& root_;
  Outbox& outbox_;
  std::set<std::string> ids_;
  bool dry_run_;
  std::vector<Transaction> transactions_;
};

}  // namespace

Result<ExitCode> flush_outboxes(const FlushOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(Config config, load_config_with_sites(common.config, common.config_given, options.sites));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(auto outboxes, find_outboxes(*root, config, options.to));
  std::set<std::string> missing(options.ids.begin(), options.ids.end());
  std::vector<std::string> sites;
  size_t flushed = 0;
  bool forwarded = true;
  for (Outbox& outbox : outboxes) {
    if (!outbox.queue) continue;
    Flusher flusher(*root, outbox, options.ids, common.dry_run);
    GW_TRY(flusher.run());
    for (const std::string& id : flusher.found) missing.erase(id);
    flushed += flusher.flushed;
    sites.push_back(outbox.site);
    forwarded &= forwarder_of(*root, outbox.site).pid != 0;
  }
  if (!missing.empty()) return Error{ExitCode::no_input, 0, "message '" + *missing.begin() + "' is in none of these outboxes"};
  if (common.dry_run) return ExitCode::ok;
  // A site that is out of order gets its next try now too.
  GW_TRY_ASSIGN(auto store, OutcomeStore::open(root->path(), true));
  GW_TRY(store->ask_for_probe(sites, now_ms()));
  root->ring();
  if (common.json) out(JsonObject().add("flushed", static_cast<uint64_t>(flushed)).add("sites", sites).str() + "\n");
  if (forwarded) return ExitCode::ok;
  if (!common.quiet) event(Level::warn, "no-forwarder", {{"hint", "the next forwarder tries these messages at once; start 'gw-send forward'"}});
  return ExitCode::not_now;
}

}  // namespace gw
