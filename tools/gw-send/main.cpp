// gw-send: stores messages for other sites, and says what became of them.
#include "commands.hpp"

int main(int argc, char** argv) { return gw::tool_main(argc, argv, gw::make_tool(argv)); }
