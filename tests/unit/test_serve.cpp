#include <doctest/doctest.h>

#include <limits>

#include "tools/queue-inspect/serve/html.hpp"
#include "tools/queue-inspect/serve/picture.hpp"
#include "tools/queue-inspect/serve/site.hpp"

using namespace gw;
using namespace gw::inspect;

TEST_CASE("html: what messages carry is text") {
  const auto shown = [](std::string_view bytes) { return Html().text(bytes).str(); };
  CHECK(shown("<a href=\"x\">'&'</a>") == "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
  CHECK(shown("grün 日本 🙂\n\t") == "grün 日本 🙂\n\t");
  CHECK(shown("a\r\nb\rc") == "a\nb\xef\xbf\xbd" "c");
  CHECK(shown(std::string_view("\0\x1b\x7f", 3)) == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(shown("\xc2\x9b") == "\xef\xbf\xbd");          // a control of eight bits
  CHECK(shown("\xe2\x80\xae") == "\xef\xbf\xbd");      // right to left from here
  CHECK(shown("\xe2\x80\x8b") == "\xef\xbf\xbd");      // nothing to be seen
  CHECK(shown("\xef\xbb\xbf") == "\xef\xbf\xbd");
  SUBCASE("what is not UTF-8") {
    for (const char* bad : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x82", "\xc3", "\xf0\x80\x80\x80"}) {
      const std::string html = shown(bad);
      CAPTURE(html);
      CHECK(html.find_first_not_of("\xef\xbf\xbd") == std::string::npos);
    }
    CHECK(shown("\xc3<") == "\xef\xbf\xbd&lt;");  // a cut character does not swallow what follows
  }
}

TEST_CASE("html: numbers, addresses and words for the shell") {
  CHECK(Html().number(0u).str() == "0");
  CHECK(Html().number(999u).str() == "999");
  CHECK(Html().number(1234567u).str() == "1,234,567");
  CHECK(url_part("a b/c?d=\"<>%ä") == "a%20b%2Fc%3Fd%3D%22%3C%3E%25%C3%A4");
  CHECK(shell_word("Sales:17") == "Sales:17");
  CHECK(shell_word("") == "''");
  CHECK(shell_word("a b; rm -rf *") == "'a b; rm -rf *'");
  CHECK(shell_word("it's") == "'it'\\''s'");
  CHECK(shell_word("$(x)`y`") == "'$(x)`y`'");
}

TEST_CASE("pages: paths and queries") {
  REQUIRE(path_parts("/"));
  CHECK(path_parts("/")->empty());
  CHECK(*path_parts("/message/a%2Fb/1") == std::vector<std::string>{"message", "a/b", "1"});
  CHECK(*path_parts("/a+b/") == std::vector<std::string>{"a+b"});
  for (const char* bad : {"", "x", "/%", "/%4", "/%zz", "/a%00b"}) CHECK_FALSE(path_parts(bad));
  CHECK(query_of("a=1&b=x+y%26&c&=d&bad=%zz") == Query{{"a", "1"}, {"b", "x y&"}, {"c", ""}, {"", "d"}});
  CHECK(query_of("").empty());
}

TEST_CASE("pictures: lines from left to right on one scale") {
  CHECK(picture({{"age", {}}}, 10, "").empty());
  CHECK(picture({{"age", {1}}}, 10, "").empty());
  const std::string drawn = picture({{"in", {0, 5, 10}}, {"out", {10, 0, 0}}}, 3, "a \"b\"").str();
  CHECK(drawn.find("aria-label=\"a &quot;b&quot;\"") != std::string::npos);
  CHECK(drawn.find("class=\"in\" vector-effect=\"non-scaling-stroke\" points=\"0.0,22.0 60.0,12.0 120.0,2.0 \"") != std::string::npos);
  CHECK(drawn.find("points=\"0.0,2.0 60.0,22.0 120.0,22.0 \"") != std::string::npos);
  // Nothing but numbers comes out of what is none.
  const std::string flat = picture({{"age", {0, std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN(), -1}}}, 4, "").str();
  CHECK(flat.find("points=\"0.0,22.0 40.0,22.0 80.0,22.0 120.0,22.0 \"") != std::string::npos);
}
