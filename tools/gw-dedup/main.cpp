// gw-dedup: which message ids were accepted: asks, marks, filters, lists, purges, repairs.
#include "commands.hpp"

int main(int argc, char** argv) { return gw::tool_main(argc, argv, gw::dedup::make_tool()); }
