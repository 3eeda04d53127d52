#include <doctest/doctest.h>

#include <cstdlib>
#include <ctime>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "hash.hpp"
#include "outbox.hpp"
#include "wire_codec.hpp"

using namespace gw;

namespace {

using Fields = std::map<std::string, std::string>;
constexpr std::string_view prefix = "NServiceBus.Header.";

struct Recording {
  Fields fields;
  std::string body;
};

Recording read_recording(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream all;
  all << in.rdbuf();
  const std::string text = all.str();
  const size_t end = text.find("\r\n\r\n");
  Recording recording;
  recording.body = text.substr(end + 4);
  size_t at = text.find("\r\n") + 2;
  while (at < end + 2) {
    const size_t line_end = text.find("\r\n", at);
    const std::string line = text.substr(at, line_end - at);
    const size_t colon = line.find(": ");
    recording.fields[line.substr(0, colon)] = line.substr(colon + 2);
    at = line_end + 2;
  }
  return recording;
}

Fields fields_of(const std::string& head) {
  Fields fields;
  for (size_t at = 0; at < head.size();) {
    const std::string line = head.c_str() + at;
    fields[line.substr(0, line.find(": "))] = line.substr(line.find(": ") + 2);
    at += line.size() + 1;
  }
  return fields;
}

/// The message as it was stored before it was sent.
Message message_of(const Recording& recording) {
  Message message;
  for (const auto& [name, value] : recording.fields)
    if (name.starts_with(prefix)) message.headers.set(wire_decode(name.substr(prefix.size())), wire_decode(value));
  message.body = Body(recording.body);
  return message;
}

RequestContext context_for(const Message& message) {
  RequestContext context;
  const Md5 sum = md5(message.body.bytes());
  context.content_md5 = base64(std::string_view(reinterpret_cast<const char*>(sum.data()), sum.size()));
  return context;
}

}  // namespace

TEST_CASE("outbox: names") {
  CHECK(outbox_of_site("Store1") == "site.Store1");
  CHECK(site_of_outbox("site.Store1") == "Store1");
  CHECK(site_of_outbox("site.a.b") == "a.b");
  CHECK_FALSE(site_of_outbox("site."));
  CHECK_FALSE(site_of_outbox("Sales"));
}

TEST_CASE("outbox: what is sent equals what the original sends") {
  size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/data/wire/sent")) {
    const Recording recording = read_recording(entry.path());
    CAPTURE(entry.path().string());
    if (recording.fields.at("NServiceBus.CallType") != "SingleCallSubmit") continue;
    Message message = message_of(recording);
    RequestContext context = context_for(message);
    if (message.headers.find("NServiceBus.Retries")) {
      // These come from the retry schedule, not from the stored message.
      CHECK(message.headers.get("NServiceBus.Retries") == "1");
      context.failures = 1;
      context.last_failure_us = 1'795'260'573'406'293;
      message.headers.remove("NServiceBus.Retries");
      message.headers.remove("NServiceBus.Retries.Timestamp");
    }
    Fields expected = recording.fields;
    expected.erase("Host");
    expected.erase("Content-Length");
    CHECK(fields_of(submit_head(message, context)) == expected);
    ++compared;
  }
  CHECK(compared >= 8);
}

TEST_CASE("outbox: outer headers") {
  Message message;
  message.headers.set("NServiceBus.MessageId", "m~1");
  message.headers.set("NServiceBus.TimeToBeReceived", "00:10:00");
  message.headers.set("NServiceBus.Retries", "7");
  RequestContext context;
  context.content_md5 = "+/==";
  Fields fields = fields_of(submit_head(message, context));
  CHECK(fields.at("NServiceBus.Id") == "m%7E1");
  CHECK(fields.at("NServiceBus.CorrelationId") == "m%7E1");  // receivers need one
  CHECK(fields.at("NServiceBus.TimeToBeReceived") == "00%3A10%3A00");
  CHECK(fields.at("Content-MD5") == "%2B%2F%3D%3D");
  CHECK(fields.at("Content-Type") == "application/x-www-form-urlencoded");
  CHECK_FALSE(fields.contains("NServiceBus.ReplyToAddress"));
  CHECK_FALSE(fields.contains("NServiceBus.Recoverable"));
  CHECK(fields.at("NServiceBus.Header.NServiceBus.Retries") == "7");

  context.failures = 2;
  context.original_version_1 = true;
  context.originating_site = "http,http://hq/";
  fields = fields_of(submit_head(message, context));
  CHECK(fields.at("NServiceBus.Header.NServiceBus.Retries") == "2");
  CHECK(fields.at("NServiceBus.Recoverable") == "True");
  CHECK(fields.at("NServiceBus.Header.NServiceBus.OriginatingSite") == "http%2Chttp%3A%2F%2Fhq%2F");

  message.headers.remove("NServiceBus.TimeToBeReceived");
  CHECK(fields_of(submit_head(message, context)).at("NServiceBus.TimeToBeReceived") == "10675199.02%3A48%3A05.4775807");

  context.lower_case_names = true;
  fields = fields_of(submit_head(message, context));
  CHECK(fields.at("nservicebus.id") == "m%7E1");
  CHECK(fields.at("content-type") == "application/x-www-form-urlencoded");
}

