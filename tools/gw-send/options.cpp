#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw {
namespace {

/// An empty variable of a script must not mean "do not wait".
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

void define_sites(CLI::App& app, std::string& to, std::vector<std::string>& sites, const char* text) {
  app.add_option("--to", to, text)->join()->type_name("SITES");
  app.add_option("--site", sites, "a site beside those of the configuration; may be repeated")->type_name("KEY=URL[,TYPE]");
}

}  // namespace

void define_send_options(CLI::App& app, SendOptions& into) {
  define_sites(app, into.to, into.sites, "where to: keys, shell patterns and groups of sites, comma-separated; may be repeated");
  app.add_option("--endpoint", into.endpoint, "the name of this endpoint (header OriginatingEndpoint)")->type_name("E");
  app.add_option("--wait", into.wait, "come back when every site has the message; forwards it if nobody else does")->type_name("delivered")->check(not_empty);
  app.add_option("--timeout", into.timeout, "with --wait: longest wait [none]")->type_name("T")->check(not_empty);
  define_tls_options(app, into.cacert, into.cert, into.key);
  define_message_options(app, into.message);
}

void define_reply_options(CLI::App& app, ReplyOptions& into) {
  app.add_option("--of", into.of, "the message that is answered: its id, and the queue it lies in [the handler's]")->type_name("ID:QUEUE");
  app.add_option("--endpoint", into.endpoint, "the name of this endpoint (headers OriginatingEndpoint, ReplyToAddress)")->type_name("E");
  define_message_options(app, into.message);
}

void define_wait_options(CLI::App& app, WaitOptions& into) {
  app.add_option("--for", into.wanted, "what to wait for [delivered]")->type_name("delivered");
  define_sites(app, into.to, into.sites, "only at these sites (keys, patterns, groups)");
  app.add_option("--timeout", into.timeout, "longest wait; 0: only look [none]")->type_name("T")->check(not_empty);
  app.add_option("ID", into.ids, "ids as gw-send printed them");
}

void define_status_options(CLI::App& app, StatusOptions& into) {
  define_sites(app, into.to, into.sites, "only these sites (keys, patterns, groups) and machines (@NAME)");
  app.add_option("--max-count", into.max_count, "print only sites with more than N messages waiting")->type_name("N");
  app.add_option("--max-age", into.max_age, "print only sites with messages that wait longer than T")->type_name("T");
  app.add_option("--min-free", into.min_free, "print the free space if it is less than SIZE")->type_name("SIZE");
}

void define_flush_options(CLI::App& app, FlushOptions& into) {
  define_sites(app, into.to, into.sites, "only these sites (keys, patterns, groups) and machines (@NAME)");
  app.add_option("ID", into.ids, "only these messages");
}

}  // namespace gw
