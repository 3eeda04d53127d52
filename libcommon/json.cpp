#include "json.hpp"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "units.hpp"

namespace gw {

namespace {

using Tree = nlohmann::ordered_json;

// The number of bytes of the UTF-8 character at the start of `text`; 0 if there is none (overlong forms and surrogates are none).
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  bool surrogate = first == 0xed && byte(1) > 0x9f;
  bool beyond = first == 0xf4 && byte(1) > 0x8f;
  return overlong || surrogate || beyond ? 0 : length;
}

bool plain(char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; }

}  // namespace

void append_json_quoted(std::string& out, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  out += '"';
  for (size_t i = 0; i < text.size();) {
    // Nearly everything is plain: one append for all of it.
    size_t end = i;
    while (end < text.size() && plain(text[end])) ++end;
    out.append(text, i, end - i);
    if ((i = end) == text.size()) break;
    char c = text[i];
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      ++i;
    } else if (c == '\n' || c == '\t' || c == '\r') {
      out += '\\';
      out += c == '\n' ? 'n' : c == '\t' ? 't' : 'r';
      ++i;
    } else if (byte < ' ' || byte == 0x7f) {
      out += "\\u00";
      out += digits[byte >> 4];
      out += digits[byte & 15];
      ++i;
    } else if (size_t length = utf8_length(text.substr(i)); length > 0) {
      out += text.substr(i, length);
      i += length;
    } else {
      out += "\xef\xbf\xbd";  // U+FFFD
      ++i;
    }
  }
  out += '"';
}

std::string json_quote(std::string_view text) {
  std::string quoted;
  quoted.reserve(text.size() + 2);
  append_json_quoted(quoted, text);
  return quoted;
}

bool utf8_ok(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    size_t length = utf8_length(text.substr(i));
    if (length == 0) return false;
    i += length;
  }
  return true;
}

void JsonObject::key(std::string_view name) {
  if (!text_.empty()) text_ += ',';
  append_json_quoted(text_, name);
  text_ += ':';
}

JsonObject& JsonObject::add(std::string_view name, std::string_view value) {
  key(name);
  append_json_quoted(text_, value);
  return *this;
}

JsonObject& JsonObject::add(std::string_view name, int64_t value) { return add_raw(name, std::to_string(value)); }
JsonObject& JsonObject::add(std::string_view name, uint64_t value) { return add_raw(name, std::to_string(value)); }
JsonObject& JsonObject::add(std::string_view name, bool value) { return add_raw(name, value ? "true" : "false"); }

JsonObject& JsonObject::add(std::string_view name, double value) {
  if (!std::isfinite(value)) return *this;  // absent means unknown
  // Seconds and rates: what lies behind the millionths was never measured.
  constexpr double exact_max = 1e9;
  if (std::fabs(value) < exact_max) value = std::round(value * 1e6) / 1e6 + 0.0;  // no -0
  char buffer[32];
  auto [end, error] = std::fabs(value) < exact_max ? std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed)
                                                   : std::to_chars(buffer, buffer + sizeof buffer, value);
  return add_raw(name, std::string_view(buffer, static_cast<size_t>(end - buffer)));
}

JsonObject& JsonObject::add(std::string_view name, const std::vector<std::string>& values) {
  std::string list = "[";
  for (const std::string& value : values) {
    if (list.size() > 1) list += ',';
    append_json_quoted(list, value);
  }
  return add_raw(name, list + "]");
}

JsonObject& JsonObject::add_raw(std::string_view name, std::string_view json) {
  key(name);
  text_ += json;
  return *this;
}

JsonObject& JsonObject::add_time(std::string_view name, int64_t unix_ms) {
  return unix_ms == 0 ? *this : add(name, format_rfc3339(unix_ms));
}

struct JsonValue::Node {
  Tree tree;
};

namespace {
const Tree& tree_at(const void* at) { return *static_cast<const Tree*>(at); }
}  // namespace

Result<JsonValue> JsonValue::parse(std::string_view text) {
  auto node = std::make_shared<Node>();
  // The library reports errors by exceptions; they end here.
  try {
    node->tree = Tree::parse(text);
  } catch (const Tree::parse_error& error) {
    return Error{ExitCode::bad_data, 0, "not JSON: error at byte " + std::to_string(error.byte)};
  } catch (const Tree::exception&) {
    return Error{ExitCode::bad_data, 0, "not JSON that can be read (a number out of range)"};
  }
  JsonValue value;
  value.at_ = &node->tree;
  value.root_ = std::move(node);
  return value;
}

bool JsonValue::is_object() const { return at_ && tree_at(at_).is_object(); }
bool JsonValue::is_array() const { return at_ && tree_at(at_).is_array(); }
bool JsonValue::is_string() const { return at_ && tree_at(at_).is_string(); }
bool JsonValue::is_number() const { return at_ && tree_at(at_).is_number(); }
bool JsonValue::is_null() const { return !at_ || tree_at(at_).is_null(); }

std::optional<std::string> JsonValue::string() const {
  if (!is_string()) return std::nullopt;
  return tree_at(at_).get_ref<const std::string&>();
}

std::optional<int64_t> JsonValue::integer() const {
  if (!at_ || !tree_at(at_).is_number_integer()) return std::nullopt;
  if (tree_at(at_).is_number_unsigned() && tree_at(at_).get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return tree_at(at_).get<int64_t>();
}

std::optional<double> JsonValue::number() const {
  if (!is_number()) return std::nullopt;
  return tree_at(at_).get<double>();
}

std::optional<bool> JsonValue::boolean() const {
  if (!at_ || !tree_at(at_).is_boolean()) return std::nullopt;
  return tree_at(at_).get<bool>();
}

std::optional<JsonValue> JsonValue::get(std::string_view name) const {
  if (!is_object()) return std::nullopt;
  const Tree& tree = tree_at(at_);
  auto found = tree.find(std::string(name));
  if (found == tree.end()) return std::nullopt;
  JsonValue value = *this;
  value.at_ = &*found;
  return value;
}

std::string JsonValue::text_of(std::string_view key) const {
  const auto member = get(key);
  return member ? member->string().value_or("") : "";
}

int64_t JsonValue::integer_of(std::string_view key) const {
  const auto member = get(key);
  return member ? member->integer().value_or(0) : 0;
}

std::vector<std::pair<std::string, JsonValue>> JsonValue::members() const {
  std::vector<std::pair<std::string, JsonValue>> all;
  if (!is_object()) return all;
  const Tree& tree = tree_at(at_);
  for (auto at = tree.begin(); at != tree.end(); ++at) {
    JsonValue value = *this;
    value.at_ = &at.value();
    all.emplace_back(at.key(), std::move(value));
  }
  return all;
}

std::vector<JsonValue> JsonValue::items() const {
  std::vector<JsonValue> all;
  if (!is_array()) return all;
  for (const Tree& item : tree_at(at_)) {
    JsonValue value = *this;
    value.at_ = &item;
    all.push_back(std::move(value));
  }
  return all;
}

}  // namespace gw
