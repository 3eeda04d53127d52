// The instance map and the routing.
#include <string>

#include "config_text.hpp"
#include "instance_table.hpp"
#include "routing_table.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "xml_tree.hpp"

namespace gw::fuzz {

namespace {

// What an edit would cut out of the text.
void check_spans(const std::string& text) {
  Faults none("m", text);
  const XmlNode root = parse_xml(text, "<endpoints>", none);
  for (const XmlNode& child : root.children) {
    const XmlSpan span = element_span(text, child), whole = element_span(text, root);
    require(span.begin < span.end && span.end <= whole.end, "an element lies within its parent");
    require(text[span.begin] == '<' && text[span.end - 1] == '>', "an element is from '<' to '>'");
    Faults part("m", text.substr(span.begin, span.end - span.begin));
    require(parse_xml(text.substr(span.begin, span.end - span.begin), "<endpoint>", part).name == child.name, "what is cut out is the element");
  }
}

}  // namespace

void instance_map(std::string_view input) {
  const std::string text(input);
  auto strict = InstanceTable::parse("m.xml", text, "here", InstanceTable::Schema::strict);
  auto loose = InstanceTable::parse("m.xml", text, "here", InstanceTable::Schema::loose);
  require(!strict || loose, "what is valid is valid loosely");
  if (!strict) {
    require(strict.error().code == ExitCode::config && strict.error().text.starts_with("m.xml:"), "a fault names its place");
  } else {
    require(strict->version() == loose->version(), "both read the same");
    require(describe_changes(*strict, *loose).empty(), "nothing has changed");
    for (const EndpointInstances& endpoint : strict->endpoints()) {
      require(!endpoint.instances.empty(), "an endpoint has instances");
      for (const Instance& instance : endpoint.instances) require(strict->find_address(instance.address) != nullptr, "an address is found");
    }
    check_spans(text);
  }
  auto routes = RoutingTable::parse("r.xml", text);
  if (routes) require(routes->no_route(text.substr(0, 100)).code == ExitCode::config, "no route is a fault of the configuration");
}

}  // namespace gw::fuzz
