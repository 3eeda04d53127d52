#include "servers.hpp"

#include <algorithm>
#include <utility>

#include "diag.hpp"
#include "stop_listening.hpp"

namespace gw::listen {

namespace {

constexpr int64_t retire_grace_ms = 60'000;  // for requests to a channel that was removed

const Channel* find_address(const std::vector<Channel>& channels, const std::string& address) {
  auto found = std::find_if(channels.begin(), channels.end(), [&](const Channel& c) { return c.address == address; });
  return found == channels.end() ? nullptr : &*found;
}

std::vector<Listening> sockets_of(const std::vector<Channel>& channels) {
  std::vector<Listening> sockets;
  for (const Channel& c : channels) sockets.push_back({c.bind_address, c.port, c.https, c.address, c.tls});
  return sockets;
}

}  // namespace

Servers::~Servers() {
  for (Running& running : running_) running.server.reset();
  for (std::thread& thread : retiring_) thread.join();
}

Result<void> Servers::start_one(std::vector<Channel>& channels) {
  Running fresh;
  fresh.server = std::make_unique<Server>(handler_);
  std::vector<Listening> sockets = sockets_of(channels);
  GW_TRY(fresh.server->start(sockets));
  for (size_t i = 0; i < channels.size(); ++i) channels[i].port = sockets[i].port;
  for (const Channel& channel : channels) {
    auto same = [&](const Socket& socket) { return socket.port == channel.port && socket.bind_address == channel.bind_address; };
    if (std::none_of(fresh.sockets.begin(), fresh.sockets.end(), same)) fresh.sockets.push_back({channel.bind_address, channel.port, channel.https});
  }
  std::lock_guard<std::mutex> one(mutex_);
  running_.push_back(std::move(fresh));
  return {};
}

const Servers::Socket* Servers::on_port(uint16_t port) const {
  for (const Running& running : running_)
    for (const Socket& socket : running.sockets)
      if (socket.port == port) return &socket;
  return nullptr;
}

Result<void> Servers::start(std::vector<Channel>& channels) { return add(channels, {}); }

Result<void> Servers::add(std::vector<Channel>& fresh, const std::vector<Channel>& before) {
  std::vector<Channel> missing;
  std::vector<Channel*> missing_of;
  for (Channel& channel : fresh) {
    if (!channel.program.empty()) continue;
    if (const Channel* same = find_address(before, channel.address)) {
      channel.port = same->port;
      continue;
    }
    const Socket* socket = channel.port == 0 ? nullptr : on_port(channel.port);
    if (!socket) {
      missing.push_back(channel);
      missing_of.push_back(&channel);
    } else if (socket->bind_address != channel.bind_address || socket->https != channel.https) {
      return Error{ExitCode::config, 0,
                   "channel '" + channel.address + "': port " + std::to_string(channel.port) + " is listened on as " +
                       (socket->https ? "https" : "http") + " at " + socket->bind_address + ", and to change that needs a restart"};
    }
  }
  if (missing.empty()) return {};
  GW_TRY(start_one(missing));
  for (size_t i = 0; i < missing.size(); ++i) missing_of[i]->port = missing[i].port;
  return {};
}

void Servers::retire(const std::vector<Channel>& channels) {
  auto needed = [&](const Socket& socket) {
    return std::any_of(channels.begin(), channels.end(), [&](const Channel& c) { return c.program.empty() && c.port == socket.port; });
  };
  for (size_t i = 0; i < running_.size();) {
    std::vector<Socket>& sockets = running_[i].sockets;
    if (std::none_of(sockets.begin(), sockets.end(), needed)) {
      end_server(i);
      continue;
    }
    // What cannot be closed goes on to answer 404.
    std::erase_if(sockets, [&](const Socket& socket) { return !needed(socket) && stop_listening(socket.bind_address, socket.port); });
    ++i;
  }
}

/// When its requests are done.
void Servers::end_server(size_t i) {
  std::shared_ptr<Server> server;
  {
    std::lock_guard<std::mutex> one(mutex_);
    server = std::move(running_[i].server);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  retiring_.emplace_back([server = std::move(server)] {
    if (!server->stop(retire_grace_ms)) event(Level::warn, "requests-cut", {{"reason", "the channel was removed"}});
  });
}

unsigned Servers::under_way() const {
  std::lock_guard<std::mutex> one(mutex_);
  unsigned sum = 0;
  for (const Running& running : running_) sum += running.server->under_way();
  return sum;
}

void Servers::set_tls(const std::vector<Channel>& channels) {
  for (Running& running : running_) running.server->set_tls(sockets_of(channels));
}

bool Servers::stop(int64_t grace_ms) {
  stopping_ = true;
  std::atomic<bool> all{true};
  std::vector<std::thread> stops;
  for (Running& running : running_)
    stops.emplace_back([&, server = running.server.get()] {
      if (!server->stop(grace_ms)) all = false;
    });
  for (std::thread& thread : stops) thread.join();
  for (std::thread& thread : std::exchange(retiring_, {})) thread.join();
  return all;
}

}  // namespace gw::listen
