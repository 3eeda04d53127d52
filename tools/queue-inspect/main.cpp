// queue-inspect: looks into local queues, and works on them by hand and from scripts.
#include "commands.hpp"

int main(int argc, char** argv) { return gw::tool_main(argc, argv, gw::inspect::make_tool(argv)); }
