#include "routing_table.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "address.hpp"
#include "config_names.hpp"
#include "config_text.hpp"
#include "queue.hpp"
#include "suggest.hpp"
#include "xml_tree.hpp"

namespace gw {

namespace {

constexpr unsigned weight_max = 1'000'000;

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

/// "Orders.Accept, Orders, Version=1.0.0.0" in its parts.
struct TypeName {
  explicit TypeName(std::string_view text) {
    const size_t comma = text.find(',');
    full = trimmed(text.substr(0, comma));
    if (comma != std::string_view::npos) assembly = trimmed(text.substr(comma + 1, text.find(',', comma + 1) - comma - 1));
    if (const size_t dot = full.rfind('.'); dot != std::string_view::npos) space = full.substr(0, dot);
  }
  std::string_view full, space, assembly;
};

// A program that is named by a path is relative to the file's directory, as all paths in files are.
std::string beside(const std::string& file, const std::string& name) {
  const size_t slash = file.rfind('/');
  const bool fetched = file.starts_with("http://") || file.starts_with("https://");
  if (name.find('/') == std::string::npos || name.starts_with('/') || slash == std::string::npos || fetched) return name;
  return file.substr(0, slash + 1) + name;
}

std::string expected_one_of(const std::string& word, const std::vector<std::string>& known) {
  std::string list, near = suggest(word, known);
  for (const std::string& name : known) {
    if (near.empty() && to_lower(name) == to_lower(word)) near = "did you mean '" + name + "'?";
    list += (list.empty() ? "" : ", ") + name;
  }
  return ", expected " + list + (near.empty() ? "" : "; " + near);
}

}  // namespace

class RoutingReader {
 public:
  RoutingReader(RoutingTable& table, Faults& faults, std::vector<MapWarning>* warnings) : table_(table), faults_(faults), warnings_(warnings) {}
  void read(const XmlNode& root);

 private:
  void fault(size_t at, const std::string& text) { faults_.add_at(at, text); }
  bool element(const XmlNode& parent, const XmlNode& child, const std::vector<std::string>& known);
  void attributes(const XmlNode& node, const std::vector<std::string>& known);
  std::string value(const XmlNode& node, const char* name) const {
    const XmlAttribute* attribute = node.attribute(name);
    return attribute ? std::string(trimmed(attribute->value)) : "";
  }
  void add(RoutingTable::ByName<Route>& routes, const char* what, const std::string& name, const XmlNode& node, Route route);
  void read_route(const XmlNode& node);
  void read_strategy(const XmlNode& node);
  bool read_weights(const XmlAttribute& attribute, StrategyRule& rule);
  void find_mappings(const XmlNode& node);
  void read_mapping(const XmlNode& node);

