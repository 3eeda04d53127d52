#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::inspect {

namespace {

// An empty value would look as if the option had not been given.
std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

void one_queue(CLI::App& app, Options& into) { app.add_option("QUEUE", into.queue, "the queue"); }
void many_queues(CLI::App& app, Options& into) { app.add_option("QUEUE", into.queues, "the queues"); }

}  // namespace

void define_create(CLI::App& app, Options& into) {
  many_queues(app, into);
  app.add_flag("--journal", into.journal, "note every put and take of the queue in the journal");
  app.add_option("--max-bytes", into.max_bytes, "refuse puts when the queue holds SIZE [the configuration file's MaxBytes, else no limit]")
      ->type_name("SIZE")->check(not_empty);
}

void define_remove(CLI::App& app, Options& into) {
  one_queue(app, into);
  app.add_flag("--force", into.force, "also a queue that holds messages: they are lost");
}

void define_list(CLI::App& app, Options& into) {
  app.add_option("QUEUE", into.queue, "list this queue's messages; without it, all queues");
  define_selection(app, into.selection);
  app.add_flag("--follow", into.follow, "go on with messages as they arrive");
  define_limits(app, into.limits);
}

void define_show(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
  app.add_flag("--headers", into.headers_only, "only the headers");
  app.add_flag("--body", into.body_only, "only the body, as it is");
}

void define_put(CLI::App& app, Options& into) {
  app.add_option("QUEUE", into.queue, "the queue");
  app.add_flag("--create", into.create, "create the queue if it is not there");
  define_message_options(app, into.message);
}

void define_take(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
  app.add_flag("--wait", into.wait, "if nothing is ready, wait until something is");
  app.add_option("--timeout", into.timeout, "with --wait: give up after T")->type_name("T")->check(not_empty);
  app.add_flag("--follow", into.follow, "go on with messages as they become ready");
  app.add_flag("--lines", into.lines, "end each body with a line feed");
  app.add_flag("-0,--null", into.nul, "end each body with a NUL byte");
  app.add_option("--to-dir", into.to_dir, "write each body to a file in DIR")->type_name("DIR")->check(not_empty);
}

void define_move(CLI::App& app, Options& into) {
  app.add_option("SRC", into.queue, "the queue the messages leave");
  app.add_option("DST", into.target, "the queue they enter");
  define_selection(app, into.selection);
}

void define_purge(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
}

void define_return(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
  ReturnOptions& returning = into.returning;
  app.add_option("--to", returning.to, "return to queue Q instead of the one in which each message failed")->type_name("Q")->check(not_empty);
  app.add_option("--rate", returning.rate, "at most R messages a second, as in 10/s [no limit]")->type_name("R")->check(not_empty);
  app.add_option("--ramp", returning.ramp, "in steps of so many messages, as in 1,5,20,100; then the rest")->type_name("L")->check(not_empty);
  app.add_option("--settle", returning.settle, "wait T after each step to see what comes back [30s with --ramp, else 0]")->type_name("T")->check(not_empty);
  app.add_option("--stop-on-failures", returning.stop_on_failures, "stop when N messages have come back")->type_name("N")->check(not_empty);
}

void define_groups(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
}

void define_edit(CLI::App& app, Options& into) {
  one_queue(app, into);
  define_selection(app, into.selection);
  app.add_option("--exec", into.exec, "CMD gets the body on stdin, its stdout is the new one [VISUAL or EDITOR, with a file]")->type_name("CMD")->check(not_empty);
}

void define_trace(CLI::App& app, Options& into) {
  app.add_option("ID", into.ids, "the message's id; - reads ids from stdin, one a line");
  app.add_flag("--remote", into.remote, "ask the sites that it went to, or came from, as well");
}

void define_hold(CLI::App& app, Options& into) {
  many_queues(app, into);
  app.add_flag("--puts", into.puts, "stop puts instead of takes");
  app.add_option("--reason", into.reason, "told to whoever is refused")->type_name("T")->check(not_empty);
}

void define_release(CLI::App& app, Options& into) { many_queues(app, into); }

void define_wait(CLI::App& app, Options& into) {
  one_queue(app, into);
  app.add_option("--for", into.condition, "empty, count=N, id=ID, gone=ID or quiet=T")->type_name("COND")->check(not_empty);
  app.add_option("--timeout", into.timeout, "give up after T [never]")->type_name("T")->check(not_empty);
}

void define_export(CLI::App& app, Options& into) {
  app.add_option("QUEUE", into.queue, "the queue; without it, all queues");
  define_selection(app, into.selection);
}

void define_import(CLI::App& app, Options& into) {
  app.add_option("QUEUE", into.queue, "put all messages into this queue; without it, each into its own");
  app.add_flag("--create", into.create, "create queues that are not there");
}

void define_watch(CLI::App& app, Options& into) {
  app.add_option("--interval", into.interval, "look every T, at least 200ms [1s]")->type_name("T")->check(not_empty);
}

void define_check(CLI::App& app, Options& into) {
  app.add_flag("--repair", into.repair, "set corrupt records aside, remove what belongs to nobody");
}

}  // namespace gw::inspect
