#include "open_attachments.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "diag.hpp"

namespace gw {

Result<OpenAttachments> OpenAttachments::create(const std::string& root_path, const std::vector<Attachment>& attachments) {
  const std::string parent = root_path + "/databus.open";
  for (int attempt = 0; attempt < 100; ++attempt) {
    if (::mkdir(parent.c_str(), 0700) == 0) {
      struct stat st {};
      const bool shared = ::stat(root_path.c_str(), &st) == 0 && (st.st_mode & S_IRWXG) == S_IRWXG;
      if (shared) ::chmod(parent.c_str(), 02770);
    } else if (errno != EEXIST) {
      return errno_error("create", parent, errno);
    }
    std::string path = parent + "/" + new_message_id();
    if (::mkdir(path.c_str(), 0700) != 0) return errno_error("create", path, errno);
    UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    // Between the two calls above a sweeper may have taken it for a dead owner's.
    struct stat st {};
    if (!directory || ::flock(directory.get(), LOCK_EX | LOCK_NB) != 0 || ::fstat(directory.get(), &st) != 0 || st.st_nlink == 0) continue;
    OpenAttachments open(root_path, std::move(path), std::move(directory));
    for (const Attachment& attachment : attachments) GW_TRY(open.add(attachment));
    return open;
  }
  return Error{ExitCode::not_now, 0, "create a directory in '" + parent + "': others remove it at once"};
}

Result<void> OpenAttachments::add(const Attachment& attachment) {
  const std::string name = attachment_file_name(attachment.name);
  int linked = ::linkat(AT_FDCWD, attachment.path.c_str(), directory_.get(), name.c_str(), 0);
  // No room for another link, or the file of another user.
  if (linked != 0 && (errno == EMLINK || errno == EPERM)) linked = ::symlinkat(attachment.path.c_str(), directory_.get(), name.c_str());
  if (linked == 0) {
    keys_.push_back(attachment.key);
    return {};
  }
  if (errno == ENOENT)
    return Error{ExitCode::bad_data, ENOENT, "the attachment '" + attachment.name + "' is not there: '" + attachment.path + "' does not exist"};
  Error error = errno_error("link", path_ + "/" + name, errno);
  if (error.sys_errno == ENAMETOOLONG) error.code = ExitCode::bad_data;
  return error;
}

OpenAttachments::~OpenAttachments() {
  if (!directory_) return;
  if (auto gone = remove_open_attachments(path_, directory_.get()); !gone) event(Level::warn, "attachments-left", {{"reason", gone.error().text}});
  for (const std::string& key : keys_)
    if (auto released = release_blob(root_path_, key); !released) event(Level::warn, "blob-not-removed", {{"reason", released.error().text}});
}

}  // namespace gw
