// XML files as a tree whose parts know where they stand. pugixml stays in xml_tree.cpp. It is lenient: it takes two roots, text beside
// the root, unknown entities, double attributes and any bytes, so the text is checked before it sees it, and readers check the tree.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "config_text.hpp"
#include "result.hpp"

namespace gw {

inline constexpr int xml_depth_max = 64;

struct XmlAttribute {
  std::string name, value;
  size_t offset = 0;  ///< of the name in the text
};

struct XmlNode {
  enum class Kind { element, text };
  Kind kind = Kind::element;
  std::string name;    ///< elements
  std::string value;   ///< text
  size_t offset = 0;   ///< of the name, or of the first byte of the text that is no blank
  std::vector<XmlAttribute> attributes;
  std::vector<XmlNode> children;

  /// nullptr if absent.
  const XmlAttribute* attribute(std::string_view wanted) const;
};

/// Checks and parses the text, which has no byte order mark. Adds what is wrong to `faults` (bytes, markup, two roots, text beside the
/// root, DOCTYPE, depth) and returns the root element; nullptr-like if there is none to read: an element without a name. `expected`
/// says what should be there: "<gatepost> or <configuration>".
XmlNode parse_xml(const std::string& text, std::string_view expected, Faults& faults);

/// Where the element whose name stands at `offset` begins and ends in the text: its '<', and behind its last '>'. The text must have
/// been parsed without a fault, and no element has text in it.
struct XmlSpan {
  size_t begin = 0, end = 0;
};
XmlSpan element_span(std::string_view text, const XmlNode& element);
/// Where its content begins and ends; both are the end if it is an empty tag.
XmlSpan content_span(std::string_view text, const XmlNode& element);

/// The file without its byte order mark. config: "FILE:1: a directory, expected a file", or it is larger than `bytes_max`; else errno_error.
Result<std::string> read_xml_file(const std::string& path, size_t bytes_max);

}  // namespace gw
