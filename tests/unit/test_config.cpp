#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>

#include "config.hpp"
#include "config_names.hpp"
#include "scratch.hpp"

using namespace gw;

namespace {

// A configuration in a directory of its own.
struct File {
  Scratch dir;
  const std::string path = dir.path + "/config.xml";
  explicit File(const std::string& text) { write(text); }
  void write(const std::string& text) { dir.write("config.xml", text); }
};

// The error lines without the file's name; "" if the text is fine.
std::string faults(const std::string& text) {
  File file(text);
  auto config = load_config(file.path, true);
  if (config) return "";
  CHECK(config.error().code == ExitCode::config);
  std::string lines = config.error().text, plain;
  for (size_t at; (at = lines.find(file.path)) != std::string::npos;) lines.erase(at, file.path.size());
  return lines;
}

std::string site(const std::string& attributes) {
  return "<gatepost><Gateway><Sites>\n<Site " + attributes + "/>\n</Sites></Gateway></gatepost>";
}
std::string channel(const std::string& attributes) {
  return "<gatepost><Gateway><Channels>\n<Channel " + attributes + "/>\n</Channels></Gateway></gatepost>";
}
const std::string good = "Key=\"S\" Address=\"http://h/\"";

const std::string everything = R"(<?xml version="1.0" encoding="utf-8"?>
<!-- all there is -->
<gatepost>
  <Gateway Endpoint="HQ" ErrorQueue="bad" Retries="4" RetryIncrement="60s" Outages="wait" GiveUpAfter="5d" RetryPolicy="./policy" MaxTransfers="64" Rate="10M/s"
           ConnectTimeout="5s" AnswerTimeout="1m40s">
    <Sites>
      <Site Key="Store17" Address="https://store17.example/Store17/" ChannelType="HTTP" Groups="stores, north" Concurrency="8" Rate="1M/s" Window="22:00-05:00"
            ClientCert="tls/c.pem" ClientKey="/etc/k.pem" CaFile="ca.pem" TokenFile="t" Proxy="http://proxy:3128" ProxyUserFile="p" HeaderCase="lower" LegacyMode="True"/>
      <Site Key="Store18" Address="file-drop" ChannelType="file"></Site>
    </Sites>
    <Channels>
      <Channel Address="https://+:8443/HQ/" Default="true" MaxConcurrency="32" Cert="c" Key="k" ClientCa="ca" TokenFile="t" MaxBody="2G" ReplyToUri="https://hq/HQ/"
               WebClients="true" Ciphers="HIGH" CorsOrigins="https://shop.example" HeaderNames="A,B">
        <Client Name="Store17" San="store17.example" Fingerprint="SHA256:0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789abcdef" AllowEndpoints="Store17,Store"/>
      </Channel>
    </Channels>
  </Gateway>
  <Machines><Machine Name="vm2" Address="http://vm2:7000/machine/" TokenFile="vm2.token" Concurrency="2"/></Machines>
  <Queue Name="Sales" MaxBytes="1G" Mode="0660"/>
  <Queue Name="error"/>
</gatepost>
)";

}  // namespace

