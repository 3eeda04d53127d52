// The command line of gw-send.
#pragma once

#include <string>
#include <vector>

#include "forward_options.hpp"
#include "message_options.hpp"

namespace CLI {
class App;
}

namespace gw {

struct SendOptions {
  std::string to, endpoint, wait, timeout;
  std::string cacert, cert, key;  ///< of the forwarder that --wait starts
  std::vector<std::string> sites;
  MessageOptions message;
};
void define_send_options(CLI::App& app, SendOptions& into);

struct ReplyOptions {
  std::string of, endpoint;
  MessageOptions message;
};
void define_reply_options(CLI::App& app, ReplyOptions& into);

struct WaitOptions {
  std::string wanted = "delivered", to, timeout;
  std::vector<std::string> sites, ids;
};
void define_wait_options(CLI::App& app, WaitOptions& into);

struct StatusOptions {
  std::string to, max_count, max_age, min_free;
  std::vector<std::string> sites;
};
void define_status_options(CLI::App& app, StatusOptions& into);

struct FlushOptions {
  std::string to;
  std::vector<std::string> sites, ids;
};
void define_flush_options(CLI::App& app, FlushOptions& into);

}  // namespace gw
