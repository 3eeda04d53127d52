#include "instance_table.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <set>
#include <unordered_set>

#include "config_names.hpp"
#include "config_text.hpp"
#include "queue.hpp"
#include "suggest.hpp"
#include "xml_tree.hpp"

namespace gw {

namespace {

const std::vector<std::string> instance_attributes{"discriminator", "machine", "queue"};

// "; did you mean 'x'?"; another case is the most frequent slip.
std::string hint(const std::string& word, const std::vector<std::string>& known) {
  for (const std::string& candidate : known)
    if (to_lower(word) == to_lower(candidate)) return "; did you mean '" + candidate + "'?";
  const std::string near = suggest(word, known);
  return near.empty() ? "" : "; " + near;
}

bool belongs_to_xml(std::string_view name) { return name.starts_with("xmlns:") || name.starts_with("xml:") || name.starts_with("xsi:"); }

// One reading of a file against the schema.
class SchemaReader {
 public:
  SchemaReader(Faults& faults, InstanceTable::Schema schema, const std::string& this_machine, std::vector<MapWarning>* warnings)
      : faults_(faults), schema_(schema), this_machine_(this_machine), warnings_(warnings) {}
  std::vector<EndpointInstances> read(const XmlNode& root);

 private:
  void undeclared(const XmlAttribute& attribute, const std::vector<std::string>& known, bool may_be_ignored);
  void check_attributes(const XmlNode& node, const std::vector<std::string>& known, bool may_be_ignored);
  bool right_child(const XmlNode& parent, const XmlNode& child, const char* expected);
  void read_endpoint(const XmlNode& node);
  std::optional<Instance> read_instance(const XmlNode& node, const std::string& endpoint);

