#include "admin.hpp"

#include "diag.hpp"
#include "metrics_text.hpp"
#include "story.hpp"
#include "units.hpp"

namespace gw::listen {
namespace {

constexpr unsigned admin_connections_max = 16;
constexpr int64_t count_every_ms = 5'000;
constexpr int64_t count_share = 50;  ///< counting the rows of a large store takes at most one part of so many of the time

}  // namespace

Admin::Admin(Context context)
    : context_(std::move(context)), server_([this](Exchange& exchange) { exchange.send(answer(exchange)); }, {admin_connections_max, "GET, HEAD"}) {}

Result<void> Admin::start(ListenAddress address) {
  std::vector<Listening> sockets{address.socket};
  GW_TRY(server_.start(sockets));
  address.socket = sockets[0];
  event(Level::info, "admin-listening", {{"url", address.url() + "metrics"}});
  return {};
}

void Admin::stop() { server_.stop(0); }

Answer Admin::answer(const Exchange& exchange) {
  const RequestHead& head = exchange.head();
  Answer answer;
  answer.content_type = "text/plain; charset=utf-8";
  if (head.method != "GET" && head.method != "HEAD") {
    answer.status = 405;
    answer.text = "Method Not Allowed";
    answer.fields = "Allow: GET, HEAD\r\n";
  } else if (const auto* refused = std::get_if<WireRefusal>(&exchange.plan())) {
    answer.status = refused->status;
    answer.text = refused->text;
  } else if (head.target == "/healthz") {
    answer.status = context_.stopping() ? 503 : 200;
    answer.text = answer.status == 200 ? "OK" : "stopping";
  } else if (head.target == "/metrics") {
    answer.text = metrics();
    answer.content_type = metrics_content_type;
  } else if (head.target == "/trace" && head.query.starts_with("id=")) {
    return trace(wire_decode(head.query.substr(3)));
  } else {
    answer.status = 404;
    answer.text = "Not Found";
  }
  return answer;
}

// As `queue-inspect trace --json` prints it: what happened and why, but nothing of what the message says.
Answer Admin::trace(std::string_view id) {
  Answer answer;
  store_thread_.run([&] {
    auto story = tell_story(*context_.root, std::string(id));
    if (!story) {
      answer.status = 503;
      answer.text = story.error().text;
      return;
    }
    for (const JournalRecord& record : story->events) answer.text += event_json(record).str() + "\n";
    if (!story->events.empty()) return;
    answer.status = 404;
    answer.text = "the message is not known here";
  });
  answer.content_type = answer.status == 200 ? "application/x-ndjson" : "text/plain; charset=utf-8";
  return answer;
}

std::string Admin::metrics() {
  MetricsText text;
  const std::string_view endpoint = context_.endpoint;
  const ReceivedCounts& counts = *context_.counts;
  text.family("gatepost_received_total", MetricsText::Kind::counter, "Messages that came in since this listener was started, by what was answered.");
  text.sample({{"endpoint", endpoint}, {"result", "delivered"}}, counts.delivered.load());
  text.sample({{"endpoint", endpoint}, {"result", "duplicate"}}, counts.duplicate.load());
  text.sample({{"endpoint", endpoint}, {"result", "refused"}}, counts.refused.load());
  if (auto rows = dedup_rows()) {
    text.family("gatepost_dedup_rows", MetricsText::Kind::gauge, "Ids that the endpoint remembers.");
    text.sample({{"endpoint", endpoint}}, *rows);
  }
  return text.str();
}

std::optional<uint64_t> Admin::dedup_rows() {
  std::lock_guard one(mutex_);
  const int64_t began = monotonic_ms();
  if (began < count_again_ms_) return rows_;
  store_thread_.run([this] {
    auto counted = [this]() -> Result<DedupStore::Status> {
      if (!store_) {
        GW_TRY_ASSIGN(store_, DedupStore::open(context_.root->path(), context_.endpoint, false));
      }
      return store_->status();
    }();
    rows_.reset();
    if (counted) rows_ = counted->rows;
    else event(Level::warn, "metrics-incomplete", {{"reason", counted.error().text}});
  });
  const int64_t now = monotonic_ms();
  count_again_ms_ = now + std::max(count_every_ms, (now - began) * count_share);
  return rows_;
}

}  // namespace gw::listen
