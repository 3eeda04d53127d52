#include <doctest/doctest.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <thread>

#include "scratch.hpp"
#include "tools/gw-listen/channel.hpp"
#include "tools/gw-listen/committer.hpp"
#include "tools/gw-listen/options.hpp"
#include "tools/gw-listen/proxy.hpp"
#include "tools/gw-listen/receive.hpp"
#include "units.hpp"

namespace {

using namespace gw::listen;
using gw::StoreThread;

// --- a request without a server ---------------------------------------------------------------------------------------

struct Request {
  std::string method = "POST", target = "/Store1/", query, version = "1.1";
  bool has_query = false;
  std::vector<HeadField> fields = {{"Host", "x"}};
  std::string body;
  bool chunked = false;
  Exchange::Read ends_with = Exchange::Read::end;  ///< other than end: after the body's bytes
};

class FakeExchange : public Exchange {
 public:
  explicit FakeExchange(const Request& request) : request_(request) {
    head_.method = request.method;
    head_.target = request.target;
    head_.query = request.query;
    head_.has_query = request.has_query;
    head_.version = request.version;
    head_.fields = request.fields;
    head_.port = 80;
    head_.from = "test";
    plan_ = check_head(head_);
  }
  const RequestHead& head() const override { return head_; }
  const std::variant<BodyPlan, gw::WireRefusal>& plan() const override { return plan_; }
  Read read(char* into, size_t room, size_t& got) override {
    got = std::min({room, size_t{5000}, request_.body.size() - at_});
    if (got == 0) return request_.ends_with;
    std::copy_n(request_.body.data() + at_, got, into);
    at_ += got;
    return Read::data;
  }
  std::optional<PeerIdentity> peer() const override { return certificate; }
  void send_continue() override { continued = true; }
  void send(const Answer& answer) override { answers.push_back(answer); }

  std::optional<PeerIdentity> certificate;
  std::vector<Answer> answers;
  bool continued = false;

 private:
  const Request& request_;
  RequestHead head_;
  std::variant<BodyPlan, gw::WireRefusal> plan_;
  size_t at_ = 0;
};

Request submit(std::string_view id, std::string body) {
  Request request;
  request.fields.insert(request.fields.end(), {{"NServiceBus.Id", id},
                                               {"NServiceBus.CallType", "SingleCallSubmit"},
                                               {"NServiceBus.Gateway", "True"},
                                               {"NServiceBus.Header.A", "b"}});
  static std::deque<std::string> lengths;
  lengths.push_back(std::to_string(body.size()));
  request.fields.emplace_back("Content-Length", lengths.back());
  request.body = std::move(body);
  return request;
}

Channel channel(const char* address) {
  auto parsed = parse_channel(address);
  REQUIRE_MESSAGE(parsed, (parsed ? "" : parsed.error().text));
  return *std::move(parsed);
}

/// A receiver over a real root in a directory of its own.
struct Fixture : gw::Scratch {
  std::unique_ptr<gw::Root> root = gw::open_root(path + "/root");
  std::unique_ptr<gw::DedupStore> store;
  std::unique_ptr<StoreThread> store_thread;
  std::unique_ptr<DataBus> data_bus;
  StoreThread afterwards;
  std::unique_ptr<Committer> committer;
  std::unique_ptr<EndpointQueue> endpoint_queue;
  std::unique_ptr<HeldMessages> held;
  std::unique_ptr<Receiver> receiver;
  gw::Queue queue;
  bool stopping = false;
  uint64_t free_bytes = 1ull << 40;

