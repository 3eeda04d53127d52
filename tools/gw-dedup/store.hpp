// Opening what a command works on.
#pragma once

#include <memory>
#include <string>

#include "dedup_store.hpp"
#include "options.hpp"
#include "tool.hpp"

namespace gw::dedup {

struct OpenStore {
  std::string endpoint;
  std::unique_ptr<Root> root;
  std::unique_ptr<DedupStore> store;
};

/// `create`: for commands that store; else a store that is not there is no_input.
Result<OpenStore> open_store(const Options& options, const CommonOptions& common, bool create);

/// no_input-free check of the ids of the command line. usage: none given; bad_data: one that no message can have.
Result<void> check_ids(const std::vector<std::string>& ids);

}  // namespace gw::dedup