  RoutingTable& table_;
  Faults& faults_;
  std::vector<MapWarning>* warnings_;
};

bool RoutingReader::element(const XmlNode& parent, const XmlNode& child, const std::vector<std::string>& known) {
  if (child.kind == XmlNode::Kind::text) {
    fault(child.offset, "text in <" + parent.name + ">, expected elements only");
    return false;
  }
  if (std::find(known.begin(), known.end(), child.name) != known.end()) return true;
  fault(child.offset, "unknown element " + in_quotes(child.name) + " in <" + parent.name + ">" +
                          (known.empty() ? ", expected none" : expected_one_of(child.name, known)));
  return false;
}

void RoutingReader::attributes(const XmlNode& node, const std::vector<std::string>& known) {
  std::set<std::string_view> seen;
  for (const XmlAttribute& attribute : node.attributes) {
    if (!seen.insert(attribute.name).second)
      fault(attribute.offset, "attribute " + in_quotes(attribute.name) + " twice in <" + node.name + ">, expected it once");
    else if (std::find(known.begin(), known.end(), attribute.name) == known.end() && !attribute.name.starts_with("xmlns"))
      fault(attribute.offset, "unknown attribute " + in_quotes(attribute.name) + " in <" + node.name + ">" +
                                  (known.empty() ? ", expected none" : expected_one_of(attribute.name, known)));
  }
}

void RoutingReader::add(RoutingTable::ByName<Route>& routes, const char* what, const std::string& name, const XmlNode& node, Route route) {
  route.line = faults_.line_of(node.offset);
  auto [there, is_new] = routes.emplace(name, route);
  if (is_new || (there->second.endpoint == route.endpoint && there->second.address == route.address)) return;
  fault(node.offset, std::string(what) + " " + in_quotes(name) + " has a route in line " + std::to_string(there->second.line) + " already, expected one");
}

void RoutingReader::read_route(const XmlNode& node) {
  attributes(node, {"type", "namespace", "assembly", "endpoint"});
  for (const XmlNode& child : node.children) element(node, child, {});
  Route route;
  route.endpoint = value(node, "endpoint");
  if (!node.attribute("endpoint")) return fault(node.offset, "<route> without endpoint, expected endpoint=\"...\"");
  if (!queue_name_ok(route.endpoint))
    return fault(node.attribute("endpoint")->offset, "endpoint=" + in_quotes(route.endpoint) + " in <route>, expected the name of an endpoint");
  const std::string type = value(node, "type"), space = value(node, "namespace"), assembly = value(node, "assembly");
  if ((type.empty() ? 0 : 1) + (space.empty() ? 0 : 1) + (assembly.empty() ? 0 : 1) != 1)
    return fault(node.offset, "<route> expected one of type=\"...\", namespace=\"...\" and assembly=\"...\"");
  if (!type.empty()) add(table_.types_, "type", std::string(TypeName(type).full), node, std::move(route));
  else if (!space.empty()) add(table_.namespaces_, "namespace", space, node, std::move(route));
  else add(table_.assemblies_, "assembly", std::string(TypeName(assembly).full), node, std::move(route));
}

bool RoutingReader::read_weights(const XmlAttribute& attribute, StrategyRule& rule) {
  std::string_view rest = attribute.value;
  for (rest = trimmed(rest); !rest.empty(); rest = trimmed(rest)) {
    const size_t end = std::min(rest.find_first_of(" \t\r\n,"), rest.size());
    const std::string word(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (word.empty()) continue;
    const size_t equals = word.rfind('=');
    unsigned weight = 0;
    const char* last = word.data() + word.size();
    const bool parsed = equals != std::string::npos && equals > 0 && [&] {
      auto [stop, error] = std::from_chars(word.data() + equals + 1, last, weight);
      return error == std::errc() && stop == last && equals + 1 < word.size() && weight <= weight_max;
    }();
    const auto address = parsed ? parse_address(word.substr(0, equals)) : Result<Address>(Address());
    if (!parsed) fault(attribute.offset, "weights has " + in_quotes(word) + ", expected ADDRESS=WEIGHT with a weight from 0 to " + std::to_string(weight_max));
    if (!address) fault(attribute.offset, "weights: " + address.error().text);
    if (!parsed || !address) return false;
    rule.weights.emplace_back(word.substr(0, equals), weight);
  }
  return true;
}

void RoutingReader::read_strategy(const XmlNode& node) {
  attributes(node, {"endpoint", "name", "weights"});
  for (const XmlNode& child : node.children) element(node, child, {});
  StrategyRule rule;
  rule.endpoint = value(node, "endpoint");
  rule.name = value(node, "name");
  rule.line = faults_.line_of(node.offset);
  for (const char* needed : {"endpoint", "name"})
    if (value(node, needed).empty()) return fault(node.offset, std::string("<strategy> without ") + needed + ", expected " + needed + "=\"...\"");
  rule.name = beside(table_.path_, rule.name);
  rule.name_offset = node.attribute("name")->offset;
  if (const XmlAttribute* weights = node.attribute("weights"); weights && !read_weights(*weights, rule)) return;
  if (!rule.weights.empty() && rule.name != "weighted")
    return fault(node.attribute("weights")->offset, "weights in a strategy that is " + in_quotes(rule.name) + ", expected name=\"weighted\"");
  if (rule.name == "weighted" && rule.weights.empty())
    return fault(node.offset, "<strategy name=\"weighted\"> without weights, expected weights=\"ADDRESS=WEIGHT ...\"");
  auto [there, is_new] = table_.strategies_.emplace(rule.endpoint, rule);
  if (!is_new)
    fault(node.offset, "endpoint " + in_quotes(rule.endpoint) + " has a strategy in line " + std::to_string(there->second.line) + " already, expected one");
}

// --- the original's configuration -----------------------------------------------------------------------------------------------

// <add Messages="TYPE or ASSEMBLY" | Assembly="A" [Type="T" | Namespace="N"] Endpoint="QUEUE@MACHINE"/>
void RoutingReader::read_mapping(const XmlNode& node) {
  attributes(node, {"Messages", "Assembly", "Type", "Namespace", "Endpoint"});
  Route route;
  route.address = value(node, "Endpoint");
  if (!node.attribute("Endpoint")) return fault(node.offset, "<add> without Endpoint, expected Endpoint=\"QUEUE@MACHINE\"");
  const std::string queue = route.address.substr(0, route.address.find('@'));
  if (!queue_name_ok(queue)) return fault(node.attribute("Endpoint")->offset, "Endpoint=" + in_quotes(route.address) + " in <add>, expected QUEUE@MACHINE");
  if (warnings_)
    warnings_->push_back({faults_.line_of(node.offset), faults_.column_of(node.offset), "Endpoint",
                          "messages of this mapping cannot take part in sender-side distribution: '" + route.address +
                              "' is one queue; a <route> to an endpoint and an instance map can"});
  route.endpoint = queue;
  const std::string messages = value(node, "Messages"), type = value(node, "Type"), space = value(node, "Namespace"), assembly = value(node, "Assembly");
  // As in the original: a type is written with its assembly behind it, an assembly alone.
  if (messages.find(',') != std::string::npos) return add(table_.types_, "type", std::string(TypeName(messages).full), node, std::move(route));
  if (!messages.empty()) return add(table_.assemblies_, "assembly", messages, node, std::move(route));
  if (!type.empty()) return add(table_.types_, "type", std::string(TypeName(type).full), node, std::move(route));
  if (!space.empty()) return add(table_.namespaces_, "namespace", space, node, std::move(route));
  if (!assembly.empty()) return add(table_.assemblies_, "assembly", std::string(TypeName(assembly).full), node, std::move(route));
  fault(node.offset, "<add> names no messages, expected Messages=\"...\" or Assembly=\"...\"");
}

void RoutingReader::find_mappings(const XmlNode& node) {
  for (const XmlNode& child : node.children) {
    if (child.kind != XmlNode::Kind::element) continue;
    if (node.name != "MessageEndpointMappings") {
      if (child.name == "UnicastBusConfig" || child.name == "MessageEndpointMappings") find_mappings(child);
    } else if (element(node, child, {"add"})) {
      read_mapping(child);
    }
  }
}

void RoutingReader::read(const XmlNode& root) {
  if (root.name == "configuration" || root.name == "UnicastBusConfig" || root.name == "MessageEndpointMappings") return find_mappings(root);
  if (root.name != "routing") return fault(root.offset, "root element <" + root.name + ">" + expected_one_of(root.name, {"routing", "configuration"}));
  attributes(root, {});
  for (const XmlNode& child : root.children) {
    if (!element(root, child, {"route", "strategy", "MessageEndpointMappings"})) continue;
    if (child.name == "route") read_route(child);
    else if (child.name == "strategy") read_strategy(child);
    else find_mappings(child);
  }
}

Result<RoutingTable> RoutingTable::parse(const std::string& path, const std::string& text, std::vector<MapWarning>* warnings) {
  Faults faults(path, text, Faults::Places::columns);
  RoutingTable table;
  table.path_ = path;
  const XmlNode root = parse_xml(text, "<routing>", faults);
  if (!root.name.empty()) RoutingReader(table, faults, warnings).read(root);
  if (faults.any()) return faults.error();
  return table;
}

const Route* RoutingTable::find(std::string_view type) const {
  const TypeName name(type);
  auto look = [](const ByName<Route>& routes, std::string_view key) -> const Route* {
    auto found = key.empty() ? routes.end() : routes.find(key);
    return found == routes.end() ? nullptr : &found->second;
  };
  if (const Route* route = look(types_, name.full)) return route;
  if (const Route* route = look(namespaces_, name.space)) return route;
  return look(assemblies_, name.assembly);
}

const StrategyRule* RoutingTable::strategy(std::string_view endpoint) const {
  auto found = strategies_.find(endpoint);
  return found == strategies_.end() ? nullptr : &found->second;
}

std::vector<StrategyRule> RoutingTable::strategies() const {
  std::vector<StrategyRule> rules;
  for (const auto& [endpoint, rule] : strategies_) rules.push_back(rule);
  return rules;
}

Error RoutingTable::no_route(std::string_view type) const {
  const std::string name(TypeName(type).full);
  if (name.empty()) return Error{ExitCode::config, 0, "No destination specified for message: it has no type that a <route> in '" + path_ + "' could name"};
  std::vector<std::string> known;
  for (const auto& [other, route] : types_) known.push_back(other);
  const std::string near = suggest(name, known);
  return Error{ExitCode::config, 0, "No destination specified for message: " + name + "; " + (near.empty() ? "" : near + " ") + "add <route type=\"" + name +
                                        "\" endpoint=\"E\"/> to '" + path_ + "'" + (there_ ? "" : " (which is not there yet)")};
}

std::vector<std::string> RoutingTable::endpoints() const {
  std::set<std::string> names;
  for (const ByName<Route>* routes : {&types_, &namespaces_, &assemblies_})
    for (const auto& [name, route] : *routes) names.insert(route.endpoint);
  return {names.begin(), names.end()};
}

}  // namespace gw