  Fixture() {
    endpoint_queue = std::make_unique<EndpointQueue>(*root, "Store1");
    REQUIRE(endpoint_queue->find());
    queue = endpoint_queue->current();
    committer = std::make_unique<Committer>([this](std::vector<gw::Transaction>&& all) { return root->commit_all(std::move(all)); },
                                            [] { return 1u; }, [](const gw::Error&) { std::abort(); });
    REQUIRE(committer->start());
    ReceiverContext context;
    context.endpoint = "Store1";
    context.queue = endpoint_queue.get();
    context.body_writer = [this] { return root->body_writer(); };
    context.free_bytes = [this] { return free_bytes; };
    context.clock = [this] { return root->clock(); };
    context.committer = committer.get();
    context.afterwards = &afterwards;
    auto opened_store = gw::DedupStore::open(path + "/root", "Store1", true);
    REQUIRE(opened_store);
    store = *std::move(opened_store);
    store_thread = std::make_unique<StoreThread>();
    data_bus = std::make_unique<DataBus>(path + "/root", "Store1", *store, *store_thread, [](const gw::Error&) { std::abort(); });
    held = std::make_unique<HeldMessages>(*root, *endpoint_queue, *store, *store_thread, *data_bus, *committer);
    context.data_bus = data_bus.get();
    context.held = held.get();
    context.stopping = [this] { return stopping; };
    receiver = std::make_unique<Receiver>(std::move(context));
    receiver->set_channels({channel("http://127.0.0.1/Store1/")});
  }
  ~Fixture() {
    held.reset();
    committer.reset();
    data_bus.reset();
    store_thread.reset();
    store.reset();
    root.reset();
  }
  Answer answer(const Request& request) {
    FakeExchange exchange(request);
    receiver->handle(exchange);
    REQUIRE(exchange.answers.size() == 1);
    return exchange.answers[0];
  }
  size_t stored() {
    auto status = queue.status();
    REQUIRE(status);
    return status->ready;
  }
};

}  // namespace

// --- channels -----------------------------------------------------------------------------------------------------------

TEST_CASE("gw-listen: addresses of channels") {
  CHECK(channel("http://localhost:1/A").path == "/A/");
  CHECK(channel("HTTP://LocalHost:1/A/").bind_address == "127.0.0.1");
  CHECK(channel("http://+:1/").bind_address == "0.0.0.0");
  CHECK(channel("http://*:0/").port == 0);
  CHECK(channel("http://192.0.2.7:1/").bind_address == "192.0.2.7");
  CHECK(channel("http://store17.example/x%20y/").path == "/x y/");
  CHECK(channel("http://a").port == 80);
  CHECK(channel("http://a:8080/B").url() == "http://a:8080/B/");
  CHECK(channel("https://a").port == 443);
  CHECK(channel("HTTPS://a:8443/B").url() == "https://a:8443/B/");
  for (const char* bad : {"", "a", "http://", "http://a:/", "http://a:65536/", "http://a:-1/", "ftp://a/", "http://a/..", "http://a/?q", "http://a b/"})
    CHECK_FALSE_MESSAGE(parse_channel(bad), bad);
}

TEST_CASE("gw-listen: paths are compared as http.sys does") {
  std::vector<Channel> channels = {channel("http://a/Store1/"), channel("http://a/Store1/Deep/"), channel("http://a:81/")};
  auto path_of = [&](uint16_t port, std::string_view path) {
    const Channel* found = find_channel(channels, port, path);
    return found ? found->path : std::string("none");
  };
  CHECK(path_of(80, "/Store1/") == "/Store1/");
  CHECK(path_of(80, "/Store1") == "/Store1/");
  CHECK(path_of(80, "/Store1/more") == "/Store1/");
  CHECK(path_of(80, "/Store1/Deep") == "/Store1/Deep/");
  CHECK(path_of(80, "/Store11/") == "none");
  CHECK(path_of(80, "/store1/") == "none");
  CHECK(path_of(80, "/") == "none");
  CHECK(path_of(81, "/Store1/") == "/");
  CHECK(decode_path("/a%2Fb/?x") == "/a/b/");
  CHECK(decode_path("http://other:1/Store1/x") == "/Store1/x");
  CHECK(decode_path("http://other") == "/");
  for (const char* bad : {"", "*", "x", "/..", "/a/../b", "/%2e%2E/", "/a%00", "/%", "/%g0", "/./a"}) CHECK_MESSAGE(decode_path(bad).empty(), bad);
}

TEST_CASE("gw-listen: two channels for the same requests are refused") {
  CHECK(check_channels({channel("http://a:1/x"), channel("http://a:1/y"), channel("http://a:2/x")}));
  CHECK(check_channels({channel("http://a:0/x"), channel("http://a:0/x")}));
  auto same = check_channels({channel("http://a:1/x"), channel("http://a:1/x/")});
  REQUIRE_FALSE(same);
  CHECK(same.error().text.find("http://a:1/x'") != std::string::npos);
}

TEST_CASE("gw-listen: channels on one port have the same TLS") {
  CHECK_FALSE(check_channels({channel("http://a:1/x"), channel("https://a:1/y")}));
  auto one = channel("https://a:1/x"), other = channel("https://a:1/y");
  CHECK(check_channels({one, other}));
  other.client_ca = "ca.pem";
  CHECK_FALSE(check_channels({one, other}));
}

