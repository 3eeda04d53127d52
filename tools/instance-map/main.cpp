// instance-map: which queues stand behind an endpoint, and sending by that.
#include "commands.hpp"

int main(int argc, char** argv) { return gw::tool_main(argc, argv, gw::instance_map::make_tool()); }
