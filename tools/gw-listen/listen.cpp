#include "listen.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <utility>

#include "admin.hpp"
#include "committer.hpp"
#include "config_watch.hpp"
#include "dedup_store.hpp"
#include "diag.hpp"
#include "machine_door.hpp"
#include "program_channels.hpp"
#include "put_notes.hpp"
#include "receive.hpp"
#include "reply_address.hpp"
#include "servers.hpp"
#include "units.hpp"

namespace gw::listen {

namespace {

constexpr int64_t grace_ms = 5000;   ///< requests under way get this long after SIGTERM
constexpr unsigned stop_seconds_max = 9;  ///< then it ends whatever connections do: what was answered is durable
constexpr int64_t tick_ms = 1000;
constexpr int64_t maintain_every_ms = 10'000;

struct Read {
  Config config;
  Settings settings;
};

Result<Read> read_settings(ConfigWatch& file, const Options& options) {
  Read read;
  GW_TRY_ASSIGN(read.config, file.read());
  GW_TRY_ASSIGN(read.settings, resolve_settings(options, read.config));
  return read;
}

/// The whole group is in doubt: an answer could be a lie. What is on the disk decides when the next process recovers it.
void end_in_doubt(const Error& error) {
  event(Level::error, "commit-in-doubt", {{"reason", error.text}});
  ::_exit(static_cast<int>(ExitCode::io_error));
}

/// Becomes readable on each signal.
int signal_event() {
  static const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd;
}

void end_in_time() {
  std::thread([] {
    ::sleep(stop_seconds_max);
    event(Level::warn, "requests-cut", {{"reason", "connections did not end in time"}});
    ::_exit(0);
  }).detach();
}

/// So that forwarders of this root tell it to others. A listener works without.
void publish_address(const Root& root, const Settings& settings) {
  std::vector<ChannelConfig> channels;
  for (const Channel& channel : settings.channels) {
    ChannelConfig& made = channels.emplace_back();
    made.channel_type = channel.type;
    made.address = channel.program.empty() ? channel.url() : channel.address;
    made.is_default = channel.is_default;
    made.reply_to_uri = channel.reply_to_uri;
  }
  const std::string site = originating_site(channels, settings.reply_to_uri);
  if (auto done = publish_originating_site(root.path(), settings.endpoint, site); !done)
    event(Level::warn, "reply-address-unpublished", {{"reason", done.error().text}});
}

std::vector<std::string> security_files(const std::vector<Channel>& channels) {
  std::vector<std::string> files;
  for (const Channel& channel : channels)
    for (std::string& file : security_files(channel)) files.push_back(std::move(file));
  return files;
}

class Listener {
 public:
  Listener(ConfigWatch config_file, const Options& options, Settings settings, std::unique_ptr<Root> root)
      : config_file_(std::move(config_file)), options_(options), settings_(std::move(settings)), root_(std::move(root)) {}

  Result<ExitCode> run();

 private:
  Result<void> start();
  void wait_for_end();
  void look_for_queues();
  void reload();
  void refuse_reload(const Error& error);
  void use_channels();
  void tell_differences(const std::vector<Channel>& before);
  Result<void> start_admin();
  Result<void> start_endpoint(ReceiverContext& context);
  Result<void> start_machine(ReceiverContext& context);
  /// What it is called in events.
  Field told_name() const { return settings_.endpoint.empty() ? Field("machine", settings_.machine) : Field("endpoint", settings_.endpoint); }
  void watch_security();

