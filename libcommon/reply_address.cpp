#include "reply_address.hpp"

#include <unistd.h>

#include <algorithm>

#include "config_names.hpp"
#include "diag.hpp"

namespace gw {
namespace {

/// The place of the host's one character if it is + or *; npos: it is a name.
size_t wildcard_in(const std::string& url) {
  const size_t scheme = url.find("://");
  if (scheme == std::string::npos || scheme + 3 >= url.size()) return std::string::npos;
  const char host = url[scheme + 3];
  return host == '+' || host == '*' ? scheme + 3 : std::string::npos;
}

std::string host_name() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
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
  if (const size_t host = wildcard_in(url); host != std::string::npos) {
    url.replace(host, 1, host_name());
    event(Level::warn, "reply-address-guessed",
          {{"address", chosen->address}, {"reply_to_uri", url}, {"hint", "ReplyToUri or --reply-to-uri says how other sites reach this one"}});
  }
  return type + "," + url;
}

}  // namespace gw
