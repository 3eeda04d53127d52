#include "page.hpp"
#include "units.hpp"

namespace gw::inspect {

Page not_found_page(std::string_view what) {
  Page page{404, "Not found", {}};
  page.body.tag("<h1>Not found</h1><p>").text(what).tag("</p><p><a href=\"/\">All queues</a></p>");
  return page;
}

std::string document(const View& view, const Page& page) {
  const Overview& now = view.now;
  Html out;
  out.tag("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
  out.text(page.title).tag(" · Gatepost ").text(now.machine).tag("</title>\n");
  out.tag("<link rel=\"stylesheet\" href=\"/style.css\">\n<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\n"
          "<script src=\"/live.js\" defer></script>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n");
  out.tag("<header>\n<a class=\"brand\" href=\"/\">Gatepost</a>\n<p class=\"where\"><span>machine <b>").text(now.machine).tag("</b></span> <span>root <b>");
  out.text(now.root).tag("</b></span> <span>free <b>").text(size_text(now.free_bytes)).tag("</b></span></p>\n");
  out.tag("<p class=\"clock\">as of <time datetime=\"").text(format_rfc3339(now.at_ms)).tag("\" id=\"as-of\">").text(format_rfc3339(now.at_ms).substr(11, 8));
  out.tag("</time> UTC <span id=\"live\" role=\"status\"></span></p>\n</header>\n<main id=\"main\" tabindex=\"-1\">\n");
  if (!now.config_error.empty())
    out.tag("<p class=\"notice bad\">The configuration cannot be used; sites are those of an older one: ").text(now.config_error).tag("</p>\n");
  for (const std::string& why : now.unreadable) out.tag("<p class=\"notice bad\">").text(why).tag("</p>\n");
  out.add(page.body).tag("\n</main>\n<footer>Read-only. Commands are to be copied into a shell on <b>").text(now.machine).tag("</b>.</footer>\n</body>\n</html>\n");
  return out.str();
}

}  // namespace gw::inspect
