#include <doctest/doctest.h>

#include "selection.hpp"
#include "units.hpp"

using namespace gw;

namespace {

constexpr int64_t now = 1'800'000'000'000;

MessageInfo info_of_17() {
  MessageInfo info;
  info.seq = 17;
  info.state = MessageState::deferred;
  info.put_at_ms = now - 90'000;
  info.failures = 3;
  info.body_bytes = 2048;
  return info;
}

Message failed_message() {
  Message message;
  message.headers.set(header::message_id, "order-17");
  message.headers.set(header::enclosed_message_types, "Prices.Updated, Prices, Version=1.0.0.0");
  message.headers.set(header::exception_message, "order 17 of 4711 timed out");
  message.headers.set(header::failed_q, "Sales@vm1");
  message.headers.set(header::time_sent, "x");
  message.headers.set("Priority", "9");
  message.body = Body(std::string("caf\0e line\nlast", 15));
  return message;
}

bool holds(const std::string& text) {
  auto expression = Expression::parse(text);
  REQUIRE_MESSAGE(expression.has_value(), text);
  MessageInfo info = info_of_17();
  Message message = failed_message();
  auto result = expression->matches(info, &message, now);
  REQUIRE(result.has_value());
  return *result;
}

}  // namespace

TEST_CASE("selection: expressions that hold and that do not") {
  const std::pair<const char*, bool> rows[] = {
      {"id=order-17", true}, {"id=order-1", false}, {"id!=order-1", true}, {"id~^order-[0-9]+$", true}, {"id!~x", true},
      {"seq=17", true}, {"seq=:17", true}, {"seq>16", true}, {"seq<=16", false}, {"seq~^1", true},
      {"state=deferred", true}, {"state!=ready", true}, {"type=Prices.Updated", true}, {"type~^Prices", true}, {"type=Prices", false},
      {"age>1m", true}, {"age>1m30s", false}, {"age>=90", true}, {"age<1h", true}, {"bytes>=2K", true}, {"bytes<2048", false},
      {"attempts=3", true}, {"attempts>2", true}, {"reason~timed? ?out", true}, {"reason=order 17 of 4711 timed out", true},
      {"failed_queue=Sales@vm1", true}, {"body~^caf", true}, {"body~last$", true}, {"body~nothing", false}, {"body!~nothing", true},
      {"NServiceBus.TimeSent=x", true}, {"TimeSent=x", true}, {"timesent=x", true}, {"Priority>10", false}, {"Priority<10", true},
      {"Absent=x", false}, {"Absent!=x", true}, {"Absent~x", false}, {"Absent!~x", true}, {"Absent<5", false}, {"id = order-17", true}};
  for (const auto& [text, expected] : rows) {
    CAPTURE(text);
    CHECK(holds(text) == expected);
  }
}

TEST_CASE("selection: a body with NUL bytes is searched to its end") { CHECK(holds("body~line")); }

TEST_CASE("selection: bad expressions are refused and quoted") {
  for (const char* text : {"", "id", "=x", "age>soon", "bytes<lots", "seq=x", "attempts=", "state=lost", "id!x", "body~[", "reason~("}) {
    CAPTURE(text);
    auto expression = Expression::parse(text);
    REQUIRE(!expression.has_value());
    CHECK(expression.error().code == ExitCode::usage);
    CHECK(expression.error().text.find(text) != std::string::npos);
  }
}

TEST_CASE("selection: what needs the message and what does not") {
  CHECK(!Expression::parse("seq=1")->needs_message());
  CHECK(!Expression::parse("age>1")->needs_message());
  CHECK(!Expression::parse("state=ready")->needs_message());
  CHECK(Expression::parse("id=1")->needs_message());
  CHECK(Expression::parse("body~x")->needs_message());
}

TEST_CASE("selection: words that are no ids, bad numbers, bad groups") {
  auto code_of = [](SelectionOptions options) {
    auto selection = Selection::parse(options);
    return selection ? ExitCode::ok : selection.error().code;
  };
  SelectionOptions options;
  CHECK(code_of(options) == ExitCode::ok);
  CHECK(!options.given());
  options.words = {":17", "abc"};
  CHECK(options.given());
  CHECK(code_of(options) == ExitCode::ok);
  for (const char* word : {":", ":x", ":-1", ":1x", "", "a\nb"}) {
    CAPTURE(word);
    options.words = {word};
    CHECK(code_of(options) == ExitCode::usage);
  }
  options.words.clear();
  options.group = "12345678";
  CHECK(code_of(options) == ExitCode::ok);
  options.group = "1234";
  CHECK(code_of(options) == ExitCode::usage);
}

TEST_CASE("selection: groups do not depend on digits and ids in the reason") {
  Message a = failed_message(), b = failed_message(), c = failed_message();
  b.headers.set(header::exception_message, "order 18 of 1 timed out");
  c.headers.set(header::exception_message, "order 18 of 1 was refused");
  CHECK(failure_group(a) == failure_group(b));
  CHECK(failure_group(a) != failure_group(c));
  CHECK(failure_group(a).size() == 8);
  CHECK(mask_reason("id 0F8FAD5B-d9cb-469f-a165-70867728950e at 12:30") == "id # at #:#");
  CHECK(mask_reason("0F8FAD5B-d9cb-469f-a165-7086772895") == "#F#FAD#B-d#cb-#f-a#-#");
  b = a;
  b.headers.set(header::failed_q, "Billing@vm1");
  CHECK(failure_group(a) != failure_group(b));
}

TEST_CASE("selection: limits") {
  LimitOptions options;
  CHECK(!Limits::parse(options)->given());
  options = {"10", "1h30m", "1G"};
  auto limits = Limits::parse(options);
  REQUIRE(limits.has_value());
  CHECK(*limits->max_count == 10);
  CHECK(*limits->max_age_ms == 5'400'000);
  CHECK(*limits->min_free_bytes == 1u << 30);
  for (const LimitOptions& bad : {LimitOptions{"x", "", ""}, LimitOptions{"", "old", ""}, LimitOptions{"", "", "big"}, LimitOptions{"-1", "", ""}})
    CHECK(Limits::parse(bad).error().code == ExitCode::usage);
}
