#include <charconv>

#include "databus.hpp"
#include "json.hpp"
#include "page.hpp"
#include "selection.hpp"
#include "units.hpp"

namespace gw::inspect {
namespace {

constexpr size_t shown_bytes_max = 64 * 1024, dumped_bytes_max = 1024;

bool looks_like_text(std::string_view bytes) {
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\t' && c != '\n' && c != '\r') || byte == 0x7f) return false;
  }
  // The end may be in the middle of a character.
  for (size_t cut = 0; cut < 4 && cut <= bytes.size(); ++cut)
    if (utf8_ok(bytes.substr(0, bytes.size() - cut))) return true;
  return false;
}

std::string dump(std::string_view bytes) {
  std::string out;
  char part[24];
  for (size_t line = 0; line < bytes.size(); line += 16) {
    snprintf(part, sizeof part, "%06zx ", line);
    out += part;
    std::string shown;
    for (size_t i = line; i < line + 16; ++i) {
      if (i >= bytes.size()) {
        out += "   ";
        continue;
      }
      const auto byte = static_cast<unsigned char>(bytes[i]);
      snprintf(part, sizeof part, " %02x", byte);
      out += part;
      shown += byte >= 0x20 && byte < 0x7f ? bytes[i] : '.';
    }
    out += "  " + shown + "\n";
  }
  return out;
}

void body_of(Html& into, const Body& body) {
  into.tag("<section aria-labelledby=\"body\"><h2 id=\"body\">Body <small>").text(size_text(body.size())).tag("</small></h2>");
  auto read = body.read_at(0, shown_bytes_max);
  if (!read) {
    into.tag("<p class=\"notice bad\">").text(read.error().text).tag("</p>");
  } else if (body.size() == 0) {
    into.tag("<p class=\"quiet\">The body is empty.</p>");
  } else if (looks_like_text(*read)) {
    into.tag("<pre class=\"body\" tabindex=\"0\">").text(*read).tag("</pre>");
    if (body.size() > read->size()) into.tag("<p class=\"quiet\">These are its first ").text(size_text(read->size())).tag(".</p>");
  } else {
    into.tag("<pre class=\"body\" tabindex=\"0\">").text(dump(std::string_view(*read).substr(0, dumped_bytes_max))).tag("</pre>");
    if (body.size() > dumped_bytes_max) into.tag("<p class=\"quiet\">These are its first ").text(size_text(dumped_bytes_max)).tag(".</p>");
  }
  into.tag("</section>");
}

void facts_of(Html& into, const View& view, const std::string& queue, const MessageInfo& info, const Message& message) {
  Facts facts(into);
  facts.add("Queue", queue_link(queue));
  facts.add("Number", ":" + std::to_string(info.seq));
  facts.add("State", to_string(info.state));
  if (const std::string type = message_type(message.headers); !type.empty()) facts.add("Type", type);
  facts.add("Stored", moment(info.put_at_ms));
  facts.add("Age", age(info.put_at_ms, view.now.at_ms));
  if (info.state == MessageState::deferred) facts.add("Due", moment(info.due_at_ms));
  if (info.expires_at_ms != 0) facts.add("Expires", moment(info.expires_at_ms));
  facts.add("Failed attempts", std::to_string(info.failures));
  if (info.owner_pid != 0) facts.add("Held by process", std::to_string(info.owner_pid));
}

void failure_of(Html& into, const Headers& headers) {
  const std::string* reason = headers.find(header::exception_message);
  if (!reason) return;
  into.tag("<section aria-labelledby=\"why\"><h2 id=\"why\">Why it failed</h2><p class=\"notice bad\">").text(*reason).tag("</p>");
  Facts facts(into);
  if (const std::string* from = headers.find(header::failed_q)) facts.add("In", *from);
  if (const std::string* at = headers.find(header::time_of_failure)) facts.add("At", *at);
  if (const std::string* what = headers.find(header::exception_type)) facts.add("What", *what);
}

std::vector<CommandLine> message_commands(const std::string& queue, uint64_t seq, const Message& message) {
  const std::string one = shell_word(queue) + " :" + std::to_string(seq);
  std::vector<CommandLine> lines;
  if (message.headers.find(header::failed_q)) {
    lines.push_back({"Back to where it failed", "queue-inspect return " + one});
    lines.push_back({"Change its body, then return it", "queue-inspect edit " + one});
  }
  if (message_id_ok(message.id())) lines.push_back({"Its story", "queue-inspect trace " + shell_word(message.id())});
  lines.push_back({"Show it", "queue-inspect show " + one});
  lines.push_back({"Its body into a file", "queue-inspect show " + one + " --body > body"});
  lines.push_back({"To another queue", "queue-inspect move " + shell_word(queue) + " OTHER :" + std::to_string(seq)});
  lines.push_back({"Remove for good", "queue-inspect purge " + one});
  return lines;
}

void attachments(Html& into, const View& view, const Headers& headers) {
  const auto all = attachments_of(headers, view.root.path());
  if (all.empty()) return;
  into.tag("<section aria-labelledby=\"attached\"><h2 id=\"attached\">Data bus properties</h2>");
  {
    TableOf table(into, "Data bus properties", {{"Key", "name"}, {"Size", "number"}, {"File", "wide"}});
    for (const Attachment& one : all) {
      table.row();
      table.cell(text(one.name));
      table.cell(one.bytes ? text(size_text(*one.bytes)) : Html().tag("<span class=\"badge bad\">gone</span>"));
      table.cell(Html().tag("<code>").text(one.path).tag("</code>"));
    }
  }
  into.tag("</section>");
}

}  // namespace

Page message_page(const View& view, const std::string& queue_name, const std::string& number) {
  uint64_t seq = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), seq);
  auto queue = view.root.queue(queue_name);
  if (!queue || error != std::errc() || end != number.data() + number.size()) return not_found_page("There is no such queue here.");
  auto read = queue->read(seq);
  if (!read) {
    Page page{200, ":" + number, {}};
    page.body.tag("<h1>:").text(number).tag("</h1><p class=\"notice bad\">The message cannot be read: ").text(read.error().text).tag("</p>");
    return page;
  }
  if (!*read) return not_found_page("Message :" + number + " is not in queue '" + queue_name + "' any more.");
  const auto& [info, message] = **read;
  Page page{200, message.id(), {}};
  Html& body = page.body;
  body.tag("<nav class=\"path\" aria-label=\"Where you are\"><a href=\"/\">All queues</a> › ").add(queue_link(queue_name)).tag("</nav>");
  body.tag("<h1 class=\"id\">").text(message.id()).tag("</h1>");
  facts_of(body, view, queue_name, info, message);
  if (message.headers.find(header::exception_message)) {
    failure_of(body, message.headers);
    body.tag("</section>");
  }
  story_of(body, view, message.id());
  body.tag("<section aria-labelledby=\"do\"><h2 id=\"do\">Commands</h2>");
  commands(body, view, message_commands(queue_name, seq, message));
  body.tag("</section>");
  body_of(body, message.body);
  attachments(body, view, message.headers);
  body.tag("<section aria-labelledby=\"headers\"><h2 id=\"headers\">Headers</h2>");
  {
    TableOf table(body, "Headers", {{"Name", "name"}, {"Value", "wide value"}});
    for (const auto& [name, value] : message.headers.entries()) {
      table.row();
      table.cell(text(name));
      table.cell(text(value));
    }
  }
  body.tag("</section>");
  return page;
}

}  // namespace gw::inspect
