#include "options.hpp"

#include <CLI/CLI.hpp>

namespace gw::dedup {

void define_plain(CLI::App& app, Options& into) {
  app.add_option("--endpoint", into.endpoint, "whose ids: the store's name [the configuration's Endpoint]")->type_name("E");
}

void define_ids(CLI::App& app, Options& into) {
  define_plain(app, into);
  app.add_option("ID", into.ids, "the message ids");
}

void define_filter(CLI::App& app, Options& into) {
  define_plain(app, into);
  app.add_option("--key-field", into.key_field, "the key is the Nth field, between TABs, in lines without TAB between blanks [the line]")
      ->type_name("N")
      ->check(CLI::Range(1u, 1000000u));
}

void define_purge(CLI::App& app, Options& into) {
  define_plain(app, into);
  app.add_option("--older-than", into.older_than, "forget ids that were seen before this time ago")->type_name("T");
  app.add_flag("--yes", into.yes, "also if the clock has jumped: it is right");
}

void define_check(CLI::App& app, Options& into) {
  define_plain(app, into);
  app.add_flag("--repair", into.repair, "rebuild indexes, or the store from what is readable");
}

}  // namespace gw::dedup