TEST_CASE("gw-listen: who is let in") {
  auto first = channel("https://a:1/");
  first.allow_endpoints = {"HQ"};
  Request request;
  FakeExchange nobody(request);
  auto caller_of = [](const Channel& which, const Exchange& exchange) {
    auto admitted = admit(which, exchange);
    auto* caller = std::get_if<Caller>(&admitted);
    return caller ? *caller : Caller{"refused " + std::to_string(std::get<Answer>(admitted).status), nullptr};
  };
  Caller anybody = caller_of(first, nobody);
  CHECK(anybody.site.empty());
  CHECK(anybody.may_send_as("HQ"));
  CHECK_FALSE(anybody.may_send_as("hq"));
  CHECK_FALSE(anybody.may_send_as(""));

  gw::ClientConfig client;
  client.name = "Store17";
  client.san = "Store17.example";
  client.allow_endpoints = {"Shop"};
  first.clients = {client};
  CHECK(caller_of(first, nobody).site == "refused 403");
  FakeExchange store(request);
  store.certificate = PeerIdentity{{"10.0.0.1", "store17.EXAMPLE"}, "sha256:aa", "CN=x"};
  Caller caller = caller_of(first, store);
  CHECK(caller.site == "Store17");
  CHECK(caller.may_send_as("Shop"));
  CHECK_FALSE(caller.may_send_as("HQ"));
  first.clients[0].fingerprint = "sha256:bb";
  CHECK(caller_of(first, store).site == "refused 403");
  first.clients[0] = {"ByAddress", "10.0.0.1", "sha256:aa", {}, 0};
  caller = caller_of(first, store);
  CHECK(caller.site == "ByAddress");
  CHECK(caller.may_send_as("HQ"));

  first.tokens = std::make_shared<const gw::TokenSet>(std::vector<gw::Token>{{"T", "abc"}, {"", "def"}});
  CHECK(caller_of(first, store).site == "refused 401");
  auto second = channel("http://a:2/");
  second.tokens = first.tokens;
  for (auto [value, site] : {std::pair("Bearer abc", "T"), {"bearer  abc ", "T"}, {"Bearer def", ""}, {"Bearer ab", "refused 401"},
                             {"Bearer", "refused 401"}, {"Basic abc", "refused 401"}, {"Bearer T abc", "refused 401"}}) {
    Request with_token = request;
    with_token.fields.emplace_back("authorization", value);
    FakeExchange exchange(with_token);
    CHECK(caller_of(second, exchange).site == site);
  }
}

TEST_CASE("gw-listen: names of certificates") {
  PeerIdentity peer{{"a.example", "2001:db8::1", "urn:store:17"}, "", ""};
  CHECK(has_name(peer, "A.Example"));
  CHECK(has_name(peer, "2001:DB8:0:0::1"));
  CHECK(has_name(peer, "urn:STORE:17"));
  CHECK_FALSE(has_name(peer, "example"));
  CHECK_FALSE(has_name(peer, "a.example."));
  CHECK_FALSE(has_name(peer, ""));
}

TEST_CASE("gw-listen: options and configuration together") {
  gw::Config config;
  config.endpoint = "FromFile";
  gw::ChannelConfig entry;
  entry.address = "http://+:1/F/";
  entry.max_body = 10;
  entry.line = 7;
  config.channels.push_back(entry);
  config.path = "c.xml";
  Options options;
  auto settings = resolve_settings(options, config);
  REQUIRE(settings);
  CHECK(settings->endpoint == "FromFile");
  CHECK(settings->channels.at(0).max_body_bytes == 10);
  options.endpoint = "E";
  options.channels = {"http://+:2/"};
  options.max_body = "1K";
  settings = resolve_settings(options, config);
  REQUIRE(settings);
  CHECK(settings->channels.size() == 1);
  CHECK(settings->channels[0].port == 2);
  CHECK(settings->channels[0].max_body_bytes == 1024);
  options.channels.clear();
  config.channels[0].token_file = "/nowhere/secret";
  settings = resolve_settings(options, config);
  REQUIRE(settings);
  auto loaded = load_security(settings->channels, config);
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().code == gw::ExitCode::config);
  CHECK(loaded.error().text.find("c.xml:7:") == 0);
  options.tls_cert = "cert";
  CHECK_FALSE(resolve_settings(options, config));  // no key
  options.tls_key = "key";
  CHECK_FALSE(resolve_settings(options, config));  // no channel is https
  options.channels = {"http://+:2/", "https://+:3/"};
  options.token_file = "tokens";
  settings = resolve_settings(options, config);
  REQUIRE(settings);
  CHECK(settings->channels[0].cert.empty());
  CHECK(settings->channels[1].key == "key");
  CHECK(settings->channels[0].token_file == "tokens");
}

