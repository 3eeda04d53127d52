// The dispatcher's sites: from the configuration, and which of them are ours.
#include <algorithm>
#include <tuple>
#include <utility>

#include "address.hpp"
#include "config_names.hpp"
#include "diag.hpp"
#include "dispatcher_site.hpp"
#include "link.hpp"
#include "outbox.hpp"
#include "process.hpp"
#include "program.hpp"
#include "reply_address.hpp"
#include "units.hpp"

namespace gw {
namespace {

std::shared_ptr<const Target> make_target(const SiteConfig& config, LinkPtr link) {
  auto target = std::make_shared<Target>();
  target->link = std::move(link);
  target->key = config.key;
  target->url = config.address;
  target->type = config.channel_type;
  target->concurrency = std::max(config.concurrency, 1u);
  target->rate_bytes = config.rate_bytes.value_or(0);
  target->window = config.window;
  target->lower_case_names = config.header_case_lower;
  target->original_version_1 = config.legacy_mode;
  if (!is_http_type(config.channel_type)) {
    target->carrier = Target::Carrier::program;
    if (auto program = find_channel_program(config.channel_type)) target->program = *std::move(program);
  } else if (is_envelope_type(config.channel_type)) {
    target->carrier = Target::Carrier::envelope;
  }
  return target;
}

/// Where a configured site stands: `FILE:LINE: `; nothing for one of the command line.
std::string at_line(const Config& config, const SiteConfig& site) {
  return site.line == 0 || config.path.empty() ? "" : config.path + ":" + std::to_string(site.line) + ": ";
}

/// What a site needs and we do not have: its messages stay where they are rather than go without it.
std::string what_is_missing(const SiteConfig& config) {
  if (!is_http_type(config.channel_type) && !find_channel_program(config.channel_type)) return "the channel type '" + config.channel_type + "'";
  return "";
}

}  // namespace

Result<void> Dispatcher::prepare() {
  GW_TRY_ASSIGN(Config config, read_config());
  GW_TRY(configure(config));
  GW_TRY(take_singletons());
  // What a forwarder that was killed was about to move counts in no outbox until then: --drain would take it for empty.
  if (auto recovered = root_.recover_dead_owners(); !recovered) event(Level::error, "recovery-failed", {{"reason", recovered.error().text}});
  GW_TRY(open_store());
  GW_TRY(remember_sites());
  GW_TRY(open_outboxes());
  GW_TRY(make_gateway_queue());
  GW_TRY(find_gateway_queues());
  if (job_.mode != ForwardJob::Mode::once) return {};
  route_gateway_messages();
  list_what_is_due();
  return {};
}

/// Also while running: it may have been removed, or there was no room for it.
Result<void> Dispatcher::make_gateway_queue() {
  if (job_.mode == ForwardJob::Mode::listed || settings_->endpoint.empty()) return {};
  auto made = root_.create_queue(settings_->endpoint + ".gateway");
  if (!made && !is_full_disk(made.error())) return std::move(made).error();
  return {};
}

/// The sites and machines that this forwarder serves. A configuration that several machines share may name this one, too.
Result<std::vector<const SiteConfig*>> Dispatcher::choose(const Config& config) const {
  if (!job_.options.to.empty()) return resolve_links(config, job_.options.to);
  std::vector<const SiteConfig*> all;
  for (const SiteConfig& site : config.sites) all.push_back(&site);
  for (const MachineConfig& machine : config.machines)
    if (!is_here({"", machine.name}, root_.machine())) all.push_back(&machine.link);
  return all;
}

/// Also while running: then nothing has changed if it fails.
Result<void> Dispatcher::configure(const Config& config) {
  GW_TRY_ASSIGN(ForwardSettings settings, resolve_forward_settings(job_.options, config));
  if (!settings.endpoint.empty()) GW_TRY(check_queue_name(settings.endpoint + ".gateway"));
  GW_TRY_ASSIGN(std::vector<const SiteConfig*> chosen, choose(config));
  for (const SiteConfig* site : chosen) {
    GW_TRY(check_queue_name(outbox_of_site(site->key)));
    if (is_http_type(site->channel_type)) continue;
    if (auto program = find_channel_program(site->channel_type); !program)
      return Error{ExitCode::config, 0, at_line(config, *site) + key_in_words(site->key) + ": " + program.error().text};
  }
  std::string policy_program;
  if (!settings.retry_policy.empty()) {
    GW_TRY_ASSIGN(policy_program, find_program(settings.retry_policy));
  }
  GW_TRY(check_default_certificates(settings));
  auto errors = find_error_queues(settings.error_queue);
  if (!errors && errors.error().code == ExitCode::usage && job_.options.error_queue.empty())
    return Error{ExitCode::config, 0, "'" + config.path + "': ErrorQueue: " + errors.error().text};
  if (!errors) return std::move(errors).error();
  std::vector<std::pair<SiteConfig, LinkPtr>> links;
  for (const SiteConfig* site : chosen) {
    SiteConfig whole = with_default_certificates(*site, settings);
    GW_TRY_ASSIGN(LinkPtr link, read_link(whole, config.path));
    links.emplace_back(std::move(whole), std::move(link));
  }
  settings_ = std::make_shared<const ForwardSettings>(std::move(settings));
  policy_program_ = std::move(policy_program);
  originating_site_ = originating_site(config.channels, settings_->reply_to_uri);
  read_published();
  configured_sites_ = config.sites;
  unlisted_again_ms_ = 0;
  for (SitePtr& site : sites_) site->target.reset();
  for (auto& [site, link] : links) configure_site(site, std::move(link));
  link_watch_.begin(watched_files());
  if (send_loop_) send_loop_->configure(settings_->max_transfers, settings_->rate_bytes);
  std::tie(errors_, local_errors_) = *std::move(errors);
  return {};
}

Result<void> Dispatcher::configure_unlisted(const SiteConfig& site) {
  const SiteConfig whole = with_default_certificates(site, *settings_);
  GW_TRY_ASSIGN(LinkPtr link, read_link(whole, config_file_.path()));
  configure_site(whole, std::move(link));
  return {};
}

std::vector<std::string> Dispatcher::watched_files() const {
  std::vector<std::string> files;
  for (const SitePtr& site : sites_)
    if (site->target)
      for (std::string& file : link_files(site->config)) files.push_back(std::move(file));
  return files;
}

/// New certificates and tokens count from the next request on. A site whose new files are no good keeps the old ones.
void Dispatcher::reread_links() {
  if (!link_watch_.changed(watched_files())) return;
  for (SitePtr& site : sites_) {
    if (!site->target || link_files(site->config).empty()) continue;
    auto link = read_link(site->config, config_file_.path());
    if (!link) {
      event(Level::error, "certificates-rejected", {{"site", site->key}, {"reason", link.error().text}});
      continue;
    }
    site->target = site->target_before = make_target(site->config, *std::move(link));
    event(Level::info, "certificates-read", {{"site", site->key}});
  }
}

void Dispatcher::configure_site(const SiteConfig& config, LinkPtr link) {
  const auto [known, added] = site_by_key_.try_emplace(config.key, sites_.size());
  if (added) sites_.push_back(std::make_unique<Site>(sites_.size(), config.key, settings_->policy.probe_interval_ms));
  Site& site = *sites_[known->second];
  const bool moved = site.target_before && site.target_before->url != config.address;
  site.config = config;
  site.target = site.target_before = make_target(config, std::move(link));
  site.look = true;
  look_at_window(site);
  if (moved) site.circuit.probe_now(monotonic_ms());  // another address may answer
  const std::string missing = what_is_missing(config);
  if (!missing.empty() && site.supported)
    event(Level::error, "site-not-served", {{"site", site.key}, {"reason", "this version does not know " + missing}});
  site.supported = missing.empty();
  if (site.supported) return;
  site.record.up = false;
  site.record.last_error = "this version does not know " + missing;
  site.record_changed = true;
}

/// What an earlier forwarder knew of the sites: one that is out of order is left alone until its time, unless somebody asked since.
Result<void> Dispatcher::remember_sites() {
  if (!store_) return {};
  GW_TRY_ASSIGN(auto records, store_->sites());
  for (SiteRecord& record : records) {
    auto known = site_by_key_.find(record.site);
    if (known == site_by_key_.end()) continue;
    Site& site = *sites_[known->second];
    site.record = std::move(record);
    if (!site.supported) site.record.up = false;
    const bool out_of_order = !site.record.up && site.record.next_try_ms != 0 && site.record.probe_interval_ms != 0;
    if (!out_of_order || site.policy(*settings_).outages != Outages::wait) continue;
    // Not longer than it can be: the clock may have been set.
    const int64_t interval = site.record.probe_interval_ms;
    const int64_t left = std::clamp<int64_t>(site.record.next_try_ms - now_ms(), 0, std::max(interval, probe_interval_max_ms));
    site.circuit.restore(monotonic_ms() + left, interval);
  }
  GW_TRY_ASSIGN(auto asked, store_->probes_asked());
  for (const auto& [key, at] : asked) {
    auto known = site_by_key_.find(key);
    if (known == site_by_key_.end()) continue;
    Site& site = *sites_[known->second];
    site.probe_asked_ms = at;
    if (site.circuit.open() && at > site.record.next_try_ms - site.circuit.interval_ms()) site.circuit.probe_now(monotonic_ms());
  }
  return {};
}

Result<void> Dispatcher::open_outboxes() {
  for (SitePtr& site : sites_) {
    if (site->queue || !site->target) continue;
    auto queue = root_.create_queue(outbox_of_site(site->key));
    if (!queue && !is_full_disk(queue.error())) return std::move(queue).error();
    if (queue) site->queue = *queue;  // else later: nobody can have put anything
  }
  return {};
}

/// They stay null while there is no room for them. One that was removed is made anew.
Result<void> Dispatcher::open_error_queues() {
  if (errors_.queue && local_errors_.queue) {
    for (Destination* known : {&errors_, &local_errors_}) {
      auto again = root_.create_queue(known->queue.name());
      if (!again) return std::move(again).error();
      known->queue = *std::move(again);
    }
    return {};
  }
  GW_TRY_ASSIGN(auto found, find_error_queues(settings_->error_queue));
  std::tie(errors_, local_errors_) = std::move(found);
  return {};
}

/// The queue of failed messages, and the one of that name here. Both null: there is no room for them now.
Result<std::pair<Destination, Destination>> Dispatcher::find_error_queues(const std::string& name) {
  GW_TRY_ASSIGN(Address address, parse_address(name));
  auto found = find_error_queue(address);
  address.machine.clear();
  auto local = find_error_queue(address);
  for (const auto* one : {&found, &local})
    if (!*one && !is_full_disk(one->error())) return one->error();
  if (!found || !local) return std::pair<Destination, Destination>();
  return std::pair(*std::move(found), *std::move(local));
}

Result<Destination> Dispatcher::find_error_queue(const Address& address) {
  if (is_here(address, root_.machine())) GW_TRY(root_.create_queue(address.queue));
  return Destinations(root_, job_.config_path, job_.config_must_exist).find(address);
}

/// An outbox that was removed is another one when it is made anew.
void Dispatcher::find_outboxes_again() {
  for (SitePtr& site : sites_) {
    if (!site->queue) continue;
    auto there = root_.queue(site->queue.name());
    if (there && same_queue(*there, site->queue)) continue;
    site->begin_anew(there ? *std::move(there) : Queue());
  }
}

/// Stays null while there is no room for it.
Result<void> Dispatcher::open_store() {
  if (store_) return {};
  auto store = OutcomeStore::open(root_.path(), true);
  if (!store && !is_full_disk(store.error())) return std::move(store).error();
  if (store) store_ = *std::move(store);
  return {};
}

namespace {

Error other_runs(int pid, const std::string& for_what) {
  return Error{ExitCode::not_now, 0,
               "a forwarder runs already" + for_what + " (pid " + std::to_string(pid) + "); stop it, or choose other sites with --to"};
}

}  // namespace

/// One forwarder per root; with --to one per site, so that several with different sites can run. Each kind takes its own lock
/// first and then looks for the other kind, so that of two that start together at least one sees the other.
Result<void> Dispatcher::take_singletons() {
  if (job_.mode == ForwardJob::Mode::listed) return {};  // its messages are its own
  int pid = 0;
  if (job_.options.to.empty()) {
    GW_TRY_ASSIGN(auto lock, root_.try_singleton("forward", &pid));
    if (!lock) return other_runs(pid, "");
    singleton_ = std::move(*lock);
    look_for_other_forwarders();
    return {};
  }
  for (SitePtr& site : sites_) {
    if (!site->target || site->singleton) continue;
    GW_TRY_ASSIGN(auto lock, root_.try_singleton(forwarder_lock(site->key), &pid));
    if (!lock) return other_runs(pid, " for " + key_in_words(site->key));
    site->singleton = std::move(*lock);
  }
  const Root::SingletonInfo whole = root_.singleton("forward");
  if (whole.pid != 0) return other_runs(whole.pid, "");
  return {};
}

/// A forwarder without --to leaves those sites alone that another one has been given.
void Dispatcher::look_for_other_forwarders() {
  if (!job_.options.to.empty() || job_.mode == ForwardJob::Mode::listed) return;
  for (SitePtr& site : sites_) {
    const int pid = root_.singleton(forwarder_lock(site->key)).pid;
    if (pid == site->other_pid) continue;
    if (pid != 0) event(Level::info, "site-left-alone", {{"site", site->key}, {"pid", pid}});
    site->other_pid = pid;
    site->look = true;
  }
}

void Dispatcher::read_published() {
  const int64_t stamp = published_stamp(root_.path());
  if (stamp == published_stamp_) return;
  published_stamp_ = stamp;
  published_sites_ = published_originating_sites(root_.path());
}

/// --once: what is due now, each once.
void Dispatcher::list_what_is_due() {
  const int64_t now = now_ms();
  for (SitePtr& site : sites_) {
    if (!site->usable()) continue;
    auto scanned = site->queue.scan([&](const MessageInfo& info) {
      const bool due = info.state == MessageState::ready || (info.state == MessageState::deferred && info.due_at_ms <= now);
      if (due) site->listed.add(0, info.seq);
      return true;
    });
    if (!scanned) {
      event(Level::error, "outbox-unreadable", {{"site", site->key}, {"reason", scanned.error().text}});
      left_over_ = true;
    }
  }
}

Result<Config> Dispatcher::read_config() {
  GW_TRY_ASSIGN(Config config, config_file_.read());
  for (const std::string& text : job_.options.sites) GW_TRY(add_site_option(config, text));
  return config;
}

void Dispatcher::reload_now() {
  auto config = read_config();
  Result<void> done = config ? configure(*config) : Result<void>(config.error());
  if (done) done = open_outboxes();
  if (done && !job_.options.to.empty()) done = take_singletons();
  if (done)
    event(Level::info, "config-read", {{"path", config_file_.path()}, {"sites", sites_.size()}});
  else
    event(Level::error, "config-bad", {{"path", config_file_.path()}, {"reason", done.error().text}});
}

void Dispatcher::reload_if_changed() {
  if (config_file_.changed()) reload_now();
}

}  // namespace gw
