// Speed of the instance map: loading a large one, resolving, sending by it.
//
//   map_bench DIR BUILD [ROUNDS]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "queue.hpp"
#include "sender_map.hpp"

namespace {

using Clock = std::chrono::steady_clock;
constexpr int endpoints = 100, instances_each = 100;

double ms_since(Clock::time_point begin) { return std::chrono::duration<double, std::milli>(Clock::now() - begin).count(); }

double median(int rounds, const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < rounds; ++i) values.push_back(measure());
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

[[noreturn]] void die(const std::string& text) {
  std::fprintf(stderr, "map_bench: %s\n", text.c_str());
  std::exit(2);
}

// 10,000 instances in a megabyte.
std::string large_map() {
  std::string text = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<endpoints>\n";
  for (int e = 0; e < endpoints; ++e) {
    const std::string name = "Company.Department.Service" + std::to_string(e);
    text += "  <endpoint name=\"" + name + "\">\n";
    for (int i = 0; i < instances_each; ++i)
      text += "    <instance discriminator=\"" + std::to_string(i) + "\" machine=\"machine-" + std::to_string(i) + ".example\" queue=\"" + name + ".input\"/>\n";
    text += "  </endpoint>\n";
  }
  return text + "</endpoints>\n";
}

void row(const char* what, double value, const char* unit, double goal, bool at_most) {
  char goal_text[32] = "";
  if (goal > 0) std::snprintf(goal_text, sizeof goal_text, "%s%g %s", at_most ? "<=" : ">=", goal, (at_most ? value <= goal : value >= goal) ? "ok" : "NO");
  std::printf("%-46s %10.2f %-10s %s\n", what, value, unit, goal_text);
  std::fflush(stdout);
}

double shell_seconds(const std::string& command) {
  const auto begin = Clock::now();
  if (std::system(command.c_str()) != 0) die("failed: " + command);
  return ms_since(begin) / 1000;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) die("usage: map_bench DIR BUILD [ROUNDS]");
  const std::string dir = argv[1], bin = std::string(argv[2]) + "/bin/";
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
  const std::string path = dir + "/instance-mapping.xml", text = large_map();
  std::ofstream(path) << text;
  std::printf("map of %d instances, %.2f MB\n", endpoints * instances_each, static_cast<double>(text.size()) / 1e6);

  gw::MapSettings settings;
  settings.map = path;
  settings.map_given = true;
  settings.routing = dir + "/routing.xml";
  row("load: read, check, parse", median(rounds, [&] {
        const auto begin = Clock::now();
        auto table = gw::load_instances(settings, "here");
        if (!table) die(table.error().text);
        return ms_since(begin);
      }),
      "ms", 100, true);

  gw::RootOptions options;
  options.create = true;
  options.min_free_bytes = 1 << 20;
  auto root = gw::Root::open(dir + "/map-root", options);
  if (!root) die(root.error().text);
  row("load as a sender, with the last good one kept", median(rounds, [&] {
        const auto begin = Clock::now();
        auto map = gw::SenderMap::open(**root, settings);
        if (!map) die(map.error().text);
        return ms_since(begin);
      }),
      "ms", 100, true);

  auto table = gw::load_instances(settings, "here");
  std::vector<std::string> names;
  for (const auto& endpoint : table->endpoints()) names.push_back(endpoint.name);
  constexpr int lookups = 2'000'000;
  size_t found = 0;
  const double ms = median(rounds, [&] {
    const auto begin = Clock::now();
    for (int i = 0; i < lookups; ++i) found += table->find(names[static_cast<size_t>(i) % names.size()])->size();
    return ms_since(begin);
  });
  if (found == 0) die("nothing was found");
  row("resolve", ms * 1e6 / lookups, "ns", 1000, true);

  if (std::system((bin + "instance-map send --help >/dev/null 2>&1").c_str()) == 0) {
    const std::string at = " --root " + dir + "/map-root --config " + dir + "/config.xml";
    std::ofstream(dir + "/config.xml") << "<gatepost/>";
    std::ofstream(settings.routing) << "<routing><route type=\"T\" endpoint=\"Local\"/></routing>";
    constexpr int lines = 100'000;
    if (std::system(("seq " + std::to_string(lines) + " >" + dir + "/lines && " + bin + "queue-inspect create Local Plain" + at).c_str()) != 0) die("cannot prepare");
    const std::string from = " <" + dir + "/lines 2>/dev/null >/dev/null";
    std::vector<double> plain, by_map;
    for (int i = 0; i < rounds; ++i) {
      plain.push_back(shell_seconds(bin + "queue-inspect put Plain --type T --lines -q" + at + from));
      by_map.push_back(shell_seconds(bin + "instance-map send --type T --lines -q" + at + " --map " + path + from));
    }
    std::sort(plain.begin(), plain.end());
    std::sort(by_map.begin(), by_map.end());
    const double ours = by_map[by_map.size() / 2], floor = plain[plain.size() / 2];
    row("send --lines, lines per second", lines / ours, "/s", 0, false);
    row("  the same for queue-inspect put --lines", lines / floor, "/s", 0, false);
    row("  ratio", floor / ours, "", 0.8, false);
  }
  return 0;
}
