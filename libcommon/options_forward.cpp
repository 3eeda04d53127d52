#include <CLI/CLI.hpp>

#include "forward_options.hpp"

namespace gw {

const char forward_usage[] = "forward [--once | --drain] [--to SITES] [OPTION]...";
const char forward_examples[] =
    "  gw-send forward                                        # keep forwarding until told to stop\n"
    "  gw-send forward --drain --outages wait                 # until nothing is left\n"
    "  gw-send forward --once --site Store1=http://store1:8080/Store1/\n";

const char probe_usage[] = "probe --to SITES [--header N=V]... [--size SIZE] [OPTION]...";
const char probe_examples[] =
    "  gw-send probe --to Store1\n"
    "  gw-send probe --to 'Store*' --size 20M --json\n";

void define_tls_options(CLI::App& app, std::string& cacert, std::string& cert, std::string& key) {
  app.add_option("--cacert", cacert, "the CA of https sites without their own CaFile (PEM) [the system's]")->type_name("F");
  app.add_option("--cert", cert, "the certificate to show to https sites without their own ClientCert (PEM)")->type_name("F");
  app.add_option("--key", key, "its private key (PEM, mode 0400, 0440 or 0600)")->type_name("F");
}

void define_probe_options(CLI::App& app, ProbeOptions& into) {
  app.add_option("--to", into.to, "the sites to ask (keys, patterns, groups) and machines (@NAME)")->join()->type_name("SITES");
  app.add_option("--site", into.sites, "a site beside those of the configuration; may be repeated")->type_name("KEY=URL[,TYPE]");
  app.add_option("--header", into.headers, "a header of yours to send along; may be repeated")->type_name("N=V");
  app.add_option("--size", into.size, "bytes of body to send along: shows limits of proxies [64K]")->type_name("SIZE");
  app.add_option("--endpoint", into.endpoint, "the name of this endpoint (header OriginatingEndpoint)")->type_name("E");
  app.add_option("--connect-timeout", into.connect_timeout, "longest wait for a connection [10s]")->type_name("T");
  app.add_option("--answer-timeout", into.answer_timeout, "longest wait for progress and for the answer [100s]")->type_name("T");
  define_tls_options(app, into.cacert, into.cert, into.key);
}

void define_fetch_options(CLI::App& app, std::string& url) { app.add_option("URL", url, "http:// or https://"); }

void define_forward_options(CLI::App& app, ForwardOptions& into) {
  app.add_flag("--once", into.once, "one attempt for everything that is due now, then end");
  app.add_flag("--drain", into.drain, "end when nothing is left");
  app.add_option("--to", into.to, "only these sites (keys, patterns, groups) and machines (@NAME)")->join()->type_name("SITES");
  app.add_option("--site", into.sites, "a site beside those of the configuration; may be repeated")->type_name("KEY=URL[,TYPE]");
  app.add_option("--endpoint", into.endpoint, "the name of this endpoint in failure headers")->type_name("E");
  app.add_option("--reply-to-uri", into.reply_to_uri, "where other sites send replies [the default channel's address]")->type_name("U");
  app.add_option("--retries", into.retries, "attempts after the first one [4]")->type_name("N");
  app.add_option("--retry-increment", into.retry_increment, "retry n comes n x T after the failure [60s]")->type_name("T");
  app.add_option("--retry-policy", into.retry_policy, "a program that says when to try again, or 'stop'")->type_name("COMMAND");
  app.add_option("--outages", into.outages, "whether the outage of a site uses up attempts [count]")->type_name("count|wait");
  app.add_option("--give-up-after", into.give_up_after, "with --outages wait: no attempts for older messages [5d]")->type_name("T");
  app.add_option("--probe-interval", into.probe_interval, "with --outages wait: first pause before a dead site is tried again [60s]")
      ->type_name("T");
  app.add_option("--error-queue", into.error_queue, "where messages go whose attempts are used up, here or at Q@MACHINE [error]")->type_name("Q");
  app.add_option("--max-transfers", into.max_transfers, "requests at once, all sites together [256]")->type_name("N");
  app.add_option("--rate", into.rate, "at most so many bytes of bodies a second")->type_name("SIZE/s");
  app.add_option("--connect-timeout", into.connect_timeout, "longest wait for a connection [10s]")->type_name("T");
  app.add_option("--answer-timeout", into.answer_timeout, "longest wait for progress and for the answer [100s]")->type_name("T");
  define_tls_options(app, into.cacert, into.cert, into.key);
  app.add_flag("--listed", into.listed)->group("");
}

}  // namespace gw
