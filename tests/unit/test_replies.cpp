#include <doctest/doctest.h>

#include "reply_address.hpp"
#include "tools/gw-send/forward/gateway_route.hpp"
#include "tools/gw-send/reply.hpp"

using namespace gw;

namespace {

SiteConfig site(std::string key, std::string address, std::string type = "http") {
  SiteConfig made;
  made.key = std::move(key);
  made.address = std::move(address);
  made.channel_type = std::move(type);
  return made;
}

Headers headers(std::initializer_list<std::pair<const char*, const char*>> entries) {
  Headers made;
  for (const auto& [name, value] : entries) made.set(name, value);
  return made;
}

ChannelConfig channel(std::string address, bool is_default = false, std::string reply_to = "", std::string type = "http") {
  ChannelConfig made;
  made.address = std::move(address);
  made.is_default = is_default;
  made.reply_to_uri = std::move(reply_to);
  made.channel_type = std::move(type);
  return made;
}

std::string keys(const GatewayRoute& route) {
  std::string text;
  for (const SiteConfig& one : route.sites) text += (text.empty() ? "" : ",") + one.key;
  return text;
}

}  // namespace

TEST_CASE("OriginatingSite is a type and an address") {
  auto parsed = parse_originating_site("Http,http://localhost:25899/Headquarters/");
  REQUIRE(parsed);
  CHECK(parsed->type == "http");
  CHECK(parsed->address == "http://localhost:25899/Headquarters/");
  SUBCASE("what NServiceBus 3 appended") {
    CHECK(parse_originating_site("http,http://a/b/NumberOfWorkerThreads=1Default=False")->address == "http://a/b/");
    CHECK(parse_originating_site("http,http://a/b/MaxConcurrency=12Default=True")->address == "http://a/b/");
    CHECK(parse_originating_site("http,http://a/NumberOfWorkerThreads=xDefault=False")->address == "http://a/NumberOfWorkerThreads=xDefault=False");
    CHECK(parse_originating_site("http,http://a/MaxConcurrency=1Default=True/more")->address == "http://a/MaxConcurrency=1Default=True/more");
  }
  SUBCASE("a comma in the address stays") { CHECK(parse_originating_site("http,http://a/b,c/")->address == "http://a/b,c/"); }
  SUBCASE("no address") {
    for (const char* bad : {"", "http", "http,", ",http://a/", "http,nonsense", "http,http://+:80/x/", "h ttp,http://a/", "http,http://a b/", "http,ftp://a/"}) {
      CAPTURE(bad);
      CHECK_FALSE(parse_originating_site(bad));
    }
  }
}

TEST_CASE("Keys of addresses that nobody has configured") {
  const SiteConfig made = unlisted_site({"http", "http://hq.example:8080/HQ/"});
  CHECK(made.key.starts_with("at-hq.example-8080-HQ-"));
  CHECK(is_unlisted_key(made.key));
  CHECK(unlisted_site({"https", "HTTP://HQ.example:8080/HQ"}).key.substr(made.key.size() - 16) == made.key.substr(made.key.size() - 16));
  CHECK(unlisted_site({"http", "http://hq.example:8080/hq/"}).key != made.key);
  CHECK(unlisted_site({"httpvnext", "http://hq.example:8080/HQ/"}).key != made.key);
  const SiteConfig longest = unlisted_site({"http", "http://" + std::string(3000, 'x') + "/"});
  CHECK(queue_name_ok("site." + longest.key));
  CHECK(queue_name_ok("site." + unlisted_site({"http", "http://[::1]:80/%20/\xc3\xa4/"}).key));
  for (const char* other : {"at-home", "Store1", "at-0123456789abcdef", "at-x-0123456789abcdeg", "site.at-x-0123456789abcdef"}) CHECK_FALSE(is_unlisted_key(other));
}

