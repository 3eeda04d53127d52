// watch: the same look again and again, on a terminal as a screen.
#include <poll.h>
#include <unistd.h>

#include <cstdlib>

#include "commands.hpp"
#include "support.hpp"
#include "terminal.hpp"
#include "units.hpp"
#include "watch_view.hpp"

namespace gw::inspect {

namespace {

constexpr int64_t interval_min_ms = 200, interval_max_ms = 24 * 3600 * 1000;

Result<int64_t> interval_of(const std::string& text) {
  if (text.empty()) return int64_t{1000};
  const auto ms = parse_duration_ms(text);
  if (!ms || *ms < interval_min_ms || *ms > interval_max_ms)
    return Error{ExitCode::usage, 0, "'" + text + "' is not an interval: expected 200ms to 24h"};
  return *ms;
}

Charset charset_of_terminal() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = ::getenv(name);
    if (!value || !*value) continue;
    const std::string_view text = value;
    return text.find("UTF-8") != std::string_view::npos || text.find("utf8") != std::string_view::npos ? Charset::utf8 : Charset::ascii;
  }
  return Charset::ascii;
}

class Watch {
 public:
  Watch(Observer& observer, const CommonOptions& common, int64_t interval_ms) : observer_(observer), common_(common), interval_ms_(interval_ms) {
    if (!common.json && is_terminal(STDOUT_FILENO)) screen_.emplace();
  }

  Result<ExitCode> run() {
    int64_t next = monotonic_ms();
    while (!Signals::stop_requested()) {
      if (const int64_t began = monotonic_ms(); began >= next) {
        GW_TRY_ASSIGN(now_, observer_.look());
        GW_TRY(show());
        // A root that takes long to look at is looked at less often.
        next = std::max(next + interval_ms_, monotonic_ms() + (monotonic_ms() - began) * 4);
      }
      GW_TRY(wait(next));
    }
    return ExitCode::ok;
  }

 private:
  Result<void> show() {
    if (screen_) return screen_->draw(watch_screen(now_, {screen_->size(), common_.color, charset_of_terminal()}));
    out(common_.json ? watch_json(now_) : watch_lines(now_));
    return flush_stdout();
  }

  Result<void> wait(int64_t until) {
    pollfd fds[] = {{Signals::wake_fd(), POLLIN, 0}, {screen_ ? screen_->wake_fd() : -1, POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(std::max<int64_t>(until - monotonic_ms(), 0)));
    Signals::take_reload();  // the observer sees for itself that the configuration has changed
    if (!(fds[1].revents & POLLIN)) return {};
    GW_TRY(screen_->woken());
    return show();
  }

  Observer& observer_;
  const CommonOptions& common_;
  int64_t interval_ms_;
  std::optional<Screen> screen_;
  Overview now_;
};

}  // namespace

Result<ExitCode> watch(const Options& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const int64_t interval_ms, interval_of(options.interval));
  GW_TRY_ASSIGN(auto root, open_root(common, false));
  EndOnSignal end_on_signal(*root);
  Signals::install();
  Observer observer(*root, common.config, common.config_given, {interval_ms, 60});
  if (!common.json) GW_TRY(print_ready("ready"));
  Watch watching(observer, common, interval_ms);
  return watching.run();
}

}  // namespace gw::inspect
