#include "edit.hpp"

#include <algorithm>

#include "address.hpp"
#include "diag.hpp"
#include "json.hpp"
#include "suggest.hpp"
#include "xml_tree.hpp"

namespace gw::instance_map {

namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Where the line of `at` begins, and where its newline (or the end of the text) is.
size_t line_begin(const std::string& text, size_t at) {
  const size_t newline = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
  return newline == std::string::npos ? 0 : newline + 1;
}
size_t line_end(const std::string& text, size_t at) { return std::min(text.find('\n', at), text.size()); }

bool only_blanks(const std::string& text, size_t begin, size_t end) {
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(begin), text.begin() + static_cast<std::ptrdiff_t>(end), blank);
}

// The blanks before an element that begins its line; nullopt: something stands before it there.
std::optional<std::string> indent_of(const std::string& text, XmlSpan span) {
  const size_t begin = line_begin(text, span.begin);
  if (begin == 0 || !only_blanks(text, begin, span.begin)) return std::nullopt;
  return text.substr(begin, span.begin - begin);
}

std::string newline_of(const std::string& text) { return text.find("\r\n") != std::string::npos ? "\r\n" : "\n"; }

std::string escaped(const std::string& value) {
  std::string text;
  for (char c : value) {
    if (c == '&') text += "&amp;";
    else if (c == '<') text += "&lt;";
    else if (c == '"') text += "&quot;";
    else text += c;
  }
  return text;
}

// Behind the element, in a line of its own if the element has one. A comment behind it stays with it.
void insert_behind(std::string& text, XmlSpan span, const std::string& what) {
  const auto indent = indent_of(text, span);
  if (!indent) return void(text.insert(span.end, what));
  size_t at = span.end;
  const size_t end = line_end(text, at);
  const size_t next = text.find_first_not_of(" \t\r", at);
  if (next == std::string::npos || next >= end || text.compare(next, 4, "<!--") == 0) at = end > 0 && text[end - 1] == '\r' ? end - 1 : end;
  // A comment that goes on in the next line.
  if (next < end && text.compare(next, 4, "<!--") == 0 && text.find("-->", next) > end) at = span.end;
  text.insert(at, newline_of(text) + *indent + what);
}

// With its line if it has one of its own.
void cut_out(std::string& text, XmlSpan span) {
  const size_t begin = line_begin(text, span.begin), end = line_end(text, span.end);
  const bool begins_line = only_blanks(text, begin, span.begin), ends_line = only_blanks(text, span.end, end);
  if (begins_line && ends_line && begin > 0 && end < text.size()) return void(text.erase(begin, end + 1 - begin));
  size_t from = span.begin;
  // Behind another element in the next line: the line break was made for this one.
  if (begins_line && begin > 0 && text.compare(span.end, 4, "<!--") != 0 && !ends_line && text[span.end] == '<') {
    from = begin - 1;
    if (from > 0 && text[from - 1] == '\r') --from;
  }
  text.erase(from, span.end - from);
}

const XmlNode* last_element(const XmlNode& parent) {
  auto found = std::find_if(parent.children.rbegin(), parent.children.rend(), [](const XmlNode& c) { return c.kind == XmlNode::Kind::element; });
  return found == parent.children.rend() ? nullptr : &*found;
}

std::string attribute_of(const XmlNode& node, const char* name) {
  const XmlAttribute* attribute = node.attribute(name);
  return attribute ? attribute->value : "";
}

std::string address_of(const XmlNode& instance, const std::string& endpoint, const std::string& this_machine) {
  std::string queue = attribute_of(instance, "queue").empty() ? endpoint : attribute_of(instance, "queue");
  if (const std::string d = attribute_of(instance, "discriminator"); !d.empty()) queue += "-" + d;
  const std::string machine = attribute_of(instance, "machine");
  return queue + "@" + (is_this_machine(machine, this_machine) ? this_machine : machine);
}

// The tree of a text that is a valid map.
Result<XmlNode> tree_of(const MapText& map) {
  GW_TRY(InstanceTable::parse(map.path, map.text, map.this_machine, map.schema));
  Faults none(map.path, map.text);
  return parse_xml(map.text, "<endpoints>", none);
}

// An endpoint with one instance, laid out as the one before it.
void append_endpoint(std::string& text, const XmlNode& root, const std::string& endpoint, const std::string& instance) {
  const std::string head = "<endpoint name=\"" + escaped(endpoint) + "\">", nl = newline_of(text);
  if (const XmlNode* last = last_element(root)) {
    const XmlSpan span = element_span(text, *last);
    const auto indent = indent_of(text, span);
    const XmlNode* inner = last_element(*last);
    const auto inner_indent = inner ? indent_of(text, element_span(text, *inner)) : std::nullopt;
    if (!indent || !inner_indent) return insert_behind(text, span, head + instance + "</endpoint>");
    return insert_behind(text, span, head + nl + *inner_indent + instance + nl + *indent + "</endpoint>");
  }
  const std::string lines = nl + "  " + head + nl + "    " + instance + nl + "  </endpoint>" + nl;
  const XmlSpan span = element_span(text, root), content = content_span(text, root);
  if (content.end == span.end) {  // <endpoints/>
    const size_t slash = text.rfind('/', span.end - 1);
    text.replace(slash, span.end - slash, ">" + lines + "</" + root.name + ">");
    return;
  }
  size_t at = content.end;
  while (at > content.begin && (blank(text[at - 1]) || text[at - 1] == '\n')) --at;
  text.replace(at, content.end - at, lines);
}

