// Taking one listening socket away from a library that cannot close it while it runs.
#pragma once

#include <cstdint>
#include <string>

namespace gw::http {

/// New connections to this address of this process are refused from now on; those that were accepted go on. The descriptor stays open,
/// and nothing ever comes on it. False: this process does not listen there. Nobody may open or close listening sockets meanwhile.
bool stop_listening(const std::string& bind_address, uint16_t port);

}  // namespace gw::http
