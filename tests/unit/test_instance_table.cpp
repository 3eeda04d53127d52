// The rules of instance-mapping.xml and routing.xml.
#include <doctest/doctest.h>

#include "instance_table.hpp"
#include "map_source.hpp"
#include "routing_table.hpp"
#include "units.hpp"

using namespace gw;

namespace {

Result<InstanceTable> strict(const std::string& text) { return InstanceTable::parse("m.xml", text, "here", InstanceTable::Schema::strict); }

std::string fault(const std::string& text) {
  auto table = strict(text);
  return table ? "" : table.error().text;
}

std::string addresses(InstanceTable& table, const char* endpoint) {
  std::string text;
  for (const Instance& instance : table.instances(endpoint)) text += (text.empty() ? "" : " ") + instance.address;
  return text;
}

std::string in_endpoint(const std::string& instances) { return "<endpoints><endpoint name=\"A\">" + instances + "</endpoint></endpoints>"; }

}  // namespace

TEST_CASE("instance table: addresses") {
  auto table = strict(in_endpoint("<instance/><instance machine='vm1'/><instance queue='Q'/><instance discriminator='2'/>"
                                  "<instance queue='Q' discriminator='2' machine='vm1'/><instance machine='LocalHost'/><instance machine='.'/>"
                                  "<instance machine='127.0.0.1'/><instance machine='HERE'/><instance machine='vm1'/><instance machine='VM1'/>"));
  REQUIRE(table.has_value());
  CHECK(addresses(*table, "A") == "A@here A@vm1 Q@here A-2@here Q-2@vm1");
  CHECK(addresses(*table, "a") == "a@here");  // names are compared exactly; what is not in the map is here
  CHECK(table->find("a") == nullptr);
  CHECK(table->find_address("Q-2@vm1")->discriminator == "2");
  CHECK(table->find_address("Q-2@vm2") == nullptr);
  CHECK(table->find_address("Q-2@VM1") == table->find_address("Q-2@vm1"));  // a machine's name counts without regard to case
  CHECK(table->find_address("q-2@vm1") == nullptr);
  CHECK(strict("<endpoints/>").has_value());
  CHECK(strict("<endpoints></endpoints>").has_value());
}

TEST_CASE("instance table: an endpoint in two parts is one") {
  auto table = strict("<endpoints><endpoint name='A'><instance machine='x'/></endpoint><endpoint name='B'><instance/></endpoint>"
                      "<endpoint name='A'><instance machine='y'/><instance machine='x'/></endpoint></endpoints>");
  REQUIRE(table.has_value());
  CHECK(addresses(*table, "A") == "A@x A@y");
  CHECK(table->endpoints().size() == 2);
}

TEST_CASE("instance table: faults") {
  CHECK(fault("<endpoints><endpoint><instance/></endpoint></endpoints>") == "m.xml:1:13: The required attribute 'name' is missing.");
  CHECK(fault("<endpoints><endpoint name='A'></endpoint></endpoints>") ==
        "m.xml:1:13: The element 'endpoint' has incomplete content. List of possible elements expected: 'instance'.");
  CHECK(fault(in_endpoint("<instance MACHINE='x'/>")) == "m.xml:1:41: The 'MACHINE' attribute is not declared.; did you mean 'machine'?");
  CHECK(fault(in_endpoint("<instance site='x'/>")) == "m.xml:1:41: The 'site' attribute is not declared.");
  CHECK(fault(in_endpoint("<instance machine='x' machine='y'/>")).find("'machine' is a duplicate attribute name.") != std::string::npos);
  CHECK(fault(in_endpoint("<instance>text</instance>")) == "m.xml:1:41: The element cannot contain text. Content model is empty.");
  CHECK(fault(in_endpoint("<Instance/>")) ==
        "m.xml:1:32: The element 'endpoint' has invalid child element 'Instance'. List of possible elements expected: 'instance'.; did you mean 'instance'?");
  CHECK(fault("<Endpoints/>") == "m.xml:1:2: The 'Endpoints' element is not declared.; did you mean 'endpoints'?");
  CHECK(fault("<endpoints version='2'/>") == "m.xml:1:12: The 'version' attribute is not declared.");
  CHECK(fault("<endpoints><endpoint name=''><instance/></endpoint></endpoints>").find("'name' attribute is empty") != std::string::npos);
  CHECK(fault(in_endpoint("<instance queue='a b'/>")).find("'a b' is not a queue name") != std::string::npos);
  CHECK(fault(in_endpoint("<instance machine='a/b'/>")).find("'a/b' is not the name of a machine") != std::string::npos);
  CHECK(fault("").find("m.xml:1:1: no element, expected <endpoints>") == 0);
  CHECK(fault("<endpoints/><endpoints/>").find("a second root element") != std::string::npos);
  CHECK(fault("<!-- gr\xc3\xbcn --><endpoint/>") == "m.xml:1:15: The 'endpoint' element is not declared.; did you mean 'endpoints'?");
}

