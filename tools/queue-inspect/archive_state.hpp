// What an archive of a whole root has beside messages: the databases of ids, outcomes and subscriptions, and what instance-map knows.
//
// The ids go with the messages: an id is in the archive's store exactly if its message is in the archive or was finished before. An id
// without its message would refuse the sender that tries again, and lose it; a message without its id would let a copy in.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dedup_store.hpp"
#include "queue.hpp"
#include "tar.hpp"

namespace gw::inspect {

/// A directory for large temporary files ($TMPDIR, /var/tmp), which goes with this object.
class TemporaryDirectory {
 public:
  static Result<TemporaryDirectory> create();
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }
  /// The path of a file in it; makes the directories above the file.
  Result<std::string> file(const std::string& relative) const;

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// For export. Take it before the first queue is read.
class RootState {
 public:
  /// Copies the databases. Ids whose message may still be on its way into its queue are left out at first.
  static Result<std::unique_ptr<RootState>> take(Root& root);
  int64_t taken_at_ms() const { return taken_at_ms_; }
  /// This message is in the archive.
  void note_exported(const std::string& queue, const MessageInfo& info);
  /// Messages that came meanwhile and are in the archive get their ids; then all of it is written.
  Result<void> write(TarWriter& tar, const std::string& gone, const std::function<Result<void>()>& flush);

 private:
  RootState(Root& root, TemporaryDirectory directory, int64_t taken_at_ms) : root_(root), directory_(std::move(directory)), taken_at_ms_(taken_at_ms) {}
  Result<void> copy_stores();
  Result<void> copy_databases();
  Result<void> add_ids(const std::string& name, DedupStore& copy);
  Root& root_;
  TemporaryDirectory directory_;
  int64_t taken_at_ms_;
  std::vector<std::pair<std::string, std::unique_ptr<DedupStore>>> stores_;  // copies
  std::vector<std::string> databases_;                                       // names in the root and in the directory
  std::map<std::string, std::set<uint64_t>> recent_;                         // exported messages that may be newer than the copies
};

/// For import: files of an archive, and how they get into a root.
class ArchivedState {
 public:
  explicit ArchivedState(TemporaryDirectory directory) : directory_(std::move(directory)) {}
  Result<void> begin(const std::string& path);
  Result<void> write(std::string_view bytes);
  Result<void> end();
  /// Ids are added to those that the root has; other files are put in place where the root has none of that name.
  Result<void> restore(Root& root);

 private:
  Result<void> restore_ids(Root& root, const std::string& name);
  Result<void> restore_file(Root& root, const std::string& path);
  TemporaryDirectory directory_;
  std::vector<std::string> paths_;
  UniqueFd file_;
  std::string file_path_;
};

}  // namespace gw::inspect
