#include "wire_codec.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

gw::Headers decoded(const Fields& fields) {
  auto result = gw::decode_wire_fields(fields);
  auto* refusal = std::get_if<gw::WireRefusal>(&result);
  REQUIRE_MESSAGE(!refusal, (refusal ? refusal->text : ""));
  return std::get<gw::Headers>(std::move(result));
}

gw::WireRefusal refused(const Fields& fields) {
  auto result = gw::decode_wire_fields(fields);
  if (auto* refusal = std::get_if<gw::WireRefusal>(&result)) return *refusal;
  auto call = gw::read_wire_call(std::get<gw::Headers>(result));
  REQUIRE(std::holds_alternative<gw::WireRefusal>(call));
  return std::get<gw::WireRefusal>(call);
}

const Fields plain = {{"Host", "localhost"},
                      {"NServiceBus.Id", "id-1"},
                      {"NServiceBus.CorrelationId", "corr%001"},
                      {"NServiceBus.Header.NServiceBus.MessageIntent", "Send"},
                      {"NServiceBus.Header.Note", "Gr%C3%BCn+%E2%98%83+%25%2B~"},
                      {"NServiceBus.Header.Gatepost.Site", "forged"},
                      {"NServiceBus.Gateway", "True"},
                      {"NServiceBus.CallType", "SingleCallSubmit"},
                      {"Content-MD5", "N%2BwDGCN2O7X%2B7XT3wzjhHQ%3D%3D"}};

Fields with(Fields fields, std::initializer_list<std::pair<std::string_view, std::string_view>> more) {
  for (const auto& field : more) {
    bool replaced = false;
    for (auto& f : fields)
      if (f.first == field.first) f.second = field.second, replaced = true;
    if (!replaced) fields.push_back(field);
  }
  return fields;
}

Fields without(Fields fields, std::string_view name) {
  std::erase_if(fields, [&](const auto& f) { return f.first == name; });
  return fields;
}

gw::WireCall call_of(const Fields& fields) {
  auto call = gw::read_wire_call(decoded(fields));
  auto* refusal = std::get_if<gw::WireRefusal>(&call);
  REQUIRE_MESSAGE(!refusal, (refusal ? refusal->text : ""));
  return std::get<gw::WireCall>(call);
}

}  // namespace

TEST_CASE("wire codec: encoding is WebUtility.UrlEncode") {
  CHECK(gw::wire_encode("AZaz09-_.!*()") == "AZaz09-_.!*()");
  CHECK(gw::wire_encode("a b~c/d=+%'") == "a+b%7Ec%2Fd%3D%2B%25%27");
  CHECK(gw::wire_encode("Grün") == "Gr%C3%BCn");
  CHECK(gw::wire_encode(std::string_view("\0\r\n", 3)) == "%00%0D%0A");
  CHECK(gw::wire_encode("") == "");
}

TEST_CASE("wire codec: decoding happens once, and broken escapes stay") {
  CHECK(gw::wire_decode("a+b%7ec%2F") == "a b~c/");
  CHECK(gw::wire_decode("%252B") == "%2B");
  CHECK(gw::wire_decode("100%") == "100%");
  CHECK(gw::wire_decode("%4") == "%4");
  CHECK(gw::wire_decode("%zz%41") == "%zzA");
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  CHECK(gw::wire_decode(gw::wire_encode(every)) == every);
}

TEST_CASE("wire codec: fields that cannot be told apart or read are refused") {
  CHECK(refused({{"X-A", "1"}, {"X%2DA", "2"}}).text == "header 'X-A' is there twice");
  CHECK(refused({{"A", "1"}, {"a", "2"}}).status == 400);
  CHECK(refused({{"A%0D%0AB", "1"}}).status == 400);
  CHECK(refused({{"A", "%ff"}}).text == "header 'A' is not UTF-8");
  CHECK(refused({{"%FF", "x"}}).status == 400);
}

TEST_CASE("wire codec: a call without what it needs gets the original's text") {
  CHECK(refused(without(plain, "NServiceBus.Id")).text == "Required header 'NServiceBus.Id' missing.");
  CHECK(refused(with(plain, {{"NServiceBus.Id", ""}})).text == "Required header 'NServiceBus.Id' missing.");
  CHECK(refused(without(plain, "NServiceBus.CallType")).text == "Required header 'NServiceBus.CallType' missing.");
  for (std::string_view type : {"Nonsense", "singlecallsubmit", "0", "7"})
    CHECK(refused(with(plain, {{"NServiceBus.CallType", type}})).text ==
          "Invalid CallType '" + std::string(type) + "'. CallTypes supported 'SingleCallSubmit, SingleCallDatabusProperty'");
  CHECK(refused(with(plain, {{"NServiceBus.CallType", "SingleCallDatabusProperty"}})).text ==
        "Required header 'NServiceBus.Gateway.DataBusKey' missing.");
  std::string long_id(256, 'x');
  CHECK(refused(with(plain, {{"NServiceBus.Id", long_id}})).status == 400);
  long_id.pop_back();
  CHECK(call_of(with(plain, {{"NServiceBus.Id", long_id}})).id == long_id);
  CHECK(refused(with(plain, {{"NServiceBus.Id", "a%0Ab"}})).status == 400);
  auto garbage = refused(with(plain, {{"NServiceBus.TimeToBeReceived", "soon"}}));
  CHECK(garbage.status == 400);
  CHECK(garbage.text.find("NServiceBus.TimeToBeReceived") != std::string::npos);
}

