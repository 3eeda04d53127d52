// The instance map: which physical queues stand behind an endpoint (instance-mapping.xml). The file's rules and the texts of its
// faults are the original's.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "result.hpp"

namespace gw {

/// One queue of an endpoint.
struct Instance {
  std::string endpoint;
  std::string queue;          ///< the discriminator is part of it: "SalesQ-2"
  std::string machine;        ///< as written; empty: this one
  std::string discriminator;  ///< empty: none
  std::string address;        ///< "SalesQ-2@vm2", with this machine's name if none is written
  bool operator==(const Instance&) const = default;
};

struct EndpointInstances {
  std::string name;
  std::vector<Instance> instances;  ///< in the order of the file, each address once
};

/// Something that is read all the same: an attribute that nothing knows.
struct MapWarning {
  int line = 0, column = 0;
  std::string attribute, text;
};

/// Is it this machine: empty, '.', localhost, a loopback address, or its name in any case?
bool is_this_machine(std::string_view machine, std::string_view this_machine);

/// Do QUEUE@MACHINE and QUEUE@MACHINE mean the same queue? Names of machines count without regard to case.
bool same_address(std::string_view a, std::string_view b);

class InstanceTable {
 public:
  enum class Schema { strict, loose };
  InstanceTable() = default;
  /// `path` is for the texts. config: every fault as "FILE:LINE:COLUMN: TEXT; did you mean 'x'?", one a line. With Schema::loose instances
  /// may have any attributes; those that mean nothing go to `warnings`.
  static Result<InstanceTable> parse(const std::string& path, const std::string& text, const std::string& this_machine, Schema schema,
                                     std::vector<MapWarning>* warnings = nullptr);
  /// The map of a machine that has none: every endpoint is here.
  static InstanceTable nothing(const std::string& this_machine);
  /// In the order of the file.
  const std::vector<EndpointInstances>& endpoints() const { return endpoints_; }
  /// Its instances; nullptr: the endpoint is not in the map. O(1).
  const std::vector<Instance>* find(std::string_view endpoint) const;
  /// As find; an endpoint that is not in the map has one instance, the queue of its name on this machine. O(1). One thread at a time.
  const std::vector<Instance>& instances(std::string_view endpoint);
  /// The endpoint whose instance has this address; nullptr: none.
  const Instance* find_address(std::string_view address) const;
  /// 16 hexadecimal digits of what the map says; comments and layout do not matter. The same on every machine that has the file.
  const std::string& version() const { return version_; }
  const std::string& this_machine() const { return this_machine_; }

 private:
  void finish();
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  std::vector<EndpointInstances> endpoints_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> by_name_;
  std::unordered_map<std::string, std::vector<Instance>, Hash, std::equal_to<>> absent_;  // asked for and not in the map
  std::string this_machine_, version_;
};

/// What the original logs when the table changes: "Added endpoint 'A' with 2 instances", "Updated endpoint 'A': +2 instances, -1 instance",
/// "Removed all instances of endpoint 'A'".
std::vector<std::string> describe_changes(const InstanceTable& before, const InstanceTable& after);

}  // namespace gw