// --- heads --------------------------------------------------------------------------------------------------------------

namespace {
int status_of(const std::string& method, const std::vector<HeadField>& fields, const std::string& version = "1.1", bool loose = false) {
  RequestHead head;
  head.method = method;
  head.target = "/";
  head.version = version;
  head.fields = fields;
  head.loose = loose;
  auto checked = check_head(head);
  auto* refusal = std::get_if<gw::WireRefusal>(&checked);
  return refusal ? refusal->status : 200;
}
}  // namespace

TEST_CASE("gw-listen: strict framing") {
  const HeadField host{"Host", "x"};
  CHECK(status_of("POST", {host, {"Content-Length", "5"}}) == 200);
  CHECK(status_of("POST", {host, {"Transfer-Encoding", "Chunked "}}) == 200);
  CHECK(status_of("GET", {host}) == 200);
  CHECK(status_of("GET", {host, {"Content-Length", "0"}}) == 200);
  CHECK(status_of("GET", {host, {"Content-Length", "1"}}) == 400);
  CHECK(status_of("POST", {host}) == 411);
  CHECK(status_of("PUT", {host}) == 200);  // the answer will be 405
  CHECK(status_of("POST", {{"Content-Length", "5"}}) == 400);
  CHECK(status_of("POST", {host, {"host", "y"}, {"Content-Length", "5"}}) == 400);
  CHECK(status_of("POST", {host, {"Content-Length", "5"}, {"content-length", "5"}}) == 400);
  CHECK(status_of("POST", {host, {"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}}) == 400);
  CHECK(status_of("POST", {host, {"Transfer-Encoding", "chunked"}}, "1.0") == 400);
  CHECK(status_of("POST", {host, {"Transfer-Encoding", "gzip, chunked"}}) == 400);
  for (const char* bad : {"", "5abc", "+5", "5, 6", "0x1", "-1", "1234567890123456", "5 5"}) CHECK(status_of("POST", {host, {"Content-Length", bad}}) == 400);
  CHECK(status_of("POST", {host, {"A B", "x"}, {"Content-Length", "5"}}) == 400);
  CHECK(status_of("POST", {host, {"A", "x\x01"}, {"Content-Length", "5"}}) == 400);
  CHECK(status_of("POST", {host, {"Content-Length", "5"}}, "1.1", true) == 400);
  CHECK(status_of("POST", {host, {"Expect", "100-Continue"}, {"Content-Length", "5"}}) == 200);
  CHECK(status_of("POST", {host, {"Expect", "x"}, {"Content-Length", "5"}}) == 417);
  std::vector<HeadField> many(62, HeadField{"A", "b"});
  many.push_back(host);
  CHECK(status_of("GET", many) == 200);
  many.push_back({"B", "c"});
  CHECK(status_of("GET", many) == 431);
}

TEST_CASE("gw-listen: what only web clients put into a query") {
  for (const char* query : {"Message=x", "a=1&callback=cb", "NServiceBus.Id=1", "a&b;nservicebus.calltype", "%4dessage=1"})
    CHECK_MESSAGE(is_web_client_query(query), query);
  for (const char* query : {"", "a=Message", "messages=1", "NServiceBus=1"}) CHECK_FALSE_MESSAGE(is_web_client_query(query), query);
}

TEST_CASE("gw-listen: an answer's bytes") {
  Answer answer;
  answer.text = "OK";
  CHECK(format_answer(answer, false, true, 1795260941000) ==
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nDate: Sat, 21 Nov 2026 11:35:41 GMT\r\n"
        "X-Content-Type-Options: nosniff\r\nContent-Length: 2\r\n\r\nOK");
  answer.status = 412;
  answer.text = "no";
  answer.fields = "Retry-After: 1\r\n";
  std::string error = format_answer(answer, true, false, 0);
  CHECK(error.find("HTTP/1.1 412 no\r\n") == 0);
  CHECK(error.find("\r\nRetry-After: 1\r\nConnection: close\r\n") != std::string::npos);
  CHECK(error.ends_with("Content-Length: 2\r\n\r\n"));
  answer.text = "a\r\nSet-Cookie: x";
  CHECK(format_answer(answer, true, false, 0).find("HTTP/1.1 412 Precondition Failed\r\n") == 0);
}

// --- the pipeline -------------------------------------------------------------------------------------------------------

TEST_CASE("gw-listen: stored, duplicate, conflict") {
  Fixture f;
  CHECK(f.answer(submit("one", "body")).status == 200);
  CHECK(f.answer(submit("one", "body")).text == "OK");
  CHECK(f.stored() == 1);
  Answer conflict = f.answer(submit("one", "other"));
  CHECK(conflict.status == 422);
  CHECK(conflict.text == "same id, other body");
  CHECK(f.stored() == 1);
  auto claims = f.queue.claim(1);
  REQUIRE(claims);
  REQUIRE(claims->size() == 1);
  const gw::Message& message = (*claims)[0].message();
  CHECK(message.body.bytes() == "body");
  CHECK(message.headers.get("A") == "b");
  CHECK(message.headers.get("NServiceBus.ReplyToAddress") == "Store1.gateway");
}

TEST_CASE("gw-listen: large bodies, chunked bodies, and 100 Continue") {
  Fixture f;
  std::string large(300'000, 'x');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 23);
  CHECK(f.answer(submit("large", large)).status == 200);
  Request chunked = submit("chunked", large);
  chunked.fields.back() = {"Transfer-Encoding", "chunked"};
  chunked.fields.emplace_back("Expect", "100-continue");
  FakeExchange exchange(chunked);
  f.receiver->handle(exchange);
  CHECK(exchange.answers.at(0).status == 200);
  CHECK(exchange.continued);
  auto claims = f.queue.claim(2);
  REQUIRE(claims);
  REQUIRE(claims->size() == 2);
  for (auto& claim : *claims) {
    auto body = claim.message().body.read_all();
    REQUIRE(body);
    CHECK(*body == large);
  }
}

TEST_CASE("gw-listen: what is not whole is not stored") {
  Fixture f;
  Request cut = submit("cut", std::string(1000, 'x'));
  cut.body.resize(700);
  cut.ends_with = Exchange::Read::cut;
  CHECK(f.answer(cut).text == "the body ended after 700 of 1000 bytes");
  cut.ends_with = Exchange::Read::end;  // a server that takes a stall for the end
  CHECK(f.answer(cut).status == 400);
  cut.ends_with = Exchange::Read::too_slow;
  CHECK(f.answer(cut).status == 408);
  Request wrong = submit("wrong", "body");
  wrong.fields.emplace_back("Content-MD5", "AAAA");
  CHECK(f.answer(wrong).status == 412);
  CHECK(f.stored() == 0);
}

TEST_CASE("gw-listen: who and what is let in") {
  Fixture f;
  Channel limited = channel("http://127.0.0.1/Store1/");
  limited.max_body_bytes = 10;
  limited.allow_endpoints = {"HQ"};
  f.receiver->set_channels({limited});
  CHECK(f.answer(submit("x", "body")).status == 403);
  Request from_hq = submit("x", "body");
  from_hq.fields.emplace_back("NServiceBus.Header.NServiceBus.OriginatingEndpoint", "HQ");
  CHECK(f.answer(from_hq).status == 200);
  Request large = submit("y", "more than ten");
  large.fields.emplace_back("NServiceBus.Header.NServiceBus.OriginatingEndpoint", "HQ");
  CHECK(f.answer(large).status == 413);
  large.fields[5] = {"Transfer-Encoding", "chunked"};
  CHECK(f.answer(large).status == 413);
  f.free_bytes = 0;
  f.receiver->set_channels({channel("http://127.0.0.1/Store1/")});
  Answer full = f.answer(submit("z", std::string(100'000, 'x')));
  CHECK(full.status == 507);
  CHECK(full.fields.find("Retry-After: ") == 0);
  REQUIRE(f.queue.hold(true, false, "test"));
  CHECK(f.answer(submit("held", "body")).status == 503);
  REQUIRE(f.queue.hold(true, true, ""));
  f.stopping = true;
  CHECK(f.answer(submit("late", "body")).status == 503);
  CHECK(f.stored() == 1);
}

TEST_CASE("gw-listen: other requests") {
  Fixture f;
  Request get;
  get.method = "GET";
  CHECK(f.answer(get).text == "<html><body>EndpointName:Store1 - Status: Ok</body></html>");
  get.target = "/healthz";
  CHECK(f.answer(get).status == 200);
  f.stopping = true;
  CHECK(f.answer(get).status == 503);
  f.stopping = false;
  get.target = "/elsewhere";
  CHECK(f.answer(get).status == 404);
  get.target = "/Store1/";
  get.has_query = true;
  get.query = "Message=x";
  CHECK(f.answer(get).status == 403);
  get.query = "_=1";
  CHECK(f.answer(get).status == 200);
  Request put = submit("x", "y");
  put.method = "PUT";
  CHECK(f.answer(put).status == 405);
  Request property = submit("x", "y");
  property.fields[2].second = "SingleCallDatabusProperty";
  CHECK(f.answer(property).status == 400);
  property.fields.emplace_back("NServiceBus.Gateway.DataBusKey", "k");
  CHECK(f.answer(property).status == 200);
  Request bus = submit("z", "y");
  bus.fields.emplace_back("NServiceBus.Header.NServiceBus.DataBus.one", "k");
  CHECK(f.answer(bus).text == "Expected 1 claimcheck properties. None were received. Please resubmit.");
  CHECK(f.stored() == 0);
}

// --- properties and the calls of NServiceBus 3 ----------------------------------------------------------------------------

namespace {

constexpr const char* wire_one = "NServiceBus.Header.NServiceBus.DataBus.One";

Request call(const char* type, std::string_view id, std::string body) {
  Request request = submit(id, std::move(body));
  request.fields[2].second = type;
  return request;
}
Request property(std::string_view id, std::string body, const char* type = "SingleCallDatabusProperty") {
  Request request = call(type, id, std::move(body));
  request.fields.emplace_back("NServiceBus.Gateway.DataBusKey", wire_one);
  return request;
}
Request with_property(Request request, const char* name = wire_one) {
  request.fields.emplace_back(name, "theirs");
  return request;
}
size_t blobs(const Fixture& f) {
  size_t count = 0;
  std::error_code none;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(f.path + "/root/databus", none)) count += entry.is_regular_file();
  return count;
}
gw::Headers taken(Fixture& f) {
  auto claims = f.queue.claim(1);
  REQUIRE(claims);
  REQUIRE(claims->size() == 1);
  return (*claims)[0].message().headers;
}

}  // namespace

TEST_CASE("gw-listen: properties, then their message") {
  Fixture f;
  CHECK(f.answer(with_property(submit("a", "body"))).text == "Expected 1 claimcheck properties. None were received. Please resubmit.");
  const std::string blob(200'000, 'b');
  CHECK(f.answer(property("a", blob)).status == 200);
  CHECK(f.answer(property("a", blob)).status == 200);
  CHECK(f.answer(property("a", "another")).status == 200);  // the first stays
  CHECK(blobs(f) == 1);
  Request both = with_property(with_property(submit("a", "body")), "NServiceBus.Header.NServiceBus.DataBus.Two");
  CHECK(f.answer(both).text == "ClaimCheck property NServiceBus.Header.NServiceBus.DataBus.Two was never received. Please resubmit.");
  CHECK(f.stored() == 0);
  // As after a hop that has put the names into lower case.
  CHECK(f.answer(with_property(submit("a", "body"), "nservicebus.header.nservicebus.databus.one")).status == 200);
  CHECK(f.answer(with_property(submit("a", "body"))).status == 200);
  CHECK(f.answer(with_property(submit("a", "other"))).status == 422);
  CHECK(f.answer(property("a", blob)).status == 200);
  CHECK(f.stored() == 1);
  CHECK(blobs(f) == 1);
  auto headers = taken(f);
  const std::string key(headers.get("NServiceBus.DataBus.One"));
  CHECK(gw::blob_key_ok(key));
  CHECK(std::filesystem::file_size(gw::blob_path(f.path + "/root", key)) == blob.size());
  bool restored = false;
  for (const auto& entry : headers.entries()) restored |= entry.name == "NServiceBus.DataBus.One";
  CHECK(restored);
  // The file is the message's.
  CHECK(*f.store->purge_properties(INT64_MAX - 1, [&](const std::string& k) { return gw::remove_blob(f.path + "/root", k); }, false) == 0);
  CHECK(blobs(f) == 1);
}

TEST_CASE("gw-listen: of a property that is refused nothing stays") {
  Fixture f;
  Request bad = property("a", "body");
  bad.fields.emplace_back("Content-MD5", "AAAA");
  CHECK(f.answer(bad).status == 412);
  Request cut = property("a", "body");
  cut.fields[5].second = "400000";
  cut.ends_with = Exchange::Read::cut;
  CHECK(f.answer(cut).status == 400);
  f.free_bytes = 0;
  CHECK(f.answer(property("a", "body")).status == 507);
  CHECK(blobs(f) == 0);
  CHECK(f.store->properties("Store1", "a", false)->rows.empty());
}

TEST_CASE("gw-listen: an empty property is one") {
  Fixture f;
  CHECK(f.answer(property("a", "")).status == 200);
  CHECK(f.answer(with_property(submit("a", "body"))).status == 200);
  CHECK(blobs(f) == 1);
}

TEST_CASE("gw-listen: a message of NServiceBus 3 is held until its Ack") {
  Fixture f;
  CHECK(f.answer(call("Ack", "a", "")).text == "Message ID was never received. Please resubmit.");
  CHECK(f.answer(with_property(call("Submit", "a", "body"))).status == 200);
  CHECK(f.answer(with_property(call("Submit", "a", "body"))).status == 200);
  CHECK(f.answer(call("Submit", "a", "other")).status == 422);
  CHECK(f.answer(call("Ack", "a", "")).text == "Expected 1 claimcheck properties. None were received. Please resubmit.");
  CHECK(f.answer(property("a", "blob", "DatabusProperty")).status == 200);
  CHECK(f.stored() == 0);
  CHECK(f.answer(call("Ack", "a", "")).status == 200);
  CHECK(f.answer(call("Ack", "a", "")).status == 200);
  CHECK(f.stored() == 1);
  CHECK(gw::blob_key_ok(taken(f).get("NServiceBus.DataBus.One")));
  CHECK(f.store->properties("Store1", "a", false)->rows.empty());
  Request at_once = call("Submit", "b", "body");
  at_once.fields.emplace_back("NServiceBus.AutoAck", "true");
  CHECK(f.answer(at_once).status == 200);
  CHECK(f.stored() == 2);
  CHECK(f.answer(call("Ack", "b", "")).status == 200);
  CHECK(f.stored() == 2);
}

TEST_CASE("gw-listen: a held message that is sent again in one call needs no Ack") {
  Fixture f;
  CHECK(f.answer(call("Submit", "a", "body")).status == 200);
  CHECK(f.stored() == 0);
  CHECK(f.answer(submit("a", "body")).status == 200);
  CHECK(f.stored() == 1);
  CHECK(f.answer(submit("a", "body")).status == 200);
  CHECK(f.stored() == 1);
}

TEST_CASE("gw-listen: an Ack while somebody has the held message is for later") {
  Fixture f;
  CHECK(f.answer(call("Submit", "a", "body")).status == 200);
  {
    auto claims = f.held->queue()->claim(1);
    REQUIRE(claims->size() == 1);
    CHECK(f.answer(call("Ack", "a", "")).status == 503);
  }
  CHECK(f.answer(call("Ack", "a", "")).status == 200);
  CHECK(f.stored() == 1);
}

TEST_CASE("gw-listen: a held message whose Ack never comes goes after seven days, with its id and its blobs") {
  Fixture f;
  CHECK(f.answer(with_property(call("Submit", "a", "body"))).status == 200);
  CHECK(f.answer(property("a", "blob", "DatabusProperty")).status == 200);
  const int64_t now = f.held->queue()->last_put_ms();
  CHECK(*f.held->sweep(now + held_ms_max - 60'000) == 0);
  CHECK(blobs(f) == 1);
  CHECK(*f.held->sweep(now + held_ms_max + 60'000) == 1);
  CHECK(blobs(f) == 0);
  CHECK(f.answer(call("Ack", "a", "")).status == 412);
  CHECK(f.answer(call("Submit", "a", "other body")).status == 200);
}

TEST_CASE("gw-listen: a held message whose id was purged and that came again leaves the later one alone when it goes") {
  Fixture f;
  CHECK(f.answer(with_property(call("Submit", "a", "body"))).status == 200);
  const int64_t first_at = f.held->queue()->last_put_ms();
  REQUIRE(f.store->purge(INT64_MAX - 1, [](const gw::Xid&) { return false; }, false));
  for (int64_t until = gw::now_ms() + 5; gw::now_ms() < until;) std::this_thread::yield();
  CHECK(f.answer(with_property(call("Submit", "a", "body"))).status == 200);
  CHECK(f.answer(property("a", "blob", "DatabusProperty")).status == 200);
  CHECK(*f.held->sweep(first_at + held_ms_max + 2) == 1);
  CHECK(blobs(f) == 1);
  CHECK(f.answer(call("Ack", "a", "")).status == 200);
  CHECK(f.stored() == 1);
}

// --- the committer ------------------------------------------------------------------------------------------------------

TEST_CASE("gw-listen: what waits is committed together, each waiter gets its own result") {
  std::atomic<int> batches{0}, total{0};
  std::atomic<size_t> largest{0};
  Committer committer(
      [&](std::vector<gw::Transaction>&& all) {
        ++batches;
        largest = std::max(largest.load(), all.size());
        std::vector<gw::Result<gw::CommitResult>> results;
        for (size_t i = 0; i < all.size(); ++i) {
          if (++total % 10 == 0) {
            results.push_back(gw::Error{gw::ExitCode::not_now, 0, "tenth"});
          } else {
            gw::CommitResult result;
            result.puts.resize(1);
            results.push_back(std::move(result));
          }
        }
        std::this_thread::yield();
        return results;
      },
      [] { return 24u; }, [](const gw::Error&) { std::abort(); });
  REQUIRE(committer.start());
  std::atomic<int> good{0}, refused{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 24; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        auto result = committer.commit(gw::Transaction());
        if (result && result->puts.size() == 1) ++good;
        if (!result && result.error().text == "tenth") ++refused;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(good + refused == 24 * 200);
  CHECK(refused == 480);
  CHECK(largest > 1);
  CHECK(batches < 24 * 200);
}

TEST_CASE("gw-listen: who does not wait for a commit is called in order, while others wait") {
  Committer committer(
      [](std::vector<gw::Transaction>&& all) {
        std::vector<gw::Result<gw::CommitResult>> results;
        for (size_t i = 0; i < all.size(); ++i) results.push_back(gw::CommitResult{});
        return results;
      },
      [] { return 4u; }, [](const gw::Error&) { std::abort(); });
  REQUIRE(committer.start());
  std::vector<int> called;  // by the committer's thread only
  std::atomic<int> count{0};
  std::thread waits([&] {
    for (int i = 0; i < 100; ++i) CHECK(committer.commit(gw::Transaction()));
  });
  for (int i = 0; i < 1000; ++i)
    committer.submit(gw::Transaction(), [&, i](gw::Result<gw::CommitResult>&& result) {
      if (result) called.push_back(i);
      ++count;
      count.notify_one();
    });
  waits.join();
  while (count < 1000) count.wait(count.load());
  CHECK(called.size() == 1000);
  CHECK(std::is_sorted(called.begin(), called.end()));
}

TEST_CASE("gw-listen: what a proxy has done is told") {
  auto advice = [](std::vector<HeadField> fields) {
    Request request;
    request.fields = std::move(fields);
    return proxy_advice(FakeExchange(request).head());
  };
  CHECK(advice({{"Host", "x"}}).empty());
  CHECK(advice({{"Host", "x"}, {"Via", "1.1 p"}, {"nservicebus.calltype", "Submit"}}).empty());
  for (const char* name : {"Via", "x-forwarded-for", "X-Forwarded-Proto", "Forwarded", "Content-MD5"})
    CHECK(advice({{"Host", "x"}, {name, "v"}}).find(std::string(name) + ": v") != std::string::npos);
}

TEST_CASE("gw-listen: HTTP/1.0 health checks need no Host") {
  auto status = [](const char* method, const char* version) {
    Request request;
    request.method = method;
    request.version = version;
    request.fields = {};
    FakeExchange exchange(request);
    const auto* refused = std::get_if<gw::WireRefusal>(&exchange.plan());
    return refused ? refused->status : 200;
  };
  CHECK(status("GET", "1.0") == 200);
  CHECK(status("HEAD", "1.0") == 200);
  CHECK(status("GET", "1.1") == 400);
  CHECK(status("POST", "1.0") == 400);
}