TEST_CASE("wire codec: what a call says") {
  auto call = call_of(with(plain, {{"NServiceBus.TimeToBeReceived", "00:10:00"},
                                   {"NServiceBus.Header.NServiceBus.TimeToBeReceived", "00:20:00"},
                                   {"NServiceBus.Header.NServiceBus.DataBus.one", "k-one"}}));
  CHECK(call.id == "id-1");
  CHECK(call.gateway_message);
  CHECK(call.correlation_id == std::string("corr\0001", 6));
  CHECK(*call.md5 == "N+wDGCN2O7X+7XT3wzjhHQ==");
  CHECK(*call.time_to_be_received_ms == 600'000);
  CHECK(call.data_bus_headers == std::vector<std::string>{"NServiceBus.Header.NServiceBus.DataBus.one"});
  CHECK(call_of(without(plain, "NServiceBus.CorrelationId")).correlation_id == "id-1");
  CHECK(call_of(with(plain, {{"NServiceBus.CorrelationId", "guid%00"}})).correlation_id == "guid");
  CHECK(*call_of(with(plain, {{"NServiceBus.TimeToBeReceived", "00:00:00"}})).time_to_be_received_ms == 1000);
  CHECK(call_of(with(plain, {{"NServiceBus.Header.NServiceBus.DataBusConfig.ContentType", "x"}})).data_bus_headers.empty());
}

TEST_CASE("wire codec: headers of the delivered message") {
  auto wire = decoded(plain);
  auto call = call_of(plain);
  auto headers = gw::delivered_headers(std::move(wire), call, "Store1");
  CHECK(headers.get("Note") == "Grün ☃ %+~");
  CHECK(headers.get("NServiceBus.MessageId") == "id-1");
  CHECK(headers.get("NServiceBus.ReplyToAddress") == "Store1.gateway");
  CHECK(headers.get("NServiceBus.MessageIntent") == "Send");
  CHECK(headers.find("Host") == nullptr);
  CHECK(headers.find("Gatepost.Site") == nullptr);
  CHECK(headers.entries().size() == 5);
}

TEST_CASE("wire codec: names that a hop has put into lower case get their casing back, unknown ones stay") {
  Fields fields = {{"nservicebus.id", "id-1"},
                   {"nservicebus.calltype", "SingleCallSubmit"},
                   {"nservicebus.gateway", "True"},
                   {"nservicebus.header.nservicebus.enclosedmessagetypes", "T"},
                   {"nservicebus.header.nservicebus.timetobereceived", "00:01:00"},
                   {"nservicebus.header.%24.diagnostics.hostid", "h"},
                   {"nservicebus.header.my-own", "v"}};
  auto call = call_of(fields);
  CHECK(*call.time_to_be_received_ms == 60'000);
  auto headers = gw::delivered_headers(decoded(fields), call, "S");
  CHECK(headers.entries()[0].name == "NServiceBus.EnclosedMessageTypes");
  CHECK(headers.entries()[1].name == "NServiceBus.TimeToBeReceived");
  CHECK(headers.entries()[2].name == "$.diagnostics.hostid");
  CHECK(headers.entries()[3].name == "my-own");
}

TEST_CASE("wire codec: a channel's own names get their casing back") {
  const gw::HeaderNames names({"X-Shop", "Shop.Till"});
  Fields fields = {{"nservicebus.id", "id-1"},
                   {"nservicebus.calltype", "SingleCallSubmit"},
                   {"nservicebus.gateway", "True"},
                   {"nservicebus.header.x-shop", "1"},
                   {"NServiceBus.Header.shop.till", "2"},
                   {"nservicebus.header.x-other", "3"}};
  auto headers = gw::delivered_headers(decoded(fields), call_of(fields), "S", names);
  CHECK(headers.entries()[0].name == "X-Shop");
  CHECK(headers.entries()[1].name == "Shop.Till");
  CHECK(headers.entries()[2].name == "x-other");
  Fields custom = {{"nservicebus.id", "web"}, {"nservicebus.calltype", "SingleCallSubmit"}, {"x-shop", "1"}, {"nservicebus.timesent", "t"}, {"to", "x"}};
  headers = gw::delivered_headers(decoded(custom), call_of(custom), "S", names);
  CHECK(headers.entries()[2].name == "X-Shop");
  CHECK(headers.entries()[3].name == "NServiceBus.TimeSent");
  CHECK(headers.entries()[4].name == "to");
}

TEST_CASE("wire codec: a custom message keeps all headers but secrets") {
  Fields fields = {{"Host", "x"},
                   {"Authorization", "Bearer secret"},
                   {"NServiceBus.Id", "web\\1"},
                   {"NServiceBus.CallType", "SingleCallSubmit"},
                   {"NServiceBus.Header.A", "b"}};
  auto call = call_of(fields);
  CHECK_FALSE(call.gateway_message);
  auto headers = gw::delivered_headers(decoded(fields), call, "S");
  CHECK(headers.get("Host") == "x");
  CHECK(headers.get("NServiceBus.Header.A") == "b");
  CHECK(headers.get("NServiceBus.MessageId") == "web\\1");
  CHECK(headers.find("Authorization") == nullptr);
  CHECK(headers.find("NServiceBus.CorrelationId") == nullptr);
}

TEST_CASE("wire codec: HTTP dates") {
  CHECK(*gw::parse_http_date_ms("Sat, 21 Nov 2026 11:35:41 GMT") == 1795260941000);
  CHECK(gw::format_http_date(1795260941000) == "Sat, 21 Nov 2026 11:35:41 GMT");
  for (std::string_view bad : {"", "now", "Sat, 21 Nov 2026 11:35:41 CET", "Sat, 21 Xxx 2026 11:35:41 GMT", "Sat, 41 Nov 2026 11:35:41 GMT"})
    CHECK_FALSE(gw::parse_http_date_ms(bad));
}

TEST_CASE("wire codec: age is counted by the sender's clock") {
  gw::WireCall call;
  call.time_to_be_received_ms = 60'000;
  gw::Headers headers;
  const int64_t now = 1795260941000 + 3'600'000;  // our clock is an hour ahead
  CHECK(gw::wire_times(headers, call, "", now).first_sent_ms == 0);
  CHECK(gw::wire_times(headers, call, "", now).expires_at_ms == now + 60'000);
  headers.set("NServiceBus.TimeSent", "2026-11-21 11:35:31:000000 Z");
  auto times = gw::wire_times(headers, call, "Sat, 21 Nov 2026 11:35:41 GMT", now);
  CHECK(times.first_sent_ms == now - 10'000);
  CHECK(times.expires_at_ms == now + 50'000);
  auto without_date = gw::wire_times(headers, call, "", now);
  CHECK(without_date.first_sent_ms == 1795260941000 - 10'000);
  CHECK(without_date.expires_at_ms == now);
  // Sent in our future: it is new.
  CHECK(gw::wire_times(headers, call, "", 1795260900000).first_sent_ms == 1795260900000);
}

TEST_CASE("wire codec: the calls of NServiceBus 3") {
  auto of = [](std::string_view type, std::string_view auto_ack) {
    Fields fields = {{"NServiceBus.Id", "1%00"}, {"NServiceBus.CorrelationId", "c%00"}, {"NServiceBus.CallType", type}, {"NServiceBus.Gateway", "True"}};
    if (!auto_ack.empty()) fields.emplace_back("NServiceBus.AutoAck", auto_ack);
    return gw::read_wire_call(decoded(fields));
  };
  using Type = gw::WireCall::Type;
  auto type_of = [&](std::string_view type, std::string_view auto_ack) {
    auto read = of(type, auto_ack);
    REQUIRE(std::holds_alternative<gw::WireCall>(read));
    CHECK(std::get<gw::WireCall>(read).correlation_id == "c");
    return std::get<gw::WireCall>(read).type;
  };
  CHECK(type_of("Submit", "") == Type::hold);
  CHECK(type_of("Submit", "False") == Type::hold);
  CHECK(type_of("Submit", "+TRUE") == Type::submit);
  CHECK(type_of("Ack", "x") == Type::ack);
  auto bad = of("Submit", "1");
  REQUIRE(std::holds_alternative<gw::WireRefusal>(bad));
  CHECK(std::get<gw::WireRefusal>(bad).status == 400);
  CHECK(std::get<gw::WireRefusal>(bad).text == "Invalid AutoAck header 'NServiceBus.AutoAck'. Found '1'");
  auto no_key = of("DatabusProperty", "");
  REQUIRE(std::holds_alternative<gw::WireRefusal>(no_key));
  CHECK(std::get<gw::WireRefusal>(no_key).text == "Required header 'NServiceBus.Gateway.DataBusKey' missing.");
}

TEST_CASE("wire_codec: Retry-After in seconds, or as a date by the site's clock") {
  const int64_t now = 1'000'000'000'000;
  CHECK(gw::retry_after_ms("120", "", now) == 120'000);
  CHECK(gw::retry_after_ms("0", "", now) == 0);
  CHECK(gw::retry_after_ms("99999999999999999999", "", now) == INT64_MAX / 2);
  CHECK(gw::retry_after_ms("Sat, 21 Nov 2026 11:30:32 GMT", "Sat, 21 Nov 2026 11:29:32 GMT", now) == 60'000);
  const int64_t there = *gw::parse_http_date_ms("Sat, 21 Nov 2026 11:29:32 GMT");
  CHECK(gw::retry_after_ms("Sat, 21 Nov 2026 11:30:32 GMT", "", there) == 60'000);
  CHECK(gw::retry_after_ms("Sat, 21 Nov 2026 11:28:32 GMT", "", there) == 0);
  for (const char* bad : {"", "soon", "-1", "1.5", "12 s"}) CHECK(gw::retry_after_ms(bad, "", now) == 0);
}
