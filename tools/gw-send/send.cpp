#include "send.hpp"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "config_watch.hpp"
#include "diag.hpp"
#include "forward_program.hpp"
#include "held_sends.hpp"
#include "json.hpp"
#include "outbox.hpp"
#include "outboxes.hpp"
#include "store_drafts.hpp"
#include "units.hpp"
#include "watch.hpp"

namespace gw {
namespace {

/// A site that the message goes to, with its outbox.
struct Destination {
  SiteConfig site;
  Queue outbox;
};

Error usage(std::string text) { return Error{ExitCode::usage, 0, std::move(text)}; }

/// What the forwarder that --wait may start is told of TLS.
std::vector<std::pair<std::string, std::string>> tls_options(const SendOptions& options) {
  return {{"--cacert", options.cacert}, {"--cert", options.cert}, {"--key", options.key}};
}

Result<void> check_options(const SendOptions& options) {
  if (options.to.empty()) {
    const std::string& file = options.message.file;
    return usage("--to is required: the sites that the message goes to" + (file.empty() ? "" : "; '" + file + "' is no command, but a FILE to send"));
  }
  if (!options.wait.empty() && options.wait != "delivered") return usage("'" + options.wait + "' is not a value of --wait: expected delivered");
  if (!options.wait.empty() && inside_handler())
    return usage("--wait inside of a handler: the message leaves when the handler has ended (GW_OUTBOX= in front of the command: at once)");
  if (options.wait.empty() && !options.timeout.empty()) return usage("--timeout goes with --wait");
  for (const auto& [name, value] : tls_options(options))
    if (options.wait.empty() && !value.empty())
      return usage(name + " goes with --wait, which may have to forward the message; without it 'gw-send forward' or the configuration says so");
  if (!options.wait.empty() && options.message.follow) return usage("--wait and --follow exclude each other");
  return {};
}

/// The message of every site is the same but for its own key.
Message copy_for(const Message& message, const Destination& destination) {
  Message copy = message;
  copy.headers.set(header::destination_sites, destination.site.key);
  return copy;
}

bool speaks_http(const SiteConfig& site) { return site.channel_type == "http" || site.channel_type == "https"; }

Result<void> check_message(const Message& message, const std::vector<Destination>& destinations) {
  if (message.headers.get(header::message_intent) == "Publish")
    return Error{ExitCode::bad_data, 0, "a gateway carries no events: use 'instance-map publish' for intent Publish"};
  for (const Destination& destination : destinations) {
    if (!speaks_http(destination.site)) continue;
    RequestContext context;
    context.original_version_1 = destination.site.legacy_mode;
    context.with_token = !destination.site.token_file.empty();
    GW_TRY(check_http_limits(copy_for(message, destination), destination.site.address, context));
  }
  return {};
}

/// Stores drafts, each in all outboxes in one transaction.
class Storer {
 public:
  Storer(Root& root, std::vector<Destination> destinations) : root_(root) { set_destinations(std::move(destinations)); }
  void set_destinations(std::vector<Destination> destinations) {
    destinations_ = std::move(destinations);
    sites_.clear();
    queues_.clear();
    for (const Destination& destination : destinations_) {
      sites_.push_back(destination.site.key);
      queues_.push_back(destination.outbox.name());
    }
  }
  /// Where else to tell what has been stored.
  std::function<void(const std::string& id, const std::string& site, uint64_t seq, int64_t due_at_ms)> on_stored;

  Result<std::vector<PutOutcome>> operator()(std::vector<Draft>& drafts) {
    auto fill = [&](size_t i, Transaction& transaction) -> Result<void> {
      GW_TRY(check_message(drafts[i].message, destinations_));
      put(drafts[i], transaction);
      return {};
    };
    return commit_drafts(root_, drafts, fill, [&](size_t i, const CommitResult& committed, PutOutcome outcome) { tell(drafts[i], committed, outcome); });
  }

