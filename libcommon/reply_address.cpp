#include "reply_address.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "config_names.hpp"
#include "diag.hpp"
#include "queue.hpp"
#include "state_files.hpp"
#include "unique_fd.hpp"

namespace gw {
namespace {

/// The place of the host's one character if it is + or *; npos: it is a name.
size_t wildcard_in(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos || scheme + 3 >= url.size()) return std::string::npos;
  const char host = url[scheme + 3];
  return host == '+' || host == '*' ? scheme + 3 : std::string::npos;
}

/// Its listener knows the port, and publishes it.
bool has_port_zero(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos) return false;
  return url.substr(scheme + 3, url.find('/', scheme + 3) - scheme - 3).ends_with(":0");
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

constexpr const char* published_directory = "reply-to";
constexpr size_t published_bytes_max = 8192;

std::string directory_path(const std::string& root_path) { return root_path + "/" + published_directory; }

std::string read_published(int dir, const char* name) {
  UniqueFd fd(::openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return "";
  std::string text(published_bytes_max, '\0');
  const ssize_t n = ::read(fd.get(), text.data(), text.size());
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  if (!text.ends_with('\n') || text.find('\n') != text.size() - 1) return "";
  text.pop_back();
  return text;
}

/// The address says whether it is https; the original calls both http.
std::string type_of_site(const std::string& channel_type) {
  return channel_type == "https" ? "http" : channel_type == "httpsvnext" ? "httpvnext" : channel_type;
}

}  // namespace

Result<void> check_reply_to_uri(const std::string& uri) {
  if (uri.empty() || http_url_ok(uri, false)) return {};
  return Error{ExitCode::usage, 0,
               "'" + uri + "' is not a value of --reply-to-uri: expected a URL that other sites reach, like http://hq.example:8080/HQ/" +
                   (wildcard_in(uri) != std::string::npos ? ", without + or *" : "")};
}

std::string originating_site(const std::vector<ChannelConfig>& channels, const std::string& reply_to_uri) {
  auto chosen = std::find_if(channels.begin(), channels.end(), [](const ChannelConfig& c) { return c.is_default; });
  if (chosen == channels.end()) chosen = channels.begin();
  const std::string type = chosen == channels.end() ? "http" : type_of_site(chosen->channel_type);
  if (!reply_to_uri.empty()) return type + "," + reply_to_uri;
  if (chosen == channels.end()) return "";
  std::string url = chosen->reply_to_uri.empty() ? chosen->address : chosen->reply_to_uri;
  if (has_port_zero(url)) return "";
  if (const size_t host = wildcard_in(url); host != std::string::npos) {
    url.replace(host, 1, host_name());
    event(Level::warn, "reply-address-guessed",
          {{"address", chosen->address}, {"reply_to_uri", url}, {"hint", "ReplyToUri or --reply-to-uri says how other sites reach this one"}});
  }
  return type + "," + url;
}

Result<void> publish_originating_site(const std::string& root_path, const std::string& endpoint, const std::string& site) {
  GW_TRY(check_queue_name(endpoint));
  bool for_group = false;
  GW_TRY_ASSIGN(UniqueFd dir, open_state_directory(root_path, published_directory, true, &for_group));
  if (read_published(dir.get(), endpoint.c_str()) == site) return {};
  const std::string path = directory_path(root_path) + "/" + endpoint, text = site + "\n", fresh = "." + endpoint + "." + std::to_string(::getpid());
  UniqueFd file(::openat(dir.get(), fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return errno_error("create", path, errno);
  const bool written = ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       (!for_group || ::fchmod(file.get(), 0660) == 0) && ::fsync(file.get()) == 0 &&
                       ::renameat(dir.get(), fresh.c_str(), dir.get(), endpoint.c_str()) == 0 && ::fsync(dir.get()) == 0;
  if (written) return {};
  Error error = errno_error("write", path, errno);
  ::unlinkat(dir.get(), fresh.c_str(), 0);
  return error;
}

std::map<std::string, std::string> published_originating_sites(const std::string& root_path) {
  std::map<std::string, std::string> sites;
  auto dir = open_state_directory(root_path, published_directory, false);
  if (!dir) return sites;
  std::unique_ptr<DIR, int (*)(DIR*)> listed(::fdopendir(::fcntl(dir->get(), F_DUPFD_CLOEXEC, 3)), ::closedir);
  while (const dirent* entry = listed ? ::readdir(listed.get()) : nullptr) {
    if (!queue_name_ok(entry->d_name)) continue;
    if (std::string site = read_published(dir->get(), entry->d_name); !site.empty()) sites.emplace(entry->d_name, std::move(site));
  }
  return sites;
}

int64_t published_stamp(const std::string& root_path) {
  struct stat dir {};
  if (::stat(directory_path(root_path).c_str(), &dir) != 0) return 0;
  return static_cast<int64_t>(dir.st_mtim.tv_sec) * 1'000'000'000 + dir.st_mtim.tv_nsec;
}

}  // namespace gw