  Faults& faults_;
  InstanceTable::Schema schema_;
  const std::string& this_machine_;
  std::vector<MapWarning>* warnings_;
  std::vector<EndpointInstances> endpoints_;
  std::unordered_map<std::string, size_t> places_;
  std::unordered_set<std::string> addresses_;  // "endpoint\naddress"
};

void SchemaReader::undeclared(const XmlAttribute& attribute, const std::vector<std::string>& known, bool may_be_ignored) {
  const std::string text = "The '" + attribute.name + "' attribute is not declared." + hint(attribute.name, known);
  if (!may_be_ignored) return faults_.add_at(attribute.offset, text);
  if (warnings_) warnings_->push_back({faults_.line_of(attribute.offset), faults_.column_of(attribute.offset), attribute.name, text});
}

void SchemaReader::check_attributes(const XmlNode& node, const std::vector<std::string>& known, bool may_be_ignored) {
  std::set<std::string_view> seen;
  for (const XmlAttribute& attribute : node.attributes) {
    if (!seen.insert(attribute.name).second)
      faults_.add_at(attribute.offset, "'" + attribute.name + "' is a duplicate attribute name.");
    else if (std::find(known.begin(), known.end(), attribute.name) == known.end() && !belongs_to_xml(attribute.name))
      undeclared(attribute, known, may_be_ignored);
  }
}

bool SchemaReader::right_child(const XmlNode& parent, const XmlNode& child, const char* expected) {
  const std::string list = std::string(" List of possible elements expected: '") + expected + "'.";
  if (child.kind == XmlNode::Kind::text) {
    faults_.add_at(child.offset, "The element '" + parent.name + "' cannot contain text." + list);
    return false;
  }
  if (child.name == expected) return true;
  faults_.add_at(child.offset, "The element '" + parent.name + "' has invalid child element '" + child.name + "'." + list + hint(child.name, {expected}));
  return false;
}

std::optional<Instance> SchemaReader::read_instance(const XmlNode& node, const std::string& endpoint) {
  check_attributes(node, instance_attributes, schema_ == InstanceTable::Schema::loose);
  for (const XmlNode& child : node.children)
    faults_.add_at(child.offset, child.kind == XmlNode::Kind::text ? "The element cannot contain text. Content model is empty."
                                                                   : "The element 'instance' cannot contain child element '" + child.name +
                                                                         "' because the parent element's content model is empty.");
  auto value = [&](const char* name) {
    const XmlAttribute* attribute = node.attribute(name);
    return attribute ? attribute->value : std::string();
  };
  Instance instance;
  instance.endpoint = endpoint;
  instance.discriminator = value("discriminator");
  instance.machine = value("machine");
  instance.queue = value("queue").empty() ? endpoint : value("queue");
  if (!instance.discriminator.empty()) instance.queue += "-" + instance.discriminator;
  const bool here = is_this_machine(instance.machine, this_machine_);
  if (!here && !queue_name_ok(instance.machine)) {
    faults_.add_at(node.attribute("machine")->offset, "The 'machine' attribute is invalid: '" + instance.machine +
                                                          "' is not the name of a machine, expected letters, digits, '.', '_' and '-'.");
    return std::nullopt;
  }
  if (endpoint.empty()) return std::nullopt;  // told already
  if (!queue_name_ok(instance.queue)) {
    const XmlAttribute* at = node.attribute("queue") ? node.attribute("queue") : node.attribute("discriminator");
    faults_.add_at(at ? at->offset : node.offset, "'" + instance.queue + "' is not a queue name, expected letters, digits, '.', '_' and '-', at most " +
                                                      std::to_string(queue_name_bytes_max) + ".");
    return std::nullopt;
  }
  instance.address = instance.queue + "@" + (here ? this_machine_ : instance.machine);
  return instance;
}

void SchemaReader::read_endpoint(const XmlNode& node) {
  check_attributes(node, {"name"}, false);
  const XmlAttribute* name = node.attribute("name");
  if (!name) faults_.add_at(node.offset, "The required attribute 'name' is missing.");
  if (name && name->value.empty()) faults_.add_at(name->offset, "The 'name' attribute is empty, expected the name of an endpoint.");
  const std::string endpoint = name ? name->value : "";
  auto [place, is_new] = places_.emplace(endpoint, endpoints_.size());
  if (is_new) endpoints_.push_back({endpoint, {}});
  bool any = false;
  for (const XmlNode& child : node.children) {
    if (!right_child(node, child, "instance")) {
      any |= child.kind == XmlNode::Kind::element;
      continue;
    }
    any = true;
    auto instance = read_instance(child, endpoint);
    if (instance && addresses_.insert(endpoint + "\n" + instance->queue + "@" + to_lower(instance->address.substr(instance->queue.size() + 1))).second)
      endpoints_[place->second].instances.push_back(*std::move(instance));
  }
  if (!any) faults_.add_at(node.offset, "The element 'endpoint' has incomplete content. List of possible elements expected: 'instance'.");
}

std::vector<EndpointInstances> SchemaReader::read(const XmlNode& root) {
  if (root.name != "endpoints") {
    faults_.add_at(root.offset, "The '" + root.name + "' element is not declared." + hint(root.name, {"endpoints"}));
    return {};
  }
  check_attributes(root, {}, false);
  for (const XmlNode& child : root.children)
    if (right_child(root, child, "endpoint")) read_endpoint(child);
  return std::move(endpoints_);
}

// FNV-1a: it tells versions apart, nobody attacks it.
class Fingerprint {
 public:
  void add(std::string_view text) {
    for (char c : text) mix(static_cast<unsigned char>(c));
    mix(0);
  }
  std::string hex() const {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(sum_));
    return text;
  }

 private:
  void mix(unsigned char byte) { sum_ = (sum_ ^ byte) * 0x100000001b3ull; }
  uint64_t sum_ = 0xcbf29ce484222325ull;
};

std::string counted(size_t count) { return std::to_string(count) + (count == 1 ? " instance" : " instances"); }

// How many of `these` are not in `those`.
size_t absent(const std::vector<Instance>& these, const std::vector<Instance>& those) {
  std::unordered_set<std::string_view> known;
  for (const Instance& instance : those) known.insert(instance.address);
  return static_cast<size_t>(std::count_if(these.begin(), these.end(), [&](const Instance& i) { return known.count(i.address) == 0; }));
}

}  // namespace

