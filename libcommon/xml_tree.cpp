// The parser works in place: names and values point into the buffer, which gives everything its place.
#include "xml_tree.hpp"

#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <iterator>

#include <pugixml.hpp>

#include "unique_fd.hpp"

namespace gw {

namespace {

// pugixml says "Start-end tags mismatch"; our errors begin in lower case.
std::string lower_first(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  return text;
}

bool is_text(const pugi::xml_node& node) { return node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata; }

class Reader {
 public:
  Reader(const char* buffer, Faults& faults) : buffer_(buffer), faults_(faults) {}
  XmlNode read(const pugi::xml_document& document, std::string_view expected);

 private:
  size_t place(const char* where) const { return static_cast<size_t>(where - buffer_); }
  bool shallow(const pugi::xml_node& root);
  XmlNode text(const pugi::xml_node& from) const;
  XmlNode element(const pugi::xml_node& from) const;
  void stray_text(const pugi::xml_node& node);

  const char* buffer_;
  Faults& faults_;
};

// Walks without recursion: the depth is what is in question.
bool Reader::shallow(const pugi::xml_node& root) {
  int depth = 1;
  for (pugi::xml_node at = root; at;) {
    if (depth > xml_depth_max) {
      faults_.add_at(place(at.name()), "elements nested more than " + std::to_string(xml_depth_max) + " deep, expected at most that");
      return false;
    }
    if (at.first_child()) {
      at = at.first_child();
      ++depth;
      continue;
    }
    while (at != root && !at.next_sibling()) at = at.parent(), --depth;
    if (at == root) return true;
    at = at.next_sibling();
  }
  return true;
}

XmlNode Reader::text(const pugi::xml_node& from) const {
  XmlNode node;
  node.kind = XmlNode::Kind::text;
  const size_t blank = std::strspn(from.value(), " \t\r\n");
  node.value = from.value() + blank;
  node.offset = place(from.value()) + blank;
  return node;
}

XmlNode Reader::element(const pugi::xml_node& from) const {
  XmlNode node;
  node.name = from.name();
  node.offset = place(from.name());
  node.attributes.reserve(static_cast<size_t>(std::distance(from.attributes_begin(), from.attributes_end())));
  node.children.reserve(static_cast<size_t>(std::distance(from.begin(), from.end())));
  for (const pugi::xml_attribute& attribute : from.attributes())
    node.attributes.push_back({attribute.name(), attribute.value(), place(attribute.name())});
  for (const pugi::xml_node& child : from.children()) {
    if (is_text(child)) node.children.push_back(text(child));
    if (child.type() == pugi::node_element) node.children.push_back(element(child));
  }
  return node;
}

void Reader::stray_text(const pugi::xml_node& node) {
  const XmlNode stray = text(node);
  faults_.add_at(stray.offset, "text " + in_quotes(stray.value.substr(0, std::min<size_t>(stray.value.find_first_of("\r\n"), 40))) +
                                   " outside of the root element, expected elements only");
}

XmlNode Reader::read(const pugi::xml_document& document, std::string_view expected) {
  pugi::xml_node root;
  for (const pugi::xml_node& node : document.children()) {
    if (node.type() == pugi::node_doctype) faults_.add_at(place(node.value()), "DOCTYPE, expected none");
    if (is_text(node)) stray_text(node);
    if (node.type() != pugi::node_element) continue;
    if (root)
      faults_.add_at(place(node.name()), "a second root element <" + std::string(node.name()) + ">, expected the end of the file");
    else
      root = node;
  }
  if (!root && !faults_.any()) faults_.add_at(0, "no element, expected " + std::string(expected));
  if (!root || !shallow(root)) return {};
  return element(root);
}

// Behind the '>' of the tag whose name stands at `at`.
size_t tag_end(std::string_view text, size_t at) {
  char quote = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (quote != 0)
      quote = c == quote ? 0 : quote;
    else if (c == '"' || c == '\'')
      quote = c;
    else if (c == '>')
      return at + 1;
  }
  return text.size();
}

bool empty_tag(std::string_view text, size_t end) { return end >= 2 && text[end - 2] == '/'; }

}  // namespace

const XmlAttribute* XmlNode::attribute(std::string_view wanted) const {
  auto found = std::find_if(attributes.begin(), attributes.end(), [&](const XmlAttribute& a) { return a.name == wanted; });
  return found == attributes.end() ? nullptr : &*found;
}

XmlNode parse_xml(const std::string& text, std::string_view expected, Faults& faults) {
  if (!check_bytes(text, faults)) return {};
  check_markup(text, faults);
  std::string buffer = text + "\n";  // the parser ends text at the end by overwriting its last byte
  pugi::xml_document document;
  constexpr unsigned flags = pugi::parse_default | pugi::parse_fragment | pugi::parse_doctype;
  pugi::xml_parse_result parsed = document.load_buffer_inplace(buffer.data(), buffer.size(), flags, pugi::encoding_utf8);
  if (parsed) return Reader(buffer.data(), faults).read(document, expected);
  faults.add_at(std::min(static_cast<size_t>(parsed.offset), text.size()), lower_first(parsed.description()) + ", expected well-formed XML");
  return {};
}

XmlSpan content_span(std::string_view text, const XmlNode& element) {
  const size_t begin = tag_end(text, element.offset);
  if (empty_tag(text, begin)) return {begin, begin};
  // Behind the last child there are only comments and the like, in which the closing tag could be written, too.
  size_t at = begin;
  auto last = std::find_if(element.children.rbegin(), element.children.rend(), [](const XmlNode& c) { return c.kind == XmlNode::Kind::element; });
  if (last != element.children.rend()) at = element_span(text, *last).end;
  while (at < text.size()) {
    at = std::min(text.find('<', at), text.size());
    const size_t unparsed = skip_unparsed(text, at);
    if (unparsed == at) break;
    at = unparsed;
  }
  return {begin, at};
}

XmlSpan element_span(std::string_view text, const XmlNode& element) {
  const XmlSpan content = content_span(text, element);
  const size_t first_end = tag_end(text, element.offset);
  return {element.offset - 1, empty_tag(text, first_end) ? first_end : tag_end(text, content.end)};
}

Result<std::string> read_xml_file(const std::string& path, size_t bytes_max) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file) return errno_error("open", path, errno);
  std::string text;
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(file.get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EISDIR) return Error{ExitCode::config, EISDIR, path + ":1: a directory, expected a file"};
    if (n < 0) return errno_error("read", path, errno);
    if (n == 0) break;
    text.append(block, static_cast<size_t>(n));
    if (text.size() > bytes_max)
      return Error{ExitCode::config, 0, path + ":1: larger than " + std::to_string(bytes_max >> 20) + " MiB, expected a smaller file"};
  }
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  return text;
}

}  // namespace gw
