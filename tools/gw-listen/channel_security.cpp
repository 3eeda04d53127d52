// What the files of a channel say about who may use it.
#include "channel.hpp"

namespace gw::listen {

Result<void> load_security(Channel& channel) {
  ChannelConfig config;
  config.address = channel.address;
  config.cert = channel.cert;
  config.key = channel.key;
  config.client_ca = channel.client_ca;
  config.ciphers = channel.ciphers;
  config.token_file = channel.token_file;
  config.clients = channel.clients;
  GW_TRY(check_channel_security(config));
  GW_TRY_ASSIGN(ChannelSecrets secrets, read_channel_secrets(config));
  std::shared_ptr<const TlsContext> tls;
  if (channel.https) {
    GW_TRY_ASSIGN(tls, TlsContext::create(secrets, channel.ciphers));
  }
  channel.tls = std::move(tls);
  channel.tokens = channel.token_file.empty() ? nullptr : std::make_shared<const TokenSet>(std::move(secrets.tokens));
  return {};
}

std::vector<std::string> security_files(const Channel& channel) {
  std::vector<std::string> files;
  for (const std::string& path : {channel.cert, channel.key, channel.client_ca, channel.token_file})
    if (!path.empty()) files.push_back(path);
  return files;
}

}  // namespace gw::listen