TEST_CASE("config: every attribute of our format arrives") {
  File file(everything);
  auto loaded = load_config(file.path, true);
  REQUIRE_MESSAGE(loaded, loaded.error().text);
  const Config& c = *loaded;
  CHECK(c.path == file.path);
  CHECK(c.endpoint == "HQ");
  CHECK(c.error_queue == "bad");
  CHECK(c.retries == 4u);
  CHECK(c.retry_increment_ms == 60'000);
  CHECK(c.outages_wait == true);
  CHECK(c.give_up_after_ms == 5 * 86'400'000ll);
  CHECK(c.retry_policy == file.dir.path + "/policy");
  CHECK(c.max_transfers == 64u);
  CHECK(c.rate_bytes == uint64_t{10} << 20);
  CHECK(c.connect_timeout_ms == 5000);
  CHECK(c.answer_timeout_ms == 100'000);
  REQUIRE(c.sites.size() == 2);
  const SiteConfig& s = c.sites[0];
  CHECK(s.key == "Store17");
  CHECK(s.channel_type == "http");
  CHECK(s.groups == std::vector<std::string>{"stores", "north"});
  CHECK(s.concurrency == 8);
  CHECK(s.rate_bytes == uint64_t{1} << 20);
  CHECK(s.window == "22:00-05:00");
  CHECK(s.client_cert == file.dir.path + "/tls/c.pem");
  CHECK(s.client_key == "/etc/k.pem");
  CHECK(s.proxy == "http://proxy:3128");
  CHECK(s.header_case_lower);
  CHECK(s.legacy_mode);
  CHECK(s.line == 7);
  CHECK(c.sites[1].channel_type == "file");
  CHECK(c.sites[1].concurrency == 4);
  CHECK_FALSE(c.sites[1].legacy_mode);
  REQUIRE(c.channels.size() == 1);
  CHECK(c.channels[0].is_default);
  CHECK(c.channels[0].max_concurrency == 32);
  CHECK(c.channels[0].max_body == uint64_t{2} << 30);
  CHECK(c.channels[0].web_clients);
  REQUIRE(c.channels[0].clients.size() == 1);
  CHECK(c.channels[0].clients[0].fingerprint == "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  CHECK(c.channels[0].clients[0].allow_endpoints.size() == 2);
  REQUIRE(c.machines.size() == 1);
  CHECK(c.machines[0].link.key == "@vm2");
  CHECK(c.machines[0].link.concurrency == 2);
  REQUIRE(c.queues.size() == 2);
  CHECK(c.queues[0].max_bytes == uint64_t{1} << 30);
  CHECK(c.queues[0].mode == 0660u);
  CHECK_FALSE(c.queues[1].mode);
}

TEST_CASE("config: the original's format") {
  File file(R"(<configuration>
  <configSections><section name="GatewayConfig" type="NServiceBus.Config.GatewayConfig, NServiceBus.Core" /></configSections>
  <appSettings><add key="NServiceBus/Transport" value="x"/></appSettings>
  <GatewayConfig TransactionTimeout="00:01:00">
    <Sites><Site Key="SiteA" Address="http://SiteA.mycorp.com/" ChannelType="Http" LegacyMode="false"/>
      <Site Key="SiteB" Address="http://SiteB.mycorp.com/" ChannelType="http"/></Sites>
    <Channels>
      <Channel Address="http://Headquarter.mycorp.com/" ChannelType="Http" Default="True" MaxConcurrency="3"/>
      <Channel Address="http://+:25899/RemoteSite/" ChannelType="Http" />
      <Channel Address="http://+:25899/Old/" ChannelType="Http" NumberOfWorkerThreads="5"/>
    </Channels>
  </GatewayConfig>
  <MasterNodeConfig Node="host1"/>
  <UnicastBusConfig DistributorControlAddress="E.Distributor.Control@host" DistributorDataAddress="E@host">
    <MessageEndpointMappings><add Messages="A" Endpoint="B"/></MessageEndpointMappings>
  </UnicastBusConfig>
</configuration>)");
  auto c = load_config(file.path, true);
  REQUIRE_MESSAGE(c, c.error().text);
  REQUIRE(c->sites.size() == 2);
  CHECK(c->sites[0].channel_type == "http");
  CHECK_FALSE(c->sites[0].legacy_mode);
  CHECK(c->sites[1].legacy_mode);
  REQUIRE(c->channels.size() == 3);
  CHECK(c->channels[0].is_default);
  CHECK(c->channels[0].max_concurrency == 3);
  CHECK(c->channels[1].max_concurrency == 1);
  CHECK(c->channels[2].max_concurrency == 5);
  CHECK(c->master_node == "host1");
  CHECK(c->distributor_control_address == "E.Distributor.Control@host");
  CHECK(c->distributor_data_address == "E@host");
  CHECK(faults("<configuration>\n<GatewayConfg/>\n</configuration>").find(":2: unknown element 'GatewayConfg'") == 0);
  CHECK(faults("<configuration><GatewayConfig><Sites>\n<Site Key='a' Address='http://h'/></Sites></GatewayConfig></configuration>")
            .find("without ChannelType") != std::string::npos);
  CHECK(faults("<configuration><GatewayConfig TransactionTimeout='soon'/></configuration>").find(":1: TransactionTimeout='soon'") == 0);
}

TEST_CASE("config: what is refused, with line and expectation") {
  struct Case {
    std::string name, text, want;
  };
  const Case cases[] = {
      {"unknown attribute", site(good + "\n Adress=\"x\""), ":3: unknown attribute 'Adress' in <Site>, expected Key, Address, "},
      {"unknown element", "<gatepost>\n<Gatway/></gatepost>",
       ":2: unknown element 'Gatway' in <gatepost>, expected <Gateway>, <Machines>, <Queue>"},
      {"duplicate attribute", site(good + " Key=\"S\""), ":2: attribute 'Key' twice in <Site>, expected it once"},
      {"missing key", site("Address=\"http://h/\""), ":2: <Site> without Key, expected Key=\"...\""},
      {"missing address", channel("Default=\"true\""), ":2: <Channel> without Address"},
      {"empty key", site("Key=\"\" Address=\"http://h/\""), ":2: Key='' in <Site>"},
      {"key with a slash", site("Key=\"a/b\" Address=\"http://h/\""), ":2: Key='a/b' in <Site>, expected 1 to 145 letters"},
      {"key too long", site("Key=\"" + std::string(146, 'a') + "\" Address=\"http://h/\""), ":2: Key="},
      {"no url", site("Key=\"a\"\nAddress=\"ftp://h/\""), ":3: Address='ftp://h/' in <Site>, expected http://HOST"},
      {"no url for https", site("Key='a' Address='h' ChannelType='https'"), ":2: Address='h' in <Site>, expected http://HOST"},
      {"wildcard site", site("Key=\"a\" Address=\"http://+:80/\""), ":2: Address='http://+:80/'"},
      {"port", site("Key=\"a\" Address=\"http://h:65536/\""), ":2: Address="},
      {"concurrency 0", site(good + " Concurrency=\"0\""), ":2: Concurrency='0' in <Site>, expected a number from 1 to 1024"},
      {"concurrency text", site(good + " Concurrency=\"4x\""), ":2: Concurrency='4x'"},
      {"rate", site(good + " Rate=\"10\""), ":2: Rate='10' in <Site>, expected a rate like 10M/s"},
      {"window", site(good + " Window=\"24:00-05:00\""), ":2: Window='24:00-05:00'"},
      {"bool", site(good + " LegacyMode=\"yes\""), ":2: LegacyMode='yes' in <Site>, expected true or false"},
      {"header case", site(good + " HeaderCase=\"Lower\""), ":2: HeaderCase='Lower' in <Site>, expected exact or lower"},
      {"certificate alone", site(good + " ClientCert=\"c\""), ":2: ClientCert without ClientKey in <Site>, expected both or none"},
      {"key alone", channel("Address=\"https://+/\" Key=\"c\""), ":2: Key without Cert in <Channel>"},
      {"channel type", site(good + " ChannelType=\"../x\""), ":2: ChannelType='../x'"},
      {"key twice", "<gatepost><Gateway><Sites>\n<Site " + good + "/>\n<Site " + good + "/></Sites></Gateway></gatepost>",
       ":3: Key='S' of <Site> is in line 2 already"},
      {"address twice",
       "<gatepost><Gateway><Channels>\n<Channel Address='http://+:1/'/>\n<Channel Address='http://+:1/'/></Channels></Gateway></gatepost>",
       ":3: Address='http://+:1/' of <Channel> is in line 2 already"},
      {"outages", "<gatepost><Gateway Outages='maybe'/></gatepost>", ":1: Outages='maybe' in <Gateway>, expected count or wait"},
      {"endpoint", "<gatepost><Gateway Endpoint='.x'/></gatepost>", ":1: Endpoint='.x'"},
      {"retries", "<gatepost><Gateway Retries='-1'/></gatepost>", ":1: Retries='-1'"},
      {"duration", "<gatepost><Gateway RetryIncrement='soon'/></gatepost>", ":1: RetryIncrement='soon'"},
      {"mode", "<gatepost><Queue Name='a' Mode='0999'/></gatepost>", ":1: Mode='0999'"},
      {"queue twice", "<gatepost><Queue Name='a'/>\n<Queue Name='a'/></gatepost>", ":2: Name='a' of <Queue> is in line 1 already"},
      {"gateway twice", "<gatepost><Gateway/>\n<Gateway/></gatepost>", ":2: <Gateway> twice in <gatepost>, expected it once"},
      {"fingerprint",
       "<gatepost><Gateway><Channels><Channel Address='http://h'><Client Name='a' "
       "Fingerprint='sha256:12'/></Channel></Channels></Gateway></gatepost>",
       ":1: Fingerprint='sha256:12'"},
      {"stray text", "<gatepost>\n\n hello\n</gatepost>", ":3: text 'hello' in <gatepost>, expected elements only"},
      {"text in a leaf", "<gatepost><Queue Name='a'>\nx</Queue></gatepost>", ":2: text 'x' in <Queue>"},
      {"cdata", "<gatepost><![CDATA[x]]></gatepost>", ":1: text 'x'"},
      {"text behind the root", "<gatepost/>\nhello", ":2: text 'hello' outside of the root element"},
      {"second root", "<gatepost/>\n<gatepost/>", ":2: a second root element <gatepost>, expected the end of the file"},
      {"other root", "\n<gatepst/>", ":2: root element <gatepst>, expected <gatepost>, <configuration>"},
      {"DOCTYPE", "<!DOCTYPE gatepost [<!ENTITY a 'b'>]>\n<gatepost/>", ":1: DOCTYPE, expected none"},
      {"empty", "", ":1: no element, expected <gatepost> or <configuration>"},
      {"a comment only", "<!-- -->", ":1: no element"},
      {"unclosed", "<gatepost>\n<Gateway>\n", ": start-end tags mismatch, expected well-formed XML"},
      {"wrong end", "<gatepost>\n</gatepst>", ":2: start-end tags mismatch"},
      {"unknown entity", "<gatepost>\n<Gateway RetryPolicy='&foo;'/></gatepost>",
       ":2: '&' that begins no known character reference ('foo')"},
      {"bare ampersand", site("Key='a' Address='http://h/?a&b'"), ":2: '&' that begins no known"},
      {"reference to NUL", site("Key='a&#0;' Address='http://h/'"), ":2: '&' that begins no known character reference ('#0')"},
      {"'<' in a value", "<gatepost><Gateway RetryPolicy='a<b'/></gatepost>", ":1: '<' inside an attribute value"},
      {"not UTF-8", "<gatepost>\n<!-- \xff --></gatepost>", ":2: bytes that are not UTF-8"},
      {"NUL byte", std::string("<gatepost>\n\0</gatepost>", 23), ":2: control byte 0"},
  };
  for (const Case& c : cases) {
    CAPTURE(c.name);
    std::string found = faults(c.text);
    CAPTURE(found);
    CHECK(found.find(c.want) != std::string::npos);
    CHECK(found.find(", expected ") != std::string::npos);
  }
}

TEST_CASE("config: all faults at once, in order of their lines") {
  std::string found =
      faults("<gatepost>\n<Queue Name='a' Mode='x' Size='1'/>\n<Gateway Retries='x'>\n<Sites>\n<Site/></Sites></Gateway>\n</gatepost>");
  std::string lines;
  for (size_t at = 0; at != std::string::npos && at < found.size(); at = found.find('\n', at), at += at != std::string::npos)
    lines += found.substr(at + 1, 1);
  CHECK(lines == "22355");
}

TEST_CASE("config: suggestions") {
  CHECK(faults(site(good + " Adress=\"x\"")).find("did you mean 'Address'?") != std::string::npos);
  CHECK(faults("<gatepost><Gatway/></gatepost>").find("did you mean '<Gateway>'?") != std::string::npos);
}

TEST_CASE("config: depth and size have limits") {
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<a>";
  for (int i = 0; i < 100'000; ++i) deep += "</a>";
  CHECK(faults("<gatepost>\n" + deep + "</gatepost>").find(":2: elements nested more than 64 deep") == 0);
  CHECK(faults("<gatepost><!--" + std::string(1 << 20, 'x') + "--></gatepost>").find("larger than 1 MiB") != std::string::npos);
}

TEST_CASE("config: things that are fine") {
  for (const char* text :
       {"<gatepost/>", "\xef\xbb\xbf<gatepost/>", "<configuration/>", "<?xml version='1.0'?>\n<!-- a & b < c -->\n<gatepost></gatepost>\n",
        "<gatepost xmlns:xsi='x' xsi:schemaLocation='y'/>", "<gatepost>\r\n<Gateway/>\r\n</gatepost>"})
    CHECK(faults(text) == "");
  CHECK(faults(site("Key='a' Address='http://[::1]:80/?a&amp;b'")) == "");
  CHECK(faults(site("Key='a' Address='anything goes' ChannelType='x'")) == "");
}

TEST_CASE("config: a file that is not there") {
  CHECK(load_config("/tmp/gatepost-no-such-file.xml", false));
  CHECK(load_config("", false));
  auto missing = load_config("/tmp/gatepost-no-such-file.xml", true);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code == ExitCode::no_input);
  auto directory = load_config("/tmp", true);
  REQUIRE_FALSE(directory);
  CHECK(directory.error().code == ExitCode::config);
}

TEST_CASE("config: cut at any byte or with any byte changed it never crashes") {
  File file("");
  for (size_t n = 0; n < everything.size() - 1; ++n) {
    file.write(everything.substr(0, n));
    auto config = load_config(file.path, true);
    CAPTURE(n);
    CHECK_FALSE(config);
  }
  for (size_t n = 0; n < everything.size(); n += 3) {
    for (char c : {'<', '>', '"', '&', '\0', 'z'}) {
      std::string text = everything;
      text[n] = c;
      file.write(text);
      (void)load_config(file.path, true);
    }
  }
}

namespace {
/// PATH with one program of this name, as long as it lives.
class ProgramInPath {
 public:
  explicit ProgramInPath(const std::string& name) {
    std::filesystem::create_symlink("/bin/true", dir_.path + "/" + name);
    ::setenv("PATH", (dir_.path + ":" + before_).c_str(), 1);
  }
  ~ProgramInPath() { ::setenv("PATH", before_.c_str(), 1); }

 private:
  Scratch dir_;
  std::string before_ = std::getenv("PATH") ? std::getenv("PATH") : "";
};
}  // namespace

TEST_CASE("config: --site") {
  Config config;
  const ProgramInPath program("gw-channel-file");
  REQUIRE(add_site_option(config, "A=http://a/"));
  REQUIRE(add_site_option(config, "B=http://b/x,y/,httpvnext"));
  REQUIRE(add_site_option(config, "C=/mnt/usb,file"));
  REQUIRE(config.sites.size() == 3);
  CHECK(config.sites[1].address == "http://b/x,y/");
  CHECK(config.sites[1].channel_type == "httpvnext");
  CHECK(config.sites[2].address == "/mnt/usb");
  config.sites[0].groups = {"g"};
  REQUIRE(add_site_option(config, "A=https://other/"));
  REQUIRE(config.sites.size() == 3);
  CHECK(config.sites[0].address == "https://other/");
  CHECK(config.sites[0].groups.size() == 1);
  for (const char* bad : {"A", "=http://a/", "A=", "a/b=http://a/", ".a=http://a/", "A=ftp://x/", "A=/x,gw-no-such-type", "A=http://a b/", "A=,http"}) {
    CAPTURE(bad);
    auto result = add_site_option(config, bad);
    REQUIRE_FALSE(result);
    CHECK(result.error().code == ExitCode::usage);
  }
}

TEST_CASE("config: sites by key, pattern and group") {
  Config config;
  for (const char* option : {"Store1=http://a/", "Store2=http://b/", "HQ=http://c/", "Depot=http://d/"})
    REQUIRE(add_site_option(config, option));
  config.sites[0].groups = {"north"};
  config.sites[3].groups = {"north", "HQ"};
  auto keys = [&](const char* sites) {
    auto found = resolve_sites(config, sites);
    if (!found) return found.error().text;
    std::string text;
    for (const SiteConfig* s : *found) text += s->key + " ";
    return text;
  };
  CHECK(keys("HQ") == "HQ Depot ");
  CHECK(keys("Store2,Store1") == "Store1 Store2 ");
  CHECK(keys("Store*") == "Store1 Store2 ");
  CHECK(keys("Store[13], Store1,") == "Store1 ");
  CHECK(keys("north,Store1") == "Store1 Depot ");
  CHECK(keys("*") == "Store1 Store2 HQ Depot ");
  CHECK(keys("Nope,HQ,Z*") == "the following sites have not been configured: Nope, Z*");
  CHECK(resolve_sites(config, "Nope").error().code == ExitCode::usage);
  CHECK_FALSE(resolve_sites(config, ""));
  CHECK_FALSE(resolve_sites(config, " , "));
}
