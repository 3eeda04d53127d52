// Which endpoint gets messages of a type (routing.xml), and how it spreads them over its instances.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "instance_table.hpp"
#include "result.hpp"

namespace gw {

struct Route {
  std::string endpoint;
  std::string address;  ///< of the original's MessageEndpointMappings: the queue that gets the messages, whatever the map says; else empty
  int line = 0;
};

struct StrategyRule {
  std::string endpoint, name;  ///< name: round-robin, random, least-backlog, weighted or a command; a path as it can be used from here
  size_t name_offset = 0;      ///< of its attribute in the text
  std::vector<std::pair<std::string, unsigned>> weights;  ///< address as written, weight
  int line = 0;
};

class RoutingTable {
 public:
  RoutingTable() = default;
  /// `path` is for the texts. config: every fault as "FILE:LINE:COLUMN: TEXT", one a line. The original's configuration with
  /// MessageEndpointMappings is read, too, with a warning.
  static Result<RoutingTable> parse(const std::string& path, const std::string& text, std::vector<MapWarning>* warnings = nullptr);
  /// Where a message of this type goes: by its full name, by its exact namespace, by its assembly. `type` may have an assembly and a
  /// version behind it ("Orders.Accept, Orders, Version=1.0.0.0"). nullptr: nowhere. O(1).
  const Route* find(std::string_view type) const;
  /// nullptr: none is named.
  const StrategyRule* strategy(std::string_view endpoint) const;
  /// In no particular order.
  std::vector<StrategyRule> strategies() const;
  /// config: "No destination specified for message: T", and what to add to which file.
  Error no_route(std::string_view type) const;
  /// The endpoints that are named, each once.
  std::vector<std::string> endpoints() const;
  /// The file that was read, or that is not there.
  const std::string& path() const { return path_; }
  void set_path(std::string path, bool there) { path_ = std::move(path), there_ = there; }

 private:
  friend class RoutingReader;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  template <class T>
  using ByName = std::unordered_map<std::string, T, Hash, std::equal_to<>>;
  ByName<Route> types_, namespaces_, assemblies_;
  ByName<StrategyRule> strategies_;
  std::string path_;
  bool there_ = true;
};

}  // namespace gw