Error no_such(const std::string& address, const std::string& path, const InstanceTable& table) {
  std::vector<std::string> known;
  for (const EndpointInstances& endpoint : table.endpoints())
    for (const Instance& instance : endpoint.instances) known.push_back(instance.address);
  const std::string near = suggest(address, known);
  return Error{ExitCode::no, 0, "'" + address + "' is not in '" + path + "'" + (near.empty() ? "" : "; " + near)};
}

Result<void> check_changeable(const std::string& map) {
  if (is_url(map)) return Error{ExitCode::usage, 0, "the map '" + map + "' is not a file: change it where it comes from"};
  return {};
}

}  // namespace

Result<std::string> full_map_address(const std::string& address, const std::string& this_machine) {
  if (address.empty()) return Error{ExitCode::usage, 0, "no address is given: expected QUEUE@MACHINE, or QUEUE on this machine"};
  GW_TRY_ASSIGN(const Address parsed, parse_address(address));
  const bool here = is_this_machine(parsed.machine, this_machine);
  return parsed.queue + "@" + (here ? this_machine : parsed.machine);
}

Result<std::optional<std::string>> with_instance(const MapText& map, const std::string& endpoint, const std::string& address) {
  GW_TRY_ASSIGN(const XmlNode root, tree_of(map));
  const size_t at = address.find('@');
  const std::string queue = address.substr(0, at);
  std::string instance = "<instance machine=\"" + escaped(address.substr(at + 1)) + "\"";
  if (queue != endpoint) instance += " queue=\"" + escaped(queue) + "\"";
  instance += "/>";
  std::string text = map.text;
  const XmlNode* into = nullptr;
  for (const XmlNode& node : root.children) {
    if (attribute_of(node, "name") != endpoint) continue;
    into = &node;
    for (const XmlNode& child : node.children)
      if (same_address(address_of(child, endpoint, map.this_machine), address)) return std::optional<std::string>();
  }
  if (into) insert_behind(text, element_span(text, *last_element(*into)), instance);
  else append_endpoint(text, root, endpoint, instance);
  GW_TRY(InstanceTable::parse(map.path, text, map.this_machine, map.schema));
  return std::optional(std::move(text));
}

Result<std::optional<std::string>> without_instance(const MapText& map, const std::string& address) {
  GW_TRY_ASSIGN(const XmlNode root, tree_of(map));
  std::vector<XmlSpan> cuts;
  for (const XmlNode& endpoint : root.children) {
    std::vector<XmlSpan> here;
    for (const XmlNode& child : endpoint.children)
      if (same_address(address_of(child, attribute_of(endpoint, "name"), map.this_machine), address)) here.push_back(element_span(map.text, child));
    if (!here.empty() && here.size() == endpoint.children.size()) here = {element_span(map.text, endpoint)};
    cuts.insert(cuts.end(), here.begin(), here.end());
  }
  if (cuts.empty()) return std::optional<std::string>();
  std::string text = map.text;
  for (auto cut = cuts.rbegin(); cut != cuts.rend(); ++cut) cut_out(text, *cut);  // from behind: the places before stay
  GW_TRY(InstanceTable::parse(map.path, text, map.this_machine, map.schema));
  return std::optional(std::move(text));
}

Result<ExitCode> add_instance(const EditOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  const std::string machine = machine_name(common.root);
  GW_TRY_ASSIGN(const std::string address, full_map_address(options.address, machine));
  GW_TRY(check_changeable(settings.map));
  const std::string endpoint = options.endpoint.empty() ? address.substr(0, address.find('@')) : options.endpoint;
  GW_TRY(check_queue_name(endpoint));
  GW_TRY_ASSIGN(const bool changed, edit_file(settings.map, [&](const std::string& text) -> Result<std::optional<std::string>> {
                  GW_TRY_ASSIGN(auto next, with_instance({settings.map, text, machine, settings.schema}, endpoint, address));
                  return common.dry_run ? std::nullopt : std::move(next);
                }));
  if (common.json) out(JsonObject().add("endpoint", endpoint).add("address", address).add("added", changed).str() + "\n");
  return ExitCode::ok;
}

Result<ExitCode> remove_instance(const EditOptions& options, const CommonOptions& common) {
  GW_TRY_ASSIGN(const MapSettings settings, map_settings(options.map, common));
  const std::string machine = machine_name(common.root);
  GW_TRY_ASSIGN(const std::string address, full_map_address(options.address, machine));
  GW_TRY(check_changeable(settings.map));
  bool there = false;
  GW_TRY(edit_file(settings.map, [&](const std::string& text) -> Result<std::optional<std::string>> {
    const MapText map{settings.map, text, machine, settings.schema};
    GW_TRY_ASSIGN(auto next, without_instance(map, address));
    there = next.has_value();
    if (there) return common.dry_run ? std::nullopt : std::move(next);
    GW_TRY_ASSIGN(const InstanceTable table, InstanceTable::parse(map.path, map.text, machine, map.schema));
    return no_such(address, settings.map, table);
  }));
  if (common.json) out(JsonObject().add("address", address).add("removed", there && !common.dry_run).str() + "\n");
  return ExitCode::ok;
}

}  // namespace gw::instance_map
