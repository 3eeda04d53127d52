// Files and directories below a root directory that are not queues: who may use the root may use them.
#pragma once

#include <string>
#include <string_view>

#include "result.hpp"
#include "unique_fd.hpp"

namespace gw {

/// Writes all of it, whatever signals come. `what` is for the error. Says nothing of durability.
Result<void> write_all(int fd, std::string_view bytes, const std::string& what);

/// flock, for the life of this object; other processes wait. It goes with the process.
class ExclusiveFlock {
 public:
  explicit ExclusiveFlock(int fd);
  ~ExclusiveFlock();
  ExclusiveFlock(const ExclusiveFlock&) = delete;

 private:
  int fd_;
};

/// The directory `name` of a root, opened; made if `create`, with the root's modes. `for_group`: does the root's group use it?
Result<UniqueFd> open_state_directory(const std::string& root_path, const std::string& name, bool create, bool* for_group = nullptr);

/// The file `name` in the directory `directory` of a root, to read and write; both are made if they are not there. Volatile state: nothing
/// is synced.
Result<UniqueFd> open_state_file(const std::string& root_path, const std::string& directory, const std::string& name);

}  // namespace gw
