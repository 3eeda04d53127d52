// distributor: runs handlers for the messages of a queue.
#include "commands.hpp"

int main(int argc, char** argv) {
  return gw::tool_main(argc, argv, gw::distributor::make_tool());
}
