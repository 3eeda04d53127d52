#include "map_source.hpp"

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <mutex>

#include "diag.hpp"
#include "process.hpp"
#include "program.hpp"
#include "units.hpp"
#include "xml_tree.hpp"

extern char** environ;

namespace gw {

namespace {

constexpr size_t map_bytes_max = 64u << 20;
constexpr int64_t fetch_ms = 60'000;

// In a file without a name: nothing has to be read while the program runs.
Result<UniqueFd> scratch(const char* name) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd) return errno_error("make", "a file in memory", errno);
  return fd;
}

Result<std::string> contents(const UniqueFd& fd, size_t bytes_max) {
  std::string text;
  char block[65536];
  for (off_t at = 0;;) {
    const ssize_t n = ::pread(fd.get(), block, sizeof block, at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read", "what was fetched", errno);
    if (n == 0 || text.size() > bytes_max) return text;
    text.append(block, static_cast<size_t>(n));
    at += n;
  }
}

// The program's own words: "gw-send: cannot get ...".
std::string last_words(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const size_t begin = text.rfind('\n', end);
  std::string line = text.substr(begin == std::string::npos ? 0 : begin + 1, end - (begin == std::string::npos ? 0 : begin + 1) + 1);
  constexpr std::string_view prefix = "gw-send: ";
  return line.starts_with(prefix) ? line.substr(prefix.size()) : line;
}

Result<std::string> fetch_url(const std::string& url) {
  GW_TRY_ASSIGN(const std::string program, find_helper("gw-forward"));
  GW_TRY_ASSIGN(const UniqueFd out, scratch("fetched"));
  GW_TRY_ASSIGN(const UniqueFd err, scratch("errors"));
  ChildSpec spec;
  spec.program = program;
  spec.arguments = {"gw-forward", "fetch", "--", url};
  for (char** variable = environ; *variable; ++variable) spec.environment.emplace_back(*variable);
  spec.in = spec.out = out.get();
  spec.err = err.get();
  GW_TRY_ASSIGN(Child child, Child::start(spec));
  const int64_t deadline = monotonic_ms() + fetch_ms;
  while (!child.ended()) {
    const int64_t left = deadline - monotonic_ms();
    if (left <= 0) return Error{ExitCode::unavailable, 0, "cannot get '" + url + "': no answer within " + human_duration(fetch_ms)};
    pollfd item{child.exit_fd(), POLLIN, 0};
    ::poll(&item, 1, static_cast<int>(left));
  }
  const ChildEnd end = child.reap().value_or(ChildEnd{1, 0});
  if (end.signal == 0 && end.exit_status == 0) return contents(out, map_bytes_max);
  GW_TRY_ASSIGN(const std::string words, contents(err, 65536));
  const bool absent = end.signal == 0 && end.exit_status == static_cast<int>(ExitCode::no_input);
  const std::string why = last_words(words);
  return Error{absent ? ExitCode::no_input : ExitCode::unavailable, absent ? ENOENT : 0, why.empty() ? "cannot get '" + url + "'" : why};
}

}  // namespace

bool is_missing(const Error& error) { return error.sys_errno == ENOENT || error.sys_errno == ENOTDIR; }

MapSettings default_map_settings(const std::string& config_path) {
  const std::filesystem::path dir = std::filesystem::path(absolute_source(config_path)).parent_path();
  MapSettings settings;
  settings.map = (dir / "instance-mapping.xml").string();
  settings.routing = (dir / "routing.xml").string();
  settings.config = config_path;
  return settings;
}

Result<int64_t> parse_refresh(const std::string& text) {
  const auto ms = parse_duration_ms(text);
  auto wrong = [&](const char* why) { return Error{ExitCode::usage, 0, "--refresh '" + text + "': " + why}; };
  if (!ms) return wrong("expected a duration like 30s");
  if (*ms < map_refresh_min_ms) return wrong("Value must be at least 1 second.");
  if (*ms > map_refresh_max_ms) return wrong("Value must be less than 1 day.");
  return *ms;
}

bool is_url(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

std::string absolute_source(const std::string& source) {
  if (source.empty() || is_url(source)) return source;
  std::error_code ignored;
  return std::filesystem::absolute(source, ignored).lexically_normal().string();
}

Result<std::string> read_source(const std::string& source) {
  if (!is_url(source)) return read_xml_file(source, map_bytes_max);
  GW_TRY_ASSIGN(std::string text, fetch_url(source));
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  return text;
}

std::string machine_name(const std::string& root_path) {
  constexpr size_t name_bytes_max = 4096;
  if (auto name = read_xml_file(root_path + "/machine", name_bytes_max); name && !name->empty() && name->front() != '\n')
    return name->substr(0, name->find('\n'));
  char host[256] = {};
  return ::gethostname(host, sizeof host - 1) == 0 && host[0] != '\0' ? host : "localhost";
}

Result<InstanceTable> load_instances(const MapSettings& settings, const std::string& this_machine) {
  auto text = read_source(settings.map);
  if (!text && is_missing(text.error()))
    return Error{ExitCode::no_input, ENOENT, "The specified instance mapping file does not exist. " + text.error().text};
  if (!text) return std::move(text).error();
  return parse_instances(settings, *text, this_machine);
}

Result<InstanceTable> parse_instances(const MapSettings& settings, const std::string& text, const std::string& this_machine) {
  std::vector<MapWarning> warnings;
  auto table = InstanceTable::parse(settings.map, text, this_machine, settings.schema, &warnings);
  if (!table) {
    table.error().text = "An error occurred while reading the endpoint instance mapping (" + settings.map + "):\n" + table.error().text;
    return table;
  }
  tell_map_warnings(settings.map, warnings, true);
  return table;
}

Result<RoutingTable> load_routes(const MapSettings& settings) {
  auto text = read_source(settings.routing);
  if (!text && is_missing(text.error()) && !settings.routing_given) {
    RoutingTable none;
    none.set_path(settings.routing, false);
    return none;
  }
  if (!text) return std::move(text).error();
  return parse_routes(settings, *text);
}

Result<RoutingTable> parse_routes(const MapSettings& settings, const std::string& text) {
  std::vector<MapWarning> warnings;
  auto table = RoutingTable::parse(settings.routing, text, &warnings);
  if (table) tell_map_warnings(settings.routing, warnings, false);
  return table;
}

namespace {

// A file is read again and again: what is odd in it is told once, and again when it was different in between.
bool told_already(const std::string& source, const std::vector<MapWarning>& warnings) {
  static std::mutex mutex;
  static std::map<std::string, std::string> told;
  std::string all;
  for (const MapWarning& warning : warnings) all += std::to_string(warning.line) + ":" + std::to_string(warning.column) + ":" + warning.text + "\n";
  const std::lock_guard guard(mutex);
  std::string& last = told[source];
  if (last == all) return true;
  last = std::move(all);
  return false;
}

}  // namespace

void tell_map_warnings(const std::string& source, const std::vector<MapWarning>& warnings, bool falling_back) {
  if (told_already(source, warnings)) return;
  if (falling_back && !warnings.empty())
    event(Level::warn, "instance-map-relaxed",
          {{"path", source},
           {"reason", "Validation error parsing instance mapping. Falling back on relaxed parsing method. Instance mapping may contain unsupported attributes."}});
  for (const MapWarning& warning : warnings)
    event(Level::warn, falling_back ? "unsupported-attribute" : "no-distribution",
          {{"path", source + ":" + std::to_string(warning.line) + ":" + std::to_string(warning.column)}, {"attribute", warning.attribute}, {"reason", warning.text}});
}

}  // namespace gw
