#include "options.hpp"

#include <CLI/CLI.hpp>

#include "listen.hpp"
#include "units.hpp"

namespace gw::listen {

Tool make_tool() {
  static Options options;
  Tool tool;
  tool.name = "gw-listen";
  tool.summary = "receive messages over HTTP into an endpoint's queue, each exactly once";
  tool.examples =
      "  gw-listen --endpoint Store17 --channel http://+:8080/Store17/\n"
      "  gw-listen --endpoint Store17 --channel http://127.0.0.1:0/Store17/ --max-body 64M\n"
      "  gw-listen --endpoint HQ --channel https://+:8443/HQ/ --tls-cert hq.pem --tls-key hq.key\n"
      "  gw-listen --endpoint Store17 --channel /media/stick/to-store17,file\n"
      "  gw-listen --machine vm2 --allow-queue Sales --channel http://+:7000/machine/\n"
      "  gw-listen --config /etc/gatepost/config.xml\n";
  Command command;
  command.usage = "{--endpoint E | --machine NAME [--allow-queue Q]...} --channel URL[,TYPE]...";
  command.summary = tool.summary;
  command.examples = tool.examples;
  command.define = [](CLI::App& app) {
    app.add_option("--endpoint", options.endpoint, "the queue that messages enter [the configuration's Endpoint]")->type_name("E");
    app.add_option("--channel", options.channels, "an address to listen on, http://HOST:PORT/PATH/ (+ and * as host: all addresses), or what its type wants; may be given again")
        ->type_name("URL[,TYPE]");
    app.add_option("--max-body", options.max_body, "refuse larger bodies with 413 [no limit]")->type_name("SIZE");
    app.add_option("--min-free", options.min_free, "refuse messages when less space is free [256M, or a 16th of a small disk]")->type_name("SIZE");
    app.add_option("--reply-to-uri", options.reply_to_uri, "the address that other sites send replies to [the default channel's]")->type_name("U");
    app.add_flag("--web-clients", options.web_clients, "accept messages in query strings and callbacks, from any page in a browser");
    app.add_option("--tls-cert", options.tls_cert, "the certificate of https channels, its chain behind it (PEM)")->type_name("F");
    app.add_option("--tls-key", options.tls_key, "its private key (PEM, mode 0400, 0440 or 0600)")->type_name("F");
    app.add_option("--tls-client-ca", options.tls_client_ca, "demand a client certificate that this CA has signed")->type_name("F");
    app.add_option("--tls-ciphers", options.tls_ciphers, "only these ciphers, as openssl-ciphers(1) names them")->type_name("LIST");
    app.add_option("--token-file", options.token_file, "demand one of the tokens in this private file, one a line")->type_name("F");
    app.add_option("--allow-endpoint", options.allow_endpoints, "accept only this OriginatingEndpoint; may be given again [all]")
        ->type_name("E");
    app.add_option("--machine", options.machine, "accept messages of other machines for queues of this one, which is called NAME there; needs no --endpoint")
        ->type_name("NAME");
    app.add_option("--allow-queue", options.allow_queues, "with --machine: accept messages for this queue (a name or a shell pattern); may be given again [all but outboxes]")
        ->type_name("Q");
    app.add_option("--admin", options.admin, "answer /metrics (for Prometheus) and /healthz at this address, which no message comes in by")
        ->type_name("HOST:PORT");
  };
  command.run = [](const CommonOptions& common) { return run_listener(common, options); };
  tool.commands.push_back(std::move(command));
  return tool;
}

}  // namespace gw::listen
