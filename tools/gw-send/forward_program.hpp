// Starting gw-forward, the program that talks HTTP.
#pragma once

#include <string>
#include <vector>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// Becomes gw-forward with the same words. Returns only if that fails.
Error become_forwarder(char** argv);

/// A forwarder that takes only the messages it is given. It ends with its work or when this object goes.
class OwnForwarder {
 public:
  OwnForwarder() = default;
  OwnForwarder(OwnForwarder&& other) noexcept : pid_(std::exchange(other.pid_, 0)), list_(std::move(other.list_)) {}
  OwnForwarder& operator=(OwnForwarder&&) = delete;
  ~OwnForwarder();
  /// `arguments` follow the subcommand.
  static Result<OwnForwarder> start(const std::vector<std::string>& arguments);
  /// Takes one more message. Lines that cannot be written are dropped: then it has ended.
  void add(const std::string& site, uint64_t seq, int64_t due_at_ms);
  /// There will be no more.
  void all_added();
  /// Has it ended? Then nobody works on the rest.
  bool ended();

 private:
  void flush();
  int pid_ = 0;
  UniqueFd list_;
  std::string pending_;
};

}  // namespace gw