 private:
  void put(const Draft& draft, Transaction& transaction) const {
    for (const Destination& destination : destinations_) {
      PutOptions how;
      how.due_at_ms = draft.due_at_ms;
      if (draft.key_id)
        how.dedup = DedupKey{std::string(local_dedup_store), destination.outbox.name(), draft.message.id(), draft.body_sha256, 0};
      transaction.put(destination.outbox, copy_for(draft.message, destination), std::move(how));
    }
  }

  void tell(Draft& draft, const CommitResult& committed, PutOutcome outcome) const {
    draft.sites = sites_;
    draft.queues = queues_;
    if (!on_stored || outcome == PutOutcome::conflict || outcome == PutOutcome::too_old) return;
    for (size_t i = 0; i < committed.puts.size(); ++i)
      on_stored(draft.message.id(), sites_[i], committed.puts[i].seq, draft.due_at_ms);
  }

  Root& root_;
  std::vector<Destination> destinations_;
  std::vector<std::string> sites_, queues_;
};

/// Outboxes of configured sites are made when they are needed first.
Result<std::vector<Destination>> open_destinations(Root& root, const std::vector<const SiteConfig*>& sites) {
  std::vector<Destination> destinations;
  for (const SiteConfig* site : sites) {
    auto outbox = root.queue(outbox_of_site(site->key));
    if (!outbox && outbox.error().code == ExitCode::no_input) outbox = root.create_queue(outbox_of_site(site->key));
    if (!outbox) return std::move(outbox).error();
    destinations.push_back({*site, *outbox});
  }
  return destinations;
}

bool all_have_forwarder(const Root& root, const std::vector<Destination>& destinations) {
  if (root.singleton("forward").pid != 0) return true;
  return std::all_of(destinations.begin(), destinations.end(),
                     [&](const Destination& d) { return forwarder_of(root, d.site.key).pid != 0; });
}

void hint_at_forwarder(const CommonOptions& common) {
  if (common.quiet) return;
  event(Level::warn, "no-forwarder", {{"hint", "nobody forwards the messages of this root; start 'gw-send forward --root " + common.root + "'"}});
}

std::vector<std::string> forward_arguments(const SendOptions& options, const CommonOptions& common) {
  std::vector<std::string> words{"--root", common.root};
  if (common.config_given) words.insert(words.end(), {"--config", common.config});
  if (common.quiet) words.push_back("--quiet");
  if (common.verbose) words.push_back("--verbose");
  if (!options.endpoint.empty()) words.insert(words.end(), {"--endpoint", options.endpoint});
  for (const std::string& site : options.sites) words.insert(words.end(), {"--site", site});
  for (const auto& [name, value] : tls_options(options))
    if (!value.empty()) words.insert(words.end(), {name, value});
  return words;
}

/// --wait: the outcome of what is stored is watched from the start.
Result<ExitCode> send_and_wait(const SendOptions& options, const CommonOptions& common, Root& root, MessageSource& source, Storer& store,
                               const std::string& endpoint, bool forwarded) {
  int64_t timeout_ms = INT64_MAX;
  if (!options.timeout.empty()) {
    const auto given = parse_duration_ms(options.timeout);
    if (!given) return usage("'" + options.timeout + "' is not a value of --timeout: expected a duration like 10s or 5m");
    timeout_ms = *given;
  }
  std::optional<OwnForwarder> own;
  if (!forwarded) {
    GW_TRY_ASSIGN(OwnForwarder started, OwnForwarder::start(forward_arguments(options, common)));
    own.emplace(std::move(started));
  }
  Watch watch(root);
  store.on_stored = [&](const std::string& id, const std::string& site, uint64_t seq, int64_t due_at_ms) {
    watch.add(id, site, seq);
    if (own) own->add(site, seq, due_at_ms);
  };
  auto sent = source.run(root, endpoint, [&](std::vector<Draft>& drafts) { return store(drafts); });
  if (own) own->all_added();
  if (!sent) return sent;
  GW_TRY(flush_stdout());  // the ids, before the wait
  GW_TRY(watch.wait(timeout_ms, [&] { return own && own->ended(); }));
  return watch.report(common);
}

/// --follow: what comes from now on goes where a configuration that has changed says; if it is bad, where it went.
void follow_configuration(ConfigWatch& file, const SendOptions& options, Root& root, Storer& store, bool asked) {
  if (!asked && !file.changed()) return;
  auto again = [&]() -> Result<void> {
    GW_TRY_ASSIGN(Config config, file.read());
    for (const std::string& text : options.sites) GW_TRY(add_site_option(config, text));
    GW_TRY_ASSIGN(auto sites, resolve_sites(config, options.to));
    GW_TRY_ASSIGN(auto destinations, open_destinations(root, sites));
    store.set_destinations(std::move(destinations));
    return {};
  };
  if (auto done = again(); done)
    event(Level::info, "config-read", {{"path", file.path()}});
  else
    event(Level::error, "config-bad", {{"path", file.path()}, {"reason", done.error().text}});
}

std::string machine_name(const CommonOptions& common) {
  if (auto root = open_root(common, false)) return (*root)->machine();
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

/// --dry-run: where the message would go and what it would be. Stores nothing, creates nothing.
Result<ExitCode> show_only(const CommonOptions& common, MessageSource& source, const std::vector<const SiteConfig*>& sites,
                           const std::string& endpoint) {
  GW_TRY_ASSIGN(auto preview, source.preview(machine_name(common), endpoint));
  std::vector<Destination> destinations;
  for (const SiteConfig* site : sites) destinations.push_back({*site, Queue()});
  GW_TRY(check_message(preview.message, destinations));
  bool first = true;
  for (const Destination& destination : destinations) {
    const SiteConfig& site = destination.site;
    const Message copy = copy_for(preview.message, destination);
    if (common.json) {
      JsonObject headers, object;
      for (const auto& [name, value] : copy.headers.entries()) headers.add(name, value);
      object.add("site", site.key).add("channel_type", site.channel_type).add("address", site.address);
      if (!site.window.empty()) object.add("window", site.window);
      object.add("body_bytes", preview.body_bytes).add_time("due_at", preview.due_at_ms).add_raw("headers", headers.str());
      out(object.str() + "\n");
      continue;
    }
    if (!std::exchange(first, false)) out("\n");
    out(site.key + "\t" + site.channel_type + "\t" + site.address + "\t" + (site.window.empty() ? "always" : site.window) + "\t" +
        std::to_string(preview.body_bytes) + "\n" + headers_to_text(copy.headers));
  }
  return ExitCode::ok;
}

}  // namespace

Result<ExitCode> send(const SendOptions& options, const CommonOptions& common) {
  GW_TRY(check_options(options));
  ConfigWatch config_file(common.config, common.config_given);
  GW_TRY_ASSIGN(Config config, config_file.read());
  for (const std::string& text : options.sites) GW_TRY(add_site_option(config, text));
  GW_TRY_ASSIGN(auto sites, resolve_sites(config, options.to));
  for (const SiteConfig* site : sites) GW_TRY(check_queue_name(outbox_of_site(site->key)));
  GW_TRY_ASSIGN(MessageSource source, MessageSource::open_files(options.message, common));
  const std::string& endpoint = options.endpoint.empty() ? config.endpoint : options.endpoint;
  if (common.dry_run) return show_only(common, source, sites, endpoint);
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  GW_TRY_ASSIGN(auto destinations, open_destinations(*root, sites));
  const bool forwarded = all_have_forwarder(*root, destinations);
  Storer store(*root, std::move(destinations));
  if (!options.wait.empty()) return send_and_wait(options, common, *root, source, store, endpoint, forwarded);
  if (!forwarded) hint_at_forwarder(common);
  if (options.message.follow) {
    auto look_again = [&](bool asked) { return [&, asked] { return follow_configuration(config_file, options, *root, store, asked), Result<void>(); }; };
    source.on_idle(look_again(false));
    source.on_reload(look_again(true));
  }
  return source.run(*root, endpoint, [&](std::vector<Draft>& drafts) {
    if (options.message.follow) follow_configuration(config_file, options, *root, store, false);
    return store(drafts);
  });
}

}  // namespace gw
