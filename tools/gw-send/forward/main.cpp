// gw-forward, the half of gw-send that talks HTTP. It is a program of its own because loading libcurl takes longer than
// storing a message. `gw-send forward` becomes this program; it parses the same words again.
#include "fetch.hpp"
#include "forward_options.hpp"
#include "forwarder.hpp"
#include "probe.hpp"
#include "tool.hpp"

using namespace gw;

namespace {

ForwardOptions options;
ProbeOptions probe_options;
std::string fetch_url;

ForwardJob::Mode mode_of(const ForwardOptions& chosen) {
  if (chosen.listed) return ForwardJob::Mode::listed;
  if (chosen.once) return ForwardJob::Mode::once;
  return chosen.drain ? ForwardJob::Mode::drain : ForwardJob::Mode::daemon;
}

Result<ExitCode> forward(const CommonOptions& common) {
  if (options.once && options.drain) return Error{ExitCode::usage, 0, "--once and --drain exclude each other"};
  ForwardJob job;
  job.mode = mode_of(options);
  job.config_path = common.config;
  job.config_must_exist = common.config_given;
  job.options = options;
  GW_TRY_ASSIGN(auto root, open_root(common, true));
  return run_forwarder(*root, std::move(job));
}

}  // namespace

int main(int argc, char** argv) {
  Tool tool;
  tool.name = "gw-send";
  tool.summary = "send messages to other sites";
  Command command;
  command.name = "forward";
  command.usage = forward_usage;
  command.summary = "carry stored messages to their sites";
  command.examples = forward_examples;
  command.define = [](CLI::App& app) { define_forward_options(app, options); };
  command.run = forward;
  Command probe;
  probe.name = "probe";
  probe.usage = probe_usage;
  probe.summary = "show what arrives at a site";
  probe.examples = probe_examples;
  probe.define = [](CLI::App& app) { define_probe_options(app, probe_options); };
  probe.run = [](const CommonOptions& common) { return probe_sites(probe_options, common); };
  Command get;  // for instance-map, not for people
  get.name = "fetch";
  get.usage = "fetch URL";
  get.summary = "write what is there to standard output";
  get.examples = "  gw-forward fetch http://config.example/instance-mapping.xml\n";
  get.define = [](CLI::App& app) { define_fetch_options(app, fetch_url); };
  get.run = [](const CommonOptions&) { return fetch(fetch_url); };
  tool.commands = {std::move(command), std::move(probe), std::move(get)};
  return tool_main(argc, argv, tool);
}