TEST_CASE("outbox: messages that http cannot carry are refused before they are stored") {
  Message message;
  message.headers.set("NServiceBus.MessageId", "m");
  const std::string url = "http://store1:8080/Store1/";
  CHECK(check_http_limits(message, url, {}));
  Message many = message;
  for (int i = 0; i < 70; ++i) many.headers.set("H" + std::to_string(i), "x");
  auto refused = check_http_limits(many, url, {});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == ExitCode::bad_data);
  CHECK(refused.error().text.find("httpvnext") != std::string::npos);
  // The most that is accepted still fits when the forwarder says where replies go, also in a retry.
  Message most = message;
  for (int i = 0; check_http_limits(most, url, {}); ++i) most.headers.set("H" + std::to_string(i), "x");
  most.headers.entries().pop_back();
  RequestContext retried;
  retried.failures = 3;
  retried.originating_site = "http," + url;
  retried.content_md5 = "1B2M2Y8AsgTpgAmY7PhCfg==";
  CHECK(head_lines(submit_head(most, retried)) + 3 == http_headers_max);  // Host, Content-Length, Date
  Message large = message;
  large.headers.set("Big", std::string(6000, '~'));  // three bytes each on the wire
  CHECK_FALSE(check_http_limits(large, url, {}));
  large.headers.set("Big", std::string(6000, 'x'));
  CHECK(check_http_limits(large, url, {}));
}

TEST_CASE("outbox: transfer windows") {
  // The tests' time zone is that of the machine: build instants from local times.
  auto local = [](int hour, int minute) {
    tm t{};
    t.tm_year = 126;
    t.tm_mon = 10;
    t.tm_mday = 21;
    t.tm_hour = hour;
    t.tm_min = minute;
    t.tm_isdst = -1;
    return static_cast<int64_t>(mktime(&t)) * 1000;
  };
  int64_t opens = 0;
  CHECK(window_open("", local(12, 0)));
  CHECK(window_open("22:00-05:00", local(23, 0)));
  CHECK(window_open("22:00-05:00", local(4, 59)));
  CHECK_FALSE(window_open("22:00-05:00", local(5, 0), &opens));
  CHECK(opens == local(22, 0));
  CHECK(window_open("09:00-17:30", local(17, 29)));
  CHECK_FALSE(window_open("09:00-17:30", local(17, 30), &opens));
  CHECK(opens == local(9, 0) + 24 * 3600 * 1000);
  CHECK_FALSE(window_open("09:00-17:30", local(8, 59), &opens));
  CHECK(opens == local(9, 0));
}

TEST_CASE("outbox: windows when clocks change") {
  const char* before = std::getenv("TZ");
  const std::string old = before ? before : "";
  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
  ::tzset();
  auto utc = [](int month, int day, int hour, int minute) {
    tm t{};
    t.tm_year = 126;
    t.tm_mon = month - 1;
    t.tm_mday = day;
    t.tm_hour = hour;
    t.tm_min = minute;
    return static_cast<int64_t>(timegm(&t)) * 1000;
  };
  int64_t opens = 0;
  // 2026-03-29: 02:00 CET becomes 03:00 CEST (01:00 UTC).
  CHECK(window_open("22:00-05:00", utc(3, 29, 2, 59)));  // 04:59 CEST
  CHECK_FALSE(window_open("22:00-05:00", utc(3, 29, 3, 0), &opens));
  CHECK(opens == utc(3, 29, 20, 0));
  CHECK_FALSE(window_open("08:00-09:00", utc(3, 28, 21, 0), &opens));
  CHECK(opens == utc(3, 29, 6, 0));
  // Within the hour that is left out: behind it, as long as ever.
  CHECK_FALSE(window_open("02:15-02:45", utc(3, 29, 0, 59), &opens));
  CHECK(opens == utc(3, 29, 1, 15));
  CHECK(window_open("02:15-02:45", opens));
  CHECK(window_open("02:15-02:45", utc(3, 29, 1, 44)));
  CHECK_FALSE(window_open("02:15-02:45", utc(3, 29, 1, 45), &opens));
  CHECK(opens == utc(3, 30, 0, 15));
  // 2026-10-25: 03:00 CEST becomes 02:00 CET (01:00 UTC); 02:30 is there twice.
  CHECK(window_open("22:00-05:00", utc(10, 25, 3, 59)));  // 04:59 CET
  CHECK_FALSE(window_open("22:00-05:00", utc(10, 25, 4, 0), &opens));
  CHECK(opens == utc(10, 25, 21, 0));
  CHECK(window_open("02:15-02:45", utc(10, 25, 0, 30)));
  CHECK(window_open("02:15-02:45", utc(10, 25, 1, 30)));
  old.empty() ? ::unsetenv("TZ") : ::setenv("TZ", old.c_str(), 1);
  ::tzset();
}
