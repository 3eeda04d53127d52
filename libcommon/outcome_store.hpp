// What became of messages that were sent to sites: one SQLite database per root, <root>/outcomes.db. An outcome is durable
// before its message leaves the outbox, and kept for 14 days.
//
// The locking rule is that of the de-duplication stores (SQLite 3.40): no automatic checkpoints, flock on outcomes.lock around
// each BEGIN..COMMIT and each checkpoint (TRUNCATE only), synchronous=FULL.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"
#include "wall_clock.hpp"

namespace gw {

inline constexpr int64_t outcome_keep_ms = 14ll * 24 * 3600 * 1000;
inline constexpr size_t outcome_reason_bytes_max = 2048;  ///< longer reasons are cut

/// `stored`: still in the outbox (a row is there only if an attempt failed). The rest is final.
enum class OutcomeState { stored = 0, delivered = 1, failed = 2, expired = 3, purged = 4 };
std::string_view to_string(OutcomeState state);
inline bool is_final(OutcomeState state) { return state != OutcomeState::stored; }

/// What is known of one message at one site.
struct Outcome {
  std::string id, site;
  OutcomeState state = OutcomeState::stored;
  int64_t since_ms = 0;      ///< when it came into this state; of `stored`: the last failed attempt
  unsigned attempts = 0;     ///< attempts that were made and count
  int status = 0;            ///< HTTP status of the last answer, 0: none
  std::string reason;        ///< why the last attempt failed
  int64_t next_try_ms = 0;   ///< of `stored` only
};

/// What is known of a site from the requests to it.
struct SiteRecord {
  std::string site;
  bool up = true;
  int64_t last_delivered_ms = 0, next_try_ms = 0;
  std::string last_error;
  int64_t probe_interval_ms = 0;  ///< out of order: how long the pause before next_try_ms is; 0: not known
};

/// One open store. Any thread may call it; calls follow one another.
class OutcomeStore {
 public:
  /// no_input if it is absent and !create. system: not ours, or a newer version.
  static Result<std::unique_ptr<OutcomeStore>> open(const std::string& root_path, bool create);
  ~OutcomeStore();
  OutcomeStore(const OutcomeStore&) = delete;
  OutcomeStore& operator=(const OutcomeStore&) = delete;

  /// Stores all of it in one durable transaction; later rows for the same message and site replace earlier ones.
  /// not_now: the disk is full, nothing stored. Old outcomes are dropped on the way, if the clock of the root allows it.
  Result<void> record(const RootClock& clock, std::span<const Outcome> outcomes, std::span<const SiteRecord> sites = {});
  /// The latest row of each site for this id.
  Result<std::vector<Outcome>> find(std::string_view id);
  Result<std::optional<Outcome>> find(std::string_view id, std::string_view site);
  Result<std::vector<SiteRecord>> sites();

  /// Asks the forwarder to try these sites now although they are out of order.
  Result<void> ask_for_probe(std::span<const std::string> sites, int64_t at_ms);
  /// When somebody asked last for each site.
  Result<std::vector<std::pair<std::string, int64_t>>> probes_asked();

  /// Drops outcomes from before `cut_ms` (in whole hours).
  Result<void> forget_before(int64_t cut_ms);

 private:
  class Impl;
  explicit OutcomeStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gw