  ConfigWatch config_file_;
  const Options& options_;
  Settings settings_;
  std::unique_ptr<Root> root_;
  std::optional<EndpointQueue> queue_;
  bool queue_trouble_ = false;
  std::unique_ptr<DedupStore> store_;
  std::optional<StoreThread> store_thread_;
  std::optional<DataBus> data_bus_;
  std::optional<StoreThread> afterwards_;
  std::optional<Committer> committer_;
  std::optional<HeldMessages> held_;
  std::optional<InstanceNotes> instances_;
  std::unique_ptr<MachineDoor> machine_;
  std::optional<Receiver> receiver_;
  std::optional<Servers> servers_;
  FilesWatch security_;  // certificates, keys and tokens
  std::optional<ProgramChannels> programs_;
  std::optional<Admin> admin_;
};

std::vector<Channel> by_programs(const std::vector<Channel>& channels) {
  std::vector<Channel> found;
  for (const Channel& channel : channels)
    if (!channel.program.empty()) found.push_back(channel);
  return found;
}

/// Who is in at the moment counts on.
void keep_slots(std::vector<Channel>& fresh, const std::vector<Channel>& before) {
  for (Channel& channel : fresh)
    for (const Channel& old : before)
      if (channel.slots && old.slots && channel.type == old.type && channel.address == old.address) {
        channel.slots = old.slots;
        channel.slots->set_limit(*channel.max_concurrency);
      }
}

Result<void> Listener::start_endpoint(ReceiverContext& context) {
  if (settings_.endpoint.empty()) return {};
  queue_.emplace(*root_, settings_.endpoint);
  GW_TRY(queue_->find());
  // Opened here also so that a damaged or foreign store is found before the first message.
  GW_TRY_ASSIGN(store_, DedupStore::open(root_->path(), settings_.endpoint, true));
  data_bus_.emplace(root_->path(), settings_.endpoint, *store_, *store_thread_, &end_in_doubt);
  context.data_bus = &*data_bus_;
  context.endpoint = settings_.endpoint;
  context.queue = &*queue_;
  held_.emplace(*root_, *queue_, *store_, *store_thread_, *data_bus_, *committer_);
  context.held = &*held_;
  return {};
}

Result<void> Listener::start_machine(ReceiverContext& context) {
  if (settings_.machine.empty()) return {};
  if (!is_here({"", settings_.machine}, root_->machine()))
    event(Level::warn, "other-machine-name", {{"machine", settings_.machine}, {"root_machine", root_->machine()}, {"hint", "in this root the machine is called as its file 'machine' says"}});
  GW_TRY_ASSIGN(machine_, MachineDoor::open(*root_, settings_.machine, settings_.allow_queues, *store_thread_, &end_in_doubt));
  context.machine = machine_.get();
  return {};
}

Result<void> Listener::start() {
  store_thread_.emplace();
  ReceiverContext context;
  context.body_writer = [this] { return root_->body_writer(); };
  context.free_bytes = [this] { return root_->free_bytes(); };
  context.clock = [this] { return root_->clock(); };
  context.min_free_bytes = root_->reserve_bytes();
  committer_.emplace([this](std::vector<Transaction>&& all) { return commit_noted(*root_, std::move(all), PutNotes::Which::all); },
                     [this] { return servers_->under_way(); }, &end_in_doubt);
  context.committer = &*committer_;
  afterwards_.emplace();
  context.afterwards = &*afterwards_;
  instances_.emplace(*root_, *store_thread_, config_file_.path(), false);
  context.instances = &*instances_;
  context.journal = &root_->journal();
  GW_TRY(start_endpoint(context));
  GW_TRY(start_machine(context));
  context.stopping = [this] { return servers_->stopping(); };
  receiver_.emplace(std::move(context));
  servers_.emplace([this](Exchange& exchange) { receiver_->handle(exchange); });
  GW_TRY(committer_->start());
  receiver_->set_channels({});
  GW_TRY(servers_->start(settings_.channels));
  programs_.emplace(*receiver_);
  use_channels();
  GW_TRY(programs_->wait_for_first_words());
  return start_admin();
}

Result<void> Listener::start_admin() {
  if (options_.admin.empty()) return {};
  GW_TRY_ASSIGN(ListenAddress address, parse_listen_address(options_.admin, "--admin"));
  admin_.emplace(
      Admin::Context{settings_.endpoint.empty() ? machine_->store() : settings_.endpoint, &*root_, &receiver_->counts(), [this] { return servers_->stopping(); }});
  return admin_->start(std::move(address));
}

Result<ExitCode> Listener::run() {
  GW_TRY(start());
  if (held_) publish_address(*root_, settings_);
  for (const Channel& channel : settings_.channels) {
    event(Level::info, "listening", {{"url", channel.url()}, told_name()});
    GW_TRY(print_ready("ready " + channel.url()));
  }
  wait_for_end();
  event(Level::info, "stopping", {told_name()});
  end_in_time();
  std::thread stop_programs([this] { programs_->stop(grace_ms); });
  const bool all_finished = servers_->stop(grace_ms);
  stop_programs.join();
  if (admin_) admin_->stop();
  if (!all_finished) event(Level::warn, "requests-cut", {{"reason", "not finished within the time to stop"}});
  held_.reset();
  committer_.reset();
  return ExitCode::ok;
}

void Listener::wait_for_end() {
  int64_t maintained = monotonic_ms();
  while (!Signals::stop_requested()) {
    pollfd wake{signal_event(), POLLIN, 0};
    eventfd_t count = 0;
    if (::poll(&wake, 1, static_cast<int>(tick_ms)) > 0) ::eventfd_read(signal_event(), &count);
    if (Signals::take_reload() || config_file_.changed()) reload();
    if (security_.changed(security_files(settings_.channels))) watch_security();
    if (Signals::stop_requested()) return;
    // What a listener that was killed has left on the way is decided within seconds, also if nobody takes from the queue.
    if (auto recovered = root_->recover_dead_owners(); !recovered) event(Level::error, "recovery-failed", {{"reason", recovered.error().text}});
    root_->sweep_blobs();
    look_for_queues();
    if (monotonic_ms() - maintained < maintain_every_ms) continue;
    maintained = monotonic_ms();
    if (auto done = root_->maintain(); !done) event(Level::warn, "maintenance-failed", {{"reason", done.error().text}});
    if (!held_ || !root_->clock().may_purge) continue;
    if (auto swept = held_->sweep(now_ms()); !swept) event(Level::warn, "maintenance-failed", {{"reason", swept.error().text}});
  }
}

/// Trouble is told once.
void Listener::look_for_queues() {
  if (!queue_) return;
  auto found = queue_->find();
  held_->look_again();
  if (!found && !queue_trouble_) event(Level::error, "queue-missing", {{"reason", found.error().text}});
  queue_trouble_ = !found;
}

/// A channel whose new files are no good keeps the old ones.
void Listener::watch_security() {
  for (Channel& channel : settings_.channels) {
    if (security_files(channel).empty()) continue;
    if (auto loaded = load_security(channel); !loaded)
      event(Level::error, "certificates-rejected", {{"channel", channel.address}, {"reason", loaded.error().text}});
    else
      event(Level::info, "certificates-read", {{"channel", channel.address}});
  }
  servers_->set_tls(settings_.channels);
  receiver_->set_channels(settings_.channels);
}

/// All but the endpoint changes at once, or nothing.
void Listener::reload() {
  auto fresh = read_settings(config_file_, options_);
  if (!fresh) return refuse_reload(fresh.error());
  Settings& settings = fresh->settings;
  if (auto loaded = load_security(settings.channels, fresh->config); !loaded) return refuse_reload(loaded.error());
  if (auto added = servers_->add(settings.channels, settings_.channels); !added) return refuse_reload(added.error());
  if (settings.endpoint != settings_.endpoint) {
    event(Level::warn, "config-needs-restart",
          {{"reason", "Endpoint is '" + settings.endpoint + "' now, and messages go to '" + settings_.endpoint + "' until a restart"}});
    settings.endpoint = settings_.endpoint;
  }
  keep_slots(settings.channels, settings_.channels);
  const std::vector<Channel> before = std::exchange(settings_, std::move(settings)).channels;
  use_channels();
  servers_->retire(settings_.channels);
  tell_differences(before);
  if (held_) publish_address(*root_, settings_);
  event(Level::info, "config-read", {{"path", config_file_.path()}});
}

void Listener::refuse_reload(const Error& error) {
  event(Level::error, "config-bad", {{"path", config_file_.path()}, {"reason", error.text}});
}

void Listener::use_channels() {
  security_.begin(security_files(settings_.channels));
  servers_->set_tls(settings_.channels);
  receiver_->set_channels(settings_.channels);
  programs_->use(by_programs(settings_.channels));
}

void Listener::tell_differences(const std::vector<Channel>& before) {
  auto among = [](const Channel& channel, const std::vector<Channel>& all) {
    return std::any_of(all.begin(), all.end(), [&](const Channel& c) { return c.type == channel.type && c.address == channel.address; });
  };
  for (const Channel& channel : before)
    if (!among(channel, settings_.channels)) event(Level::info, "not-listening", {{"url", channel.url()}, told_name()});
  for (const Channel& channel : settings_.channels) {
    if (among(channel, before)) continue;
    event(Level::info, "listening", {{"url", channel.url()}, told_name()});
    if (auto told = print_ready("ready " + channel.url()); !told) event(Level::warn, "ready-not-told", {{"reason", told.error().text}});
  }
}

}  // namespace

Result<ExitCode> run_listener(const CommonOptions& common, const Options& options) {
  ConfigWatch config_file(common.config, common.config_given);
  GW_TRY_ASSIGN(Read read, read_settings(config_file, options));
  signal_event();
  Signals::on_signal([] { ::eventfd_write(signal_event(), 1); });
  Signals::install();
  GW_TRY_ASSIGN(auto root, open_root(common, true, read.settings.min_free_bytes, read.settings.machine));
  GW_TRY(load_security(read.settings.channels, read.config));  // as the owner of the root, who has to read them again
  Listener listener(std::move(config_file), options, std::move(read.settings), std::move(root));
  return listener.run();
}

}  // namespace gw::listen
