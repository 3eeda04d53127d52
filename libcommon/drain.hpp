// The end of a connection that the other side does not expect.
#pragma once

namespace gw::http {

/// Says that nothing more comes from us, then reads and drops what the other side still sends (for a second at most): closing with
/// bytes unread would reset the connection, and what was said last would not arrive. Nothing happens for a negative `fd`.
void drain(int fd);

}  // namespace gw::http