TEST_CASE("Where messages of gateway queues go") {
  const std::vector<SiteConfig> sites{site("A", "http://a/A/"), site("B", "https://b.example:8443/B", "https"), site("F", "/srv/stick", "file")};
  auto reply_to = [&](const char* origin) {
    return route_gateway_message(headers({{"NServiceBus.MessageIntent", "Reply"}, {"NServiceBus.OriginatingSite", origin}, {"NServiceBus.DestinationSites", "A"}}), sites);
  };
  auto to = [&](const char* keys_of) { return route_gateway_message(headers({{"NServiceBus.DestinationSites", keys_of}}), sites); };
  SUBCASE("replies") {
    CHECK(keys(reply_to("http,http://a/A/")) == "A");
    CHECK(keys(reply_to("Http,HTTP://A/A")) == "A");
    CHECK(keys(reply_to("http,https://b.example:8443/B/")) == "B");
    CHECK(keys(reply_to("file,/srv/stick")) == "F");
    CHECK(keys(reply_to("http,http://a/a/")).starts_with("at-a-a-"));
    CHECK(reply_to("http,http://c/").sites.at(0).address == "http://c/");
    CHECK(reply_to("").problem == "No destination found for message");
    CHECK(reply_to("file,/etc").sites.empty());
    CHECK(reply_to("file,/etc").problem == "no site with the address 'file,/etc' is configured");
    CHECK_FALSE(reply_to("file,/etc").unknown_site);
  }
  SUBCASE("others") {
    CHECK(keys(to("A")) == "A");
    CHECK(keys(to(" B , A,A,")) == "B,A");
    CHECK(keys(to("http://c/x/")).starts_with("at-c-x-"));
    CHECK(keys(to("A,http://a/A/")) == "A");
    CHECK(to("").problem == "No destination found for message");
    CHECK(to(",").problem == "No destination found for message");
    CHECK(to("A,X,Y").problem == "The following sites have not been configured: X, Y");
    CHECK(to("A,X").unknown_site);
    CHECK(to("A,X").sites.empty());
    CHECK(to("file:/etc").unknown_site);
    CHECK(route_gateway_message(Headers(), sites).problem == "No destination found for message");
  }
  SUBCASE("an answer names the site that it goes to until it leaves") {
    const Headers answer = headers({{"NServiceBus.MessageIntent", "Reply"}, {"NServiceBus.OriginatingSite", "http,http://a/A/"}});
    CHECK(is_answer_to(answer, {"http", "http://A/A"}));
    CHECK_FALSE(is_answer_to(answer, {"http", "http://b/"}));
    CHECK_FALSE(is_answer_to(headers({{"NServiceBus.OriginatingSite", "http,http://a/A/"}}), {"http", "http://a/A/"}));
  }
  SUBCASE("the copy says where it goes") {
    CHECK(address_of_copy(headers({{"NServiceBus.DestinationSites", "http://c/x/"}}))->address == "http://c/x/");
    CHECK_FALSE(address_of_copy(headers({{"NServiceBus.DestinationSites", "A"}})));
    CHECK(address_of_copy(headers({{"NServiceBus.MessageIntent", "Reply"}, {"NServiceBus.OriginatingSite", "http,http://d/"}}))->address == "http://d/");
  }
}

TEST_CASE("The headers of a reply") {
  const Headers ask = headers({{"NServiceBus.MessageId", "i"}, {"NServiceBus.CorrelationId", "c"}, {"NServiceBus.ConversationId", "v"},
                               {"NServiceBus.ReplyToAddress", "Store1.gateway"}, {"NServiceBus.OriginatingSite", "http,http://hq/"}, {"NServiceBus.From", "f"}});
  CHECK(reply_headers(ask, "Store1") ==
        headers({{"NServiceBus.MessageIntent", "Reply"}, {"NServiceBus.RelatedTo", "i"}, {"NServiceBus.CorrelationId", "c"}, {"NServiceBus.ConversationId", "v"},
                 {"NServiceBus.ReplyToAddress", "Store1"}, {"NServiceBus.To", "f"}, {"NServiceBus.OriginatingSite", "http,http://hq/"},
                 {"NServiceBus.Header.RouteTo", "Store1.gateway"}, {"NServiceBus.Gateway.LegacyMode", "True"}}));
  CHECK(reply_headers(headers({{"NServiceBus.MessageId", "i"}, {"NServiceBus.ReplyToAddress", "Client"}}), "") ==
        headers({{"NServiceBus.MessageIntent", "Reply"}, {"NServiceBus.RelatedTo", "i"}, {"NServiceBus.CorrelationId", "i"}}));
  CHECK(reply_headers(headers({{"NServiceBus.MessageId", "i"}, {"NServiceBus.ReplyToAddress", "E.gateway"}, {"NServiceBus.Gateway.LegacyMode", "False"}}), "")
            .get("NServiceBus.Gateway.LegacyMode") == "False");
}

TEST_CASE("OriginatingSite of what leaves this site") {
  CHECK(originating_site({}, "") == "");
  CHECK(originating_site({}, "http://hq/") == "http,http://hq/");
  CHECK(originating_site({channel("http://a/")}, "http://hq/") == "http,http://hq/");
  CHECK(originating_site({channel("http://a/"), channel("https://b/", true, "", "https")}, "") == "http,https://b/");
  CHECK(originating_site({channel("http://+:80/", false, "http://hq/x/")}, "") == "http,http://hq/x/");
  CHECK(originating_site({channel("http://a/", false, "", "httpvnext")}, "") == "httpvnext,http://a/");
  CHECK(originating_site({channel("http://a:0/HQ/")}, "") == "");
  CHECK(originating_site({channel("http://a:0/HQ/", false, "http://hq/:0")}, "") == "http,http://hq/:0");
  const std::string guessed = originating_site({channel("http://+:8080/HQ/")}, "");
  CHECK(guessed.find('+') == std::string::npos);
  CHECK(guessed.ends_with(":8080/HQ/"));
  CHECK(originating_site({channel("http://*:8080/HQ/")}, "") == guessed);
  CHECK(check_reply_to_uri(""));
  CHECK(check_reply_to_uri("https://hq.example/HQ/"));
  for (const char* bad : {"http://+:80/x/", "http://*/", "hq", "ftp://x/"}) CHECK_FALSE(check_reply_to_uri(bad));
}
