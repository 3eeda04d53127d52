// gw-listen: takes messages in over HTTP, as an NServiceBus gateway does, and answers when they cannot be lost any more.
#include "options.hpp"

int main(int argc, char** argv) { return gw::tool_main(argc, argv, gw::listen::make_tool()); }