// Each rule of the two schemas: what is declared, how often, and what must not be there.
TEST_CASE("instance table: the schemas, rule by rule") {
  struct Rule {
    const char* text;
    const char* strict;  // what the fault says; "": valid
    const char* loose;
  };
  const char* name_missing = "The required attribute 'name' is missing.";
  const char* incomplete = "The element 'endpoint' has incomplete content. List of possible elements expected: 'instance'.";
  const Rule rules[] = {
      {"<endpoints/>", "", ""},
      {"<endpoints><!-- c --><?p i?></endpoints>", "", ""},
      {"<?xml version='1.0' encoding='utf-8'?><endpoints/>", "", ""},
      {"<root><endpoints/></root>", "The 'root' element is not declared.", "The 'root' element is not declared."},
      {"<endpoint name='A'><instance/></endpoint>", "The 'endpoint' element is not declared.", "The 'endpoint' element is not declared."},
      {"<endpoints a='1'/>", "The 'a' attribute is not declared.", "The 'a' attribute is not declared."},
      {"<endpoints>x</endpoints>", "The element 'endpoints' cannot contain text.", "The element 'endpoints' cannot contain text."},
      {"<endpoints><![CDATA[x]]></endpoints>", "The element 'endpoints' cannot contain text.", "The element 'endpoints' cannot contain text."},
      {"<endpoints><instance/></endpoints>", "The element 'endpoints' has invalid child element 'instance'.", "has invalid child element 'instance'."},
      {"<endpoints><endpoint><instance/></endpoint></endpoints>", name_missing, name_missing},
      {"<endpoints><endpoint Name='A'><instance/></endpoint></endpoints>", name_missing, name_missing},
      {"<endpoints><endpoint name=''><instance/></endpoint></endpoints>", "The 'name' attribute is empty", "The 'name' attribute is empty"},
      {"<endpoints><endpoint name='A' b='1'><instance/></endpoint></endpoints>", "The 'b' attribute is not declared.", "The 'b' attribute is not declared."},
      {"<endpoints><endpoint name='A'/></endpoints>", incomplete, incomplete},
      {"<endpoints><endpoint name='A'><!-- none --></endpoint></endpoints>", incomplete, incomplete},
      {"<endpoints><endpoint name='A'>x<instance/></endpoint></endpoints>", "The element 'endpoint' cannot contain text.", "cannot contain text."},
      {"<endpoints><endpoint name='A'><endpoint/></endpoint></endpoints>", "has invalid child element 'endpoint'.", "has invalid child element 'endpoint'."},
      {"<endpoints><endpoint name='A'><instance/><instance/></endpoint></endpoints>", "", ""},
      {"<endpoints><endpoint name='A'><instance discriminator='1' machine='m' queue='q'/></endpoint></endpoints>", "", ""},
      {"<endpoints><endpoint name='A'><instance queue='q' machine='m' discriminator='1'/></endpoint></endpoints>", "", ""},
      {"<endpoints><endpoint name='A'><instance discriminator='' machine='' queue=''/></endpoint></endpoints>", "", ""},
      {"<endpoints><endpoint name='A'><instance site='1'/></endpoint></endpoints>", "The 'site' attribute is not declared.", ""},
      {"<endpoints><endpoint name='A'><instance Queue='1'/></endpoint></endpoints>", "The 'Queue' attribute is not declared.; did you mean 'queue'?", ""},
      {"<endpoints><endpoint name='A'><instance machine='m' machine='m'/></endpoint></endpoints>", "is a duplicate attribute name.", "is a duplicate attribute name."},
      {"<endpoints><endpoint name='A'><instance>x</instance></endpoint></endpoints>", "Content model is empty.", "Content model is empty."},
      {"<endpoints><endpoint name='A'><instance><a/></instance></endpoint></endpoints>", "content model is empty.", "content model is empty."},
      {"<!DOCTYPE endpoints><endpoints/>", "DOCTYPE", "DOCTYPE"},
      {"<endpoints>", "expected well-formed XML", "expected well-formed XML"},
      {"<endpoints/>x", "outside of the root element", "outside of the root element"},
      {"<endpoints/><endpoints/>", "a second root element", "a second root element"},
  };
  for (const Rule& rule : rules) {
    CAPTURE(rule.text);
    for (const auto& [schema, expected] : {std::pair(InstanceTable::Schema::strict, rule.strict), {InstanceTable::Schema::loose, rule.loose}}) {
      auto table = InstanceTable::parse("m.xml", rule.text, "here", schema);
      const std::string said = table ? "" : table.error().text;
      CAPTURE(said);
      CHECK(table.has_value() == (*expected == '\0'));
      CHECK(said.find(expected) != std::string::npos);
      if (!table) CHECK(table.error().code == ExitCode::config);
    }
  }
}

