#include <doctest/doctest.h>

#include <climits>

#include "json.hpp"

using namespace gw;

TEST_CASE("json: an object in the order of its members") {
  JsonObject object;
  object.add("id", "a\"b\\c\n\t\x01").add("n", 5).add("big", UINT64_MAX).add("minus", int64_t{-3}).add("yes", true).add("half", 0.5);
  object.add("list", std::vector<std::string>{"x", "y"}).add_raw("raw", "{}").add_time("at", 1795298403412).add_time("never", 0);
  CHECK(object.str() ==
        R"({"id":"a\"b\\c\n\t\u0001","n":5,"big":18446744073709551615,"minus":-3,"yes":true,"half":0.5,"list":["x","y"],"raw":{},"at":"2026-11-21T22:00:03.412Z"})");
  CHECK(JsonObject().str() == "{}");
}

TEST_CASE("numbers that are not whole have six places at most") {
  JsonObject object;
  object.add("mean", 0.1 + 0.2).add("tiny", 1e-9).add("minus", -1e-9).add("third", 1.0 / 3).add("whole", 3.0).add("large", 1.5e12).add("huge", 1e300).add("none", 0.0 / 0.0);
  CHECK(object.str() == R"({"mean":0.3,"tiny":0,"minus":0,"third":0.333333,"whole":3,"large":1.5e+12,"huge":1e+300})");
}

TEST_CASE("json: what is not UTF-8 is replaced, and the result can be read") {
  for (const char* bad : {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    CAPTURE(bad);
    CHECK_FALSE(utf8_ok(bad));
    CHECK(json_quote(bad).find("\xef\xbf\xbd") != std::string::npos);
    CHECK(JsonValue::parse(json_quote(bad)));
  }
  for (const char* good : {"", "abc", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(utf8_ok(good));
    CHECK(*JsonValue::parse(json_quote(good))->string() == good);
  }
  CHECK(utf8_ok(std::string_view("a\0b", 3)));
  CHECK(*JsonValue::parse(json_quote(std::string_view("a\0b", 3)))->string() == std::string("a\0b", 3));
}

TEST_CASE("json: reading") {
  auto value = JsonValue::parse(R"({"z":1,"a":[true,null,"x",2.5],"o":{"k":"v"},"max":9223372036854775807,"more":9223372036854775808})");
  REQUIRE(value);
  CHECK(value->is_object());
  CHECK(value->get("z")->integer() == 1);
  CHECK(value->get("max")->integer() == INT64_MAX);
  CHECK_FALSE(value->get("more")->integer());
  CHECK_FALSE(value->get("absent"));
  CHECK(value->members().front().first == "z");
  auto items = value->get("a")->items();
  REQUIRE(items.size() == 4);
  CHECK(items[0].boolean() == true);
  CHECK(items[1].is_null());
  CHECK(items[2].string() == "x");
  CHECK(items[3].number() == 2.5);
  CHECK_FALSE(items[3].integer());
  CHECK(value->get("o")->get("k")->string() == "v");
  // A value keeps its tree.
  JsonValue inner = *JsonValue::parse(R"({"o":{"k":"v"}})")->get("o");
  CHECK(inner.get("k")->string() == "v");
}

TEST_CASE("json: bad text names the byte") {
  for (const char* bad : {"", "{", "{\"a\":}", "[1,]", "nul", "\"\xff\"", "{} x"}) {
    CAPTURE(bad);
    auto value = JsonValue::parse(bad);
    REQUIRE_FALSE(value);
    CHECK(value.error().code == ExitCode::bad_data);
    CHECK(value.error().text.find("byte") != std::string::npos);
  }
  CHECK_FALSE(JsonValue::parse("1e999"));
}
