// JSON as CLI.md prescribes: one object a line, snake_case, absent means unknown. The parser library stays in json.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "result.hpp"

namespace gw {

/// Builds one object, members in the order in which they are added. Strings that are not UTF-8 get U+FFFD.
class JsonObject {
 public:
  JsonObject& add(std::string_view key, std::string_view value);
  JsonObject& add(std::string_view key, const char* value) { return add(key, std::string_view(value)); }
  JsonObject& add(std::string_view key, const std::string& value) { return add(key, std::string_view(value)); }
  JsonObject& add(std::string_view key, int64_t value);
  JsonObject& add(std::string_view key, uint64_t value);
  JsonObject& add(std::string_view key, int value) { return add(key, static_cast<int64_t>(value)); }
  JsonObject& add(std::string_view key, unsigned value) { return add(key, static_cast<uint64_t>(value)); }
  JsonObject& add(std::string_view key, bool value);
  JsonObject& add(std::string_view key, double value);
  JsonObject& add(std::string_view key, const std::vector<std::string>& values);
  /// A member whose value is JSON already.
  JsonObject& add_raw(std::string_view key, std::string_view json);
  /// RFC 3339; left out if 0.
  JsonObject& add_time(std::string_view key, int64_t unix_ms);
  std::string str() const { return "{" + text_ + "}"; }

 private:
  void key(std::string_view name);
  std::string text_;
};

/// Appends `text` as a JSON string, with its quotes. Bytes that are no UTF-8 become U+FFFD.
void append_json_quoted(std::string& out, std::string_view text);
std::string json_quote(std::string_view text);
bool utf8_ok(std::string_view text);

/// A parsed value; copies are cheap and share the tree.
class JsonValue {
 public:
  /// bad_data with the byte position.
  static Result<JsonValue> parse(std::string_view text);
  bool is_object() const;
  bool is_array() const;
  bool is_string() const;
  bool is_number() const;
  bool is_null() const;
  std::optional<std::string> string() const;
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;
  std::optional<bool> boolean() const;
  /// A member of an object; nullopt if absent.
  std::optional<JsonValue> get(std::string_view key) const;
  /// The text or the number of a member; "" and 0 if there is none.
  std::string text_of(std::string_view key) const;
  int64_t integer_of(std::string_view key) const;
  std::vector<std::pair<std::string, JsonValue>> members() const;
  std::vector<JsonValue> items() const;

 private:
  struct Node;
  std::shared_ptr<const Node> root_;
  const void* at_ = nullptr;
};

}  // namespace gw
