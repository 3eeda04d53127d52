#include "serve.hpp"

#include <poll.h>
#include <unistd.h>

#include <thread>

#include "diag.hpp"
#include "html.hpp"
#include "secrets.hpp"
#include "site.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr unsigned connections_max = 64;
constexpr int64_t grace_ms = 3000;
constexpr unsigned stop_seconds_max = 8;
constexpr const char* default_root = "/var/spool/gatepost";

Result<std::shared_ptr<const TokenSet>> read_tokens(const std::string& path) {
  if (path.empty()) return std::shared_ptr<const TokenSet>();
  GW_TRY_ASSIGN(std::string text, read_secret_file(path));
  GW_TRY_ASSIGN(auto tokens, parse_tokens(path, text));
  return std::shared_ptr<const TokenSet>(std::make_shared<TokenSet>(std::move(tokens)));
}

// What a reader of this page would have to see to it that nobody else reads.
Result<void> check_reach(const http::ListenAddress& address, const ServeOptions& options) {
  if (address.loopback || !options.token_file.empty()) return {};
  return Error{ExitCode::usage, 0,
               "--listen " + options.listen + " can be reached from other machines, and pages show whole messages: expected --token-file F, or a loopback address"};
}

void end_in_time() {
  std::thread([] {
    ::sleep(stop_seconds_max);
    ::_exit(0);
  }).detach();
}

class Serving {
 public:
  Serving(Site& site, Gate& gate, const ServeOptions& options)
      : site_(site), gate_(gate), options_(options), server_([this](http::Exchange& exchange) { handle(exchange); }, {connections_max, "GET, HEAD"}) {}

  Result<ExitCode> run(http::ListenAddress address) {
    std::vector<http::Listening> sockets{address.socket};
    GW_TRY(server_.start(sockets));
    address.socket = sockets[0];
    if (!options_.token_file.empty()) tokens_watch_.begin({options_.token_file});
    GW_TRY(print_ready("ready " + address.url()));
    wait_for_end();
    end_in_time();
    server_.stop(grace_ms);
    return ExitCode::ok;
  }

 private:
  void handle(http::Exchange& exchange) {
    const http::RequestHead& head = exchange.head();
    if (auto refused = gate_.refuse(head)) return exchange.send(*refused);
    if (const auto* bad = std::get_if<WireRefusal>(&exchange.plan())) {
      http::Answer answer;
      answer.status = bad->status;
      answer.text = bad->text;
      answer.content_type = "text/plain; charset=utf-8";
      return exchange.send(answer);
    }
    exchange.send(site_.answer(head));
  }

  // Looks also while nobody reads, so that the pictures have a past.
  void wait_for_end() {
    int64_t next = monotonic_ms() + page_pace.sample_every_ms;
    while (!Signals::stop_requested()) {
      pollfd wake{Signals::wake_fd(), POLLIN, 0};
      ::poll(&wake, 1, static_cast<int>(std::clamp<int64_t>(next - monotonic_ms(), 0, 1000)));
      const bool reload = Signals::take_reload();
      if (Signals::stop_requested()) return;
      if (!options_.token_file.empty() && (reload || tokens_watch_.changed({options_.token_file}))) reread_tokens();
      if (monotonic_ms() < next) continue;
      const int64_t began = monotonic_ms();
      if (auto looked = site_.look(); !looked) event(Level::error, "look-failed", {{"reason", looked.error().text}});
      // A root that takes long to look at is looked at less often.
      next = monotonic_ms() + std::max(page_pace.sample_every_ms - (monotonic_ms() - began), (monotonic_ms() - began) * 4);
    }
  }

  void reread_tokens() {
    auto fresh = read_tokens(options_.token_file);
    if (!fresh) return event(Level::error, "tokens-rejected", {{"reason", fresh.error().text}});
    gate_.set_tokens(*std::move(fresh));
    event(Level::info, "tokens-read", {{"path", options_.token_file}});
  }

  Site& site_;
  Gate& gate_;
  const ServeOptions& options_;
  FilesWatch tokens_watch_;
  http::Server server_;
};

}  // namespace

Result<ExitCode> serve(const ServeOptions& options, const CommonOptions& common) {
  if (options.listen.empty()) return Error{ExitCode::usage, 0, "--listen is missing: expected --listen 127.0.0.1:PORT"};
  GW_TRY_ASSIGN(http::ListenAddress address, http::parse_listen_address(options.listen, "--listen"));
  GW_TRY(check_reach(address, options));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  GW_TRY_ASSIGN(auto tokens, read_tokens(options.token_file));  // as the owner of the root, who reads it again later
  Signals::install();
  Gate gate(address, root->machine(), std::move(tokens));
  Site site(*root, Observer(*root, common.config, common.config_given, page_pace), common.root == default_root ? "" : " --root " + shell_word(common.root));
  GW_TRY(site.look());
  Serving serving(site, gate, options);
  return serving.run(std::move(address));
}

}  // namespace gw::inspect
