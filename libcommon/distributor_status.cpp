#include "distributor_status.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "hash.hpp"
#include "json.hpp"
#include "state_files.hpp"

namespace gw {

namespace {

constexpr size_t head_bytes = 64;  // `gw-distributor-report 1 LENGTH CRC32C`, filled up with spaces and a LF
constexpr size_t report_bytes_max = 16 << 20;

std::string path_of(const Root& root, const std::string& endpoint) { return root.path() + "/distributor/" + endpoint; }

std::string text_of(const DistributorReport& report) {
  std::string text;
  for (const WorkerReport& w : report.workers) {
    JsonObject object;
    object.add("worker", w.worker).add("state", w.state).add("session", w.session).add("capacity", w.capacity).add("tokens", w.tokens);
    object.add("in_flight", w.in_flight).add("since", w.since_ms).add("done", w.done).add("failed", w.failed).add("here", w.here);
    text += object.str() + "\n";
  }
  return text;
}

std::optional<WorkerReport> worker_of(std::string_view line) {
  auto parsed = JsonValue::parse(line);
  if (!parsed) return std::nullopt;
  WorkerReport w;
  w.worker = parsed->text_of("worker");
  w.state = parsed->text_of("state");
  w.session = parsed->text_of("session");
  w.capacity = static_cast<unsigned>(parsed->integer_of("capacity"));
  w.tokens = static_cast<unsigned>(parsed->integer_of("tokens"));
  w.in_flight = static_cast<unsigned>(parsed->integer_of("in_flight"));
  w.since_ms = parsed->integer_of("since");
  w.done = static_cast<uint64_t>(parsed->integer_of("done"));
  w.failed = static_cast<uint64_t>(parsed->integer_of("failed"));
  if (auto here = parsed->get("here")) w.here = here->boolean().value_or(false);
  return w;
}

template <class Member>
unsigned sum_of_ready(const std::vector<WorkerReport>& workers, Member member) {
  unsigned sum = 0;
  for (const WorkerReport& w : workers)
    if (w.state == "ready") sum += w.*member;
  return sum;
}

}  // namespace

unsigned DistributorReport::capacity() const { return sum_of_ready(workers, &WorkerReport::capacity); }
unsigned DistributorReport::tokens() const { return sum_of_ready(workers, &WorkerReport::tokens); }
unsigned DistributorReport::in_flight() const { return sum_of_ready(workers, &WorkerReport::in_flight); }

bool DistributorReport::balanced() const {
  return std::all_of(workers.begin(), workers.end(), [](const WorkerReport& w) {
    return w.state == "ready" ? w.tokens + w.in_flight == w.capacity : w.tokens == 0;
  });
}

std::string distributor_lock(std::string_view endpoint) { return "distributor." + std::string(endpoint); }
std::string standby_lock(std::string_view endpoint, int number) { return "standby" + std::to_string(number) + "." + std::string(endpoint); }
std::string worker_lock(std::string_view queue) { return "worker." + std::string(queue); }

Result<DistributorReporter> DistributorReporter::open(Root& root, const std::string& endpoint) {
  DistributorReporter reporter;
  reporter.path_ = path_of(root, endpoint);
  GW_TRY_ASSIGN(reporter.file_, open_state_file(root.path(), "distributor", endpoint));
  return reporter;
}

Result<void> DistributorReporter::write(const DistributorReport& report) {
  std::string text = text_of(report);
  if (written_ && text == last_) return {};
  char head[head_bytes + 1];
  const int used = snprintf(head, sizeof head, "gw-distributor-report 1 %zu %08x", text.size(), crc32c(0, text.data(), text.size()));
  std::string whole(head, static_cast<size_t>(used));
  whole.resize(head_bytes - 1, ' ');
  whole += "\n" + text;
  last_ = std::move(text);
  // A reader that meets half of it sees that by the sum and looks again.
  if (::pwrite(file_.get(), whole.data(), whole.size(), 0) != static_cast<ssize_t>(whole.size())) return errno_error("write", path_, errno);
  written_ = true;
  return {};
}

Result<std::optional<DistributorReport>> read_distributor_report(const Root& root, const std::string& endpoint) {
  const std::string path = path_of(root, endpoint);
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file && errno == ENOENT) return std::optional<DistributorReport>();
  if (!file) return errno_error("open", path, errno);
  constexpr int tries = 50, between_us = 2000;
  for (int i = 0; i < tries; ++i, ::usleep(between_us)) {
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return errno_error("stat", path, errno);
    if (status.st_size < static_cast<off_t>(head_bytes) || status.st_size > static_cast<off_t>(report_bytes_max)) continue;
    std::string bytes(static_cast<size_t>(status.st_size), '\0');
    const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(), 0);
    if (got < 0) return errno_error("read", path, errno);
    size_t length = 0;
    unsigned sum = 0;
    if (sscanf(bytes.c_str(), "gw-distributor-report 1 %zu %x", &length, &sum) != 2 || head_bytes + length > static_cast<size_t>(got)) continue;
    std::string_view text = std::string_view(bytes).substr(head_bytes, length);
    if (crc32c(0, text.data(), text.size()) != sum) continue;
    DistributorReport report;
    report.endpoint = endpoint;
    for (size_t end = 0; !text.empty(); text.remove_prefix(end + 1)) {
      end = text.find('\n');
      auto worker = worker_of(text.substr(0, end));
      if (!worker) return Error{ExitCode::bad_data, 0, "'" + path + "' is not a report of a distributor"};
      report.workers.push_back(*std::move(worker));
    }
    return std::optional<DistributorReport>(std::move(report));
  }
  return std::optional<DistributorReport>();
}

Result<std::vector<std::string>> distributor_endpoints(const Root& root) {
  constexpr std::string_view suffix = ".distributor.storage";
  GW_TRY_ASSIGN(auto queues, root.list_queues());
  std::vector<std::string> endpoints;
  for (const std::string& queue : queues)
    if (queue.size() > suffix.size() && std::string_view(queue).substr(queue.size() - suffix.size()) == suffix)
      endpoints.push_back(queue.substr(0, queue.size() - suffix.size()));
  return endpoints;
}

}  // namespace gw
