#include "store.hpp"

#include "config.hpp"

namespace gw::dedup {

Result<OpenStore> open_store(const Options& options, const CommonOptions& common, bool create) {
  OpenStore open;
  open.endpoint = options.endpoint;
  if (open.endpoint.empty()) {
    GW_TRY_ASSIGN(Config config, load_config(common.config, common.config_given));
    open.endpoint = config.endpoint;
  }
  if (open.endpoint.empty()) return Error{ExitCode::usage, 0, "no endpoint: give --endpoint E, or Endpoint in '" + common.config + "'"};
  if (open.endpoint != local_dedup_store) GW_TRY(check_queue_name(open.endpoint));
  GW_TRY_ASSIGN(open.root, open_root(common, create));
  GW_TRY_ASSIGN(open.store, DedupStore::open(open.root->path(), open.endpoint, create));
  return open;
}

Result<void> check_ids(const std::vector<std::string>& ids) {
  if (ids.empty()) return Error{ExitCode::usage, 0, "no id: name at least one"};
  for (const std::string& id : ids)
    if (!message_id_ok(id)) return Error{ExitCode::bad_data, 0, "'" + id + "' is no message id: 1 to 255 bytes of UTF-8 without control characters"};
  return {};
}

}  // namespace gw::dedup