TEST_CASE("instance table: how often it is read again") {
  CHECK(*parse_refresh("1s") == 1000);
  CHECK(*parse_refresh("30") == 30'000);
  CHECK(*parse_refresh("1d") == 24 * 3600 * 1000);
  for (const char* text : {"999ms", "0", "24h1s", "x", ""}) {
    CAPTURE(text);
    auto refresh = parse_refresh(text);
    REQUIRE_FALSE(refresh.has_value());
    CHECK(refresh.error().code == ExitCode::usage);
  }
  CHECK(parse_refresh("999ms").error().text.find("Value must be at least 1 second.") != std::string::npos);
  CHECK(parse_refresh("2d").error().text.find("Value must be less than 1 day.") != std::string::npos);
}

TEST_CASE("instance table: loose") {
  std::vector<MapWarning> warnings;
  auto table = InstanceTable::parse("m.xml", in_endpoint("<instance Machine='x' any='1'/>"), "here", InstanceTable::Schema::loose, &warnings);
  REQUIRE(table.has_value());
  CHECK(addresses(*table, "A") == "A@here");
  REQUIRE(warnings.size() == 2);
  CHECK(warnings[0].attribute == "Machine");
  CHECK(warnings[1].column == 53);
  CHECK_FALSE(InstanceTable::parse("m.xml", "<endpoints><endpoint nme='A'><instance/></endpoint></endpoints>", "here", InstanceTable::Schema::loose).has_value());
  CHECK_FALSE(InstanceTable::parse("m.xml", "<endpoints><endpoint name='A'/></endpoints>", "here", InstanceTable::Schema::loose).has_value());
}

TEST_CASE("instance table: versions and changes") {
  auto one = strict(in_endpoint("<instance machine='x'/>")), same = strict("<!-- c --><endpoints>\n<endpoint name='A'><instance machine='x' /></endpoint></endpoints>");
  auto other = strict(in_endpoint("<instance machine='y'/><instance machine='z'/>"));
  CHECK(one->version() == same->version());
  CHECK(one->version() != other->version());
  CHECK(one->version().size() == 16);
  CHECK(InstanceTable::nothing("here").version() == strict("<endpoints/>")->version());
  CHECK(describe_changes(*one, *other) == std::vector<std::string>{"Updated endpoint 'A': +2 instances, -1 instance"});
  CHECK(describe_changes(*one, *same).empty());
  CHECK(describe_changes(InstanceTable(), *other) == std::vector<std::string>{"Added endpoint 'A' with 2 instances"});
  CHECK(describe_changes(*one, InstanceTable()) == std::vector<std::string>{"Removed all instances of endpoint 'A'"});
}

TEST_CASE("routing table") {
  std::vector<MapWarning> warnings;
  auto table = RoutingTable::parse("r.xml",
                                   "<routing><route type='N.T' endpoint='One'/><route namespace='N' endpoint='Two'/><route assembly='Asm' endpoint='Three'/>"
                                   "<strategy endpoint='One' name='weighted' weights='One@a=3 One@b=0'/><strategy endpoint='Two' name='./choose'/></routing>",
                                   &warnings);
  REQUIRE(table.has_value());
  CHECK(table->find("N.T")->endpoint == "One");
  CHECK(table->find("N.T, Asm, Version=1.0.0.0")->endpoint == "One");
  CHECK(table->find("N.Other, Asm")->endpoint == "Two");
  CHECK(table->find("N.M.T, Asm")->endpoint == "Three");
  CHECK(table->find("N.M.T") == nullptr);
  CHECK(table->find("T") == nullptr);
  CHECK(table->strategy("One")->weights == std::vector<std::pair<std::string, unsigned>>{{"One@a", 3}, {"One@b", 0}});
  CHECK(table->strategy("Two")->name == "./choose");
  CHECK(table->strategy("Three") == nullptr);
  CHECK(table->no_route("N.M.X").text.find("No destination specified for message: N.M.X; ") == 0);
  CHECK(table->no_route("N.M.X").text.find("r.xml") != std::string::npos);
  CHECK(warnings.empty());
  auto fault_of = [](const char* text) {
    auto read = RoutingTable::parse("r.xml", text);
    return read ? std::string() : read.error().text;
  };
  CHECK(fault_of("<routing><route type='A'/></routing>").find("r.xml:1:11: <route> without endpoint") == 0);
  CHECK(fault_of("<routing><route endpoint='A'/></routing>").find("expected one of type") != std::string::npos);
  CHECK(fault_of("<routing><route type='A' namespace='B' endpoint='A'/></routing>").find("expected one of type") != std::string::npos);
  CHECK(fault_of("<routing><route type='A' endpoint='B'/><route type='A' endpoint='C'/></routing>").find("in line 1 already") != std::string::npos);
  CHECK(fault_of("<routing><route type='A' endpoint='B'/><route type='A' endpoint='B'/></routing>").empty());
  CHECK(fault_of("<routing><strategy endpoint='A' name='weighted'/></routing>").find("without weights") != std::string::npos);
  CHECK(fault_of("<routing><strategy endpoint='A' name='weighted' weights='A@b'/></routing>").find("ADDRESS=WEIGHT") != std::string::npos);
  CHECK(fault_of("<routng/>").find("did you mean") != std::string::npos);
  CHECK(fault_of("<routing><strategy endpoint='A' name='weighted' weights='A@@b=1'/></routing>") ==
        "r.xml:1:49: weights: Address contains multiple @ characters. Address supplied: 'A@@b'");
  CHECK(table->no_route("").text.find("it has no type") != std::string::npos);
  auto beside = RoutingTable::parse("/etc/r.xml", "<routing><strategy endpoint='A' name='./choose'/><strategy endpoint='B' name='choose'/></routing>");
  REQUIRE(beside.has_value());
  CHECK(beside->strategy("A")->name == "/etc/./choose");
  CHECK(beside->strategy("B")->name == "choose");
}

TEST_CASE("routing table: the original's mappings") {
  std::vector<MapWarning> warnings;
  auto table = RoutingTable::parse("app.config",
                                   "<configuration><other x='1'/><UnicastBusConfig><MessageEndpointMappings><add Messages='A.T, A' Endpoint='Q@m'/>"
                                   "<add Messages='B' Endpoint='R'/><add Assembly='C' Type='C.T' Endpoint='S@m'/><add Assembly='C' Endpoint='U'/>"
                                   "</MessageEndpointMappings></UnicastBusConfig></configuration>",
                                   &warnings);
  REQUIRE(table.has_value());
  CHECK(table->find("A.T")->address == "Q@m");
  CHECK(table->find("X, B")->address == "R");
  CHECK(table->find("C.T, C")->address == "S@m");
  CHECK(table->find("C.X, C")->address == "U");
  CHECK(warnings.size() == 4);
}