bool same_address(std::string_view a, std::string_view b) {
  const size_t at = std::min(a.find('@'), a.size());
  return a.size() == b.size() && a.substr(0, at) == b.substr(0, at) && (a == b || to_lower(a.substr(at)) == to_lower(b.substr(at)));
}

bool is_this_machine(std::string_view machine, std::string_view this_machine) {
  const std::string lower = to_lower(machine);
  const bool loopback = lower.starts_with("127.") && lower.find_first_not_of("0123456789.") == std::string::npos;
  return lower.empty() || lower == "." || lower == "localhost" || lower == "::1" || lower == "[::1]" || loopback || lower == to_lower(this_machine);
}

Result<InstanceTable> InstanceTable::parse(const std::string& path, const std::string& text, const std::string& this_machine, Schema schema,
                                           std::vector<MapWarning>* warnings) {
  Faults faults(path, text, Faults::Places::columns);
  InstanceTable table;
  table.this_machine_ = this_machine;
  const XmlNode root = parse_xml(text, "<endpoints>", faults);
  if (!root.name.empty()) table.endpoints_ = SchemaReader(faults, schema, this_machine, warnings).read(root);
  if (faults.any()) return faults.error();
  table.finish();
  return table;
}

InstanceTable InstanceTable::nothing(const std::string& this_machine) {
  InstanceTable table;
  table.this_machine_ = this_machine;
  table.finish();
  return table;
}

void InstanceTable::finish() {
  Fingerprint sum;
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    by_name_.emplace(endpoints_[i].name, i);
    for (const Instance& instance : endpoints_[i].instances) {
      sum.add(instance.endpoint);
      sum.add(instance.queue);
      sum.add(instance.machine);
    }
  }
  version_ = sum.hex();
}

const std::vector<Instance>* InstanceTable::find(std::string_view endpoint) const {
  auto found = by_name_.find(endpoint);
  return found == by_name_.end() ? nullptr : &endpoints_[found->second].instances;
}

const std::vector<Instance>& InstanceTable::instances(std::string_view endpoint) {
  if (const std::vector<Instance>* found = find(endpoint)) return *found;
  auto known = absent_.find(endpoint);
  if (known == absent_.end()) {
    Instance local;
    local.endpoint = local.queue = endpoint;
    local.address = local.queue + "@" + this_machine_;
    known = absent_.emplace(std::string(endpoint), std::vector<Instance>{std::move(local)}).first;
  }
  return known->second;
}

const Instance* InstanceTable::find_address(std::string_view address) const {
  for (const EndpointInstances& endpoint : endpoints_)
    for (const Instance& instance : endpoint.instances)
      if (same_address(instance.address, address)) return &instance;
  return nullptr;
}

std::vector<std::string> describe_changes(const InstanceTable& before, const InstanceTable& after) {
  std::vector<std::string> lines;
  for (const EndpointInstances& endpoint : after.endpoints()) {
    const std::vector<Instance>* old = before.find(endpoint.name);
    if (!old) {
      lines.push_back("Added endpoint '" + endpoint.name + "' with " + counted(endpoint.instances.size()));
      continue;
    }
    const size_t added = absent(endpoint.instances, *old), removed = absent(*old, endpoint.instances);
    if (added + removed > 0) lines.push_back("Updated endpoint '" + endpoint.name + "': +" + counted(added) + ", -" + counted(removed));
  }
  for (const EndpointInstances& endpoint : before.endpoints())
    if (!after.find(endpoint.name)) lines.push_back("Removed all instances of endpoint '" + endpoint.name + "'");
  return lines;
}

}  // namespace gw
