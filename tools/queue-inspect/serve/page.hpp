// Pages: what is on them, and the parts that they share.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "html.hpp"
#include "overview.hpp"
#include "story.hpp"

namespace gw::inspect {

/// Stories of messages. What took long to find out is told again for a while: pages renew themselves every two seconds.
class Stories {
 public:
  explicit Stories(Root& root) : root_(root) {}
  std::shared_ptr<const Result<Story>> tell(const std::string& id);

 private:
  struct Told {
    std::shared_ptr<const Result<Story>> story;
    int64_t good_until_ms = 0;  // monotonic
  };
  Root& root_;
  std::map<std::string, Told> told_;
};

/// What pages are made of.
struct View {
  const Overview& now;
  Root& root;
  Stories& stories;
  std::string root_words;  ///< " --root DIR" for commands, "" for the default root
  size_t samples;          ///< points that fill a picture
  int64_t sample_every_ms;
};

using Query = std::map<std::string, std::string>;

struct Page {
  int status = 200;
  std::string title;
  Html body;
};

Page overview_page(const View& view);
Page queue_page(const View& view, const std::string& name, const Query& query);
Page message_page(const View& view, const std::string& queue, const std::string& seq);
/// The story of a message by its id.
Page trace_page(const View& view, const std::string& id);
Page not_found_page(std::string_view what);
/// The whole document.
std::string document(const View& view, const Page& page);

// --- parts ------------------------------------------------------------------------------------------------------------------

/// A table that becomes a list of cards on a narrow screen.
class TableOf {
 public:
  struct Column {
    Markup title, css_class;
  };
  TableOf(Html& into, std::string_view caption, std::vector<Column> columns);
  ~TableOf();
  TableOf(const TableOf&) = delete;
  TableOf& operator=(const TableOf&) = delete;
  void row();
  void cell(const Html& content);

 private:
  Html& into_;
  std::vector<Column> columns_;
  size_t at_ = 0;
  bool in_row_ = false;
};

/// One command to copy. `words` begins with the tool; the root is added. `effect`: what it does, in a few words.
struct CommandLine {
  std::string effect, words;
};
void commands(Html& into, const View& view, const std::vector<CommandLine>& lines);

/// Pairs of a name and a value.
class Facts {
 public:
  explicit Facts(Html& into) : into_(into) { into_.tag("<dl class=\"facts\">"); }
  ~Facts() { into_.tag("</dl>"); }
  Facts(const Facts&) = delete;
  Facts& operator=(const Facts&) = delete;
  void add(Markup name, const Html& value);
  void add(Markup name, std::string_view value) { add(name, Html().text(value)); }

 private:
  Html& into_;
};

Html text(std::string_view value);
/// `576 B`, `11.4M`.
std::string size_text(uint64_t bytes);
/// `5m`, with the time as its title; `-` for 0.
Html age(int64_t at_ms, int64_t now_ms);
/// A point in time that may lie ahead.
Html moment(int64_t at_ms);
Html queue_link(std::string_view queue);
Html message_link(std::string_view queue, uint64_t seq, std::string_view shown);
std::string per_second(double rate);
/// What comes in and goes out, and how old the oldest message was, in the last minutes.
Html rates_picture(const View& view, const QueueView& queue);
Html ages_picture(const View& view, const QueueView& queue);
Html counts_picture(const View& view, const QueueView& queue);
/// What happened to a message, as `queue-inspect trace` tells it.
void story_of(Html& into, const View& view, const std::string& id);
/// Failed messages by kind; of one queue, or of all (then with the queue's name).
void failures_table(Html& into, const View& view, const std::vector<FailureView>& failures, bool with_queue);

}  // namespace gw::inspect
